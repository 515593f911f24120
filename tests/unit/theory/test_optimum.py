"""The best mask fraction: a minimum, at every ridge or at the best one, or an edge."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import ConvergenceWarning, InputError
from pottsattn.cli.main import main
from pottsattn.theory.closed_forms import best_static_mask_fraction
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.optimum import optimal_mask_fraction, optimal_ridge


@pytest.mark.parametrize(
    ("n_states", "alpha", "ridge", "mode", "estimator", "n_points"),
    [
        (3, 16.0, 0.1, "static", "factored", 49),
        (3, 32.0, 0.2, "static", "full", 49),
        (2, 4.0, 0.5, "fresh", "factored", 13),
    ],
)
def test_no_fraction_on_a_grid_is_better(n_states, alpha, ridge, mode, estimator, n_points):
    scale = 0.5 * n_states
    best = optimal_mask_fraction(
        n_states, scale, [alpha], ridge, estimator=estimator, mask_mode=mode
    )
    assert best.converged.all()
    assert best.mask_mode == mode
    around = best.mask_fraction * np.array([0.98, 1.02])
    grid = np.concatenate([np.linspace(0.02, 0.98, n_points), around])
    options = {"mask_fraction": grid, "mask_mode": mode, "estimator": estimator}
    curve = learning_curve(n_states, scale, [alpha] * len(grid), ridge, **options)
    assert (curve.test_loss > best.test_loss).all()


@pytest.mark.parametrize("mode", ["static", "fresh"])
def test_joint_optimum_is_the_best_of_best_ridges(mode):
    best = optimal_mask_fraction(2, 1.0, [4.0], mask_mode=mode)
    assert best.ridge_kind == "optimal"
    (fraction,) = best.mask_fraction
    for factor in (0.8, 1.0, 1.25):
        beside = optimal_ridge(2, 1.0, [4.0], mask_fraction=factor * fraction, mask_mode=mode)
        if factor == 1.0:
            assert_allclose(beside.ridge, best.ridge, rtol=0.02)
            assert_allclose(beside.test_loss, best.test_loss, atol=1e-7)
        else:
            assert beside.test_loss[0] > best.test_loss[0] + 1e-6
    if mode == "fresh":  # at their best they beat the pseudo-likelihood, by little
        plain = optimal_ridge(2, 1.0, [4.0])
        assert_allclose(plain.test_loss[0] - best.test_loss[0], 0.94e-3, atol=2e-5)
        assert best.ridge[0] < plain.ridge[0]


def test_joint_optima_of_the_two_students_obey_their_law():
    full = optimal_mask_fraction(3, 1.5, [16.0], estimator="full", mask_mode="static")
    factored = optimal_mask_fraction(3, 1.5, [4.0], mask_mode="static")
    assert_allclose(full.mask_fraction, factored.mask_fraction, rtol=0.01)
    assert_allclose(full.ridge, 2.0 * factored.ridge, rtol=0.02)
    assert_allclose(full.test_loss, factored.test_loss, atol=1e-6)


def test_several_minima_and_an_edge():
    """At alpha 2 the smallest fraction is best, at 4 a low edge lies above the minimum at 0.5."""
    with pytest.warns(ConvergenceWarning, match="edge: the test loss is least at an end"):
        best = optimal_mask_fraction(3, 1.5, [2.0, 4.0], 0.1, mask_mode="static")
    assert np.isnan(best.mask_fraction[0])
    assert np.isnan(best.test_loss[0])
    assert best.ridge.tolist() == [0.1, 0.1]
    assert_allclose(best.mask_fraction[1], 0.49, atol=0.01)


def test_masks_add_nothing_to_a_ridge_that_is_too_strong():
    with pytest.warns(ConvergenceWarning, match="edge"):
        best = optimal_mask_fraction(2, 1.0, [4.0], 3.0)
    assert np.isnan(best.mask_fraction[0])


def test_mask_less_as_data_grow():
    """r* -> (C^3 / (2 kappa J^4 alpha))^(1/3), with a minimum of 3 / (4 alpha r*)."""
    n_states, scale, alphas = 3, 1.5, np.array([1e5, 1e7])
    best = optimal_mask_fraction(n_states, scale, alphas, 0.1, mask_mode="static")
    law = best_static_mask_fraction(n_states, scale, alphas)
    deviation = best.mask_fraction / law - 1.0
    assert abs(deviation[1]) < 0.03
    assert abs(deviation[1]) < 0.35 * abs(deviation[0])  # the correction is of order r*
    excess = best.test_loss - best.bayes_loss
    assert_allclose(excess[1] * 4.0 * alphas[1] * law[1] / 3.0, 1.0, atol=0.03)


def test_no_paramagnetic_phase():
    with pytest.warns(ConvergenceWarning, match="no paramagnetic phase"):
        best = optimal_mask_fraction(3, 3.0, [1.0], 0.1, mask_mode="static")
    assert not best.converged.any()
    assert np.isnan(best.mask_fraction).all()


@pytest.mark.parametrize(
    ("ridge", "options", "message"),
    [
        ([0.1, 0.2], {}, "ridge must have shape"),
        (-0.1, {}, "ridge must be"),
        (0.1, {"mask_mode": "none"}, "mask_mode must be one of fresh, static"),
    ],
)
def test_wrong_input(ridge, options, message):
    with pytest.raises(InputError, match=message):
        optimal_mask_fraction(3, 1.5, [1.0], ridge, **options)


THEORY = "theory --states 3 --coupling-scale 1.5 --json"


def test_command_line(capsys):
    options = "--optimum mask-fraction --mask-mode static"
    assert main(f"{THEORY} {options} --ridge 0.1 --alpha 2 16".split()) == 0
    report = json.loads(capsys.readouterr().out)
    low, high = report["points"]
    assert low["mask_fraction"] is None
    assert low["ridge"] == high["ridge"] == 0.1
    assert not low["converged"]
    assert_allclose(high["mask_fraction"], 0.482, atol=2e-3)
    assert report["mask_mode"] == "static"

    assert main(f"{THEORY} {options} --alpha 4".split()) == 0
    (joint,) = json.loads(capsys.readouterr().out)["points"]
    assert_allclose(joint["ridge"], 0.45, atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--optimum mask-fraction --mask-fraction 0.2", "either --mask-fraction or --optimum"),
        ("--optimum mask", "optimum must be one of ridge, mask-fraction"),
        ("--optimum ridge --masks 2", "--masks 2 is for a given ridge"),
        ("--ridge 0.1 --mask-mode static", "--mask-mode static needs --mask-fraction"),
    ],
)
def test_wrong_options(options, message, capsys):
    assert main(f"{THEORY} --alpha 1 {options}".split()) == 1
    assert message in capsys.readouterr().err
