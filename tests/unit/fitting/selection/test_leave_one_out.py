"""Leave-one-out losses, the ridge they choose and standard errors, against the honest way."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import SequenceDataset, fit_pseudolikelihood, sample
from pottsattn._core.validate import InputError
from pottsattn.fitting.losses import sequence_losses, site_losses
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.rows_factored import FactoredRows
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.selection import ridge_choice
from pottsattn.fitting.selection.curvature import FactoredCurvature, FullCurvature
from pottsattn.fitting.selection.kernels_curvature import same_state_sums
from pottsattn.fitting.selection.leave_one_out import leave_one_out
from pottsattn.fitting.selection.relatives import leaving_weight
from pottsattn.fitting.selection.ridge_choice import choose_ridge
from pottsattn.fitting.selection.row_state import row_state
from pottsattn.fitting.selection.standard_errors import standard_errors, with_standard_errors
from pottsattn.model.ensembles import sk_potts
from pottsattn.model.exact import enumerate_states

METHODS = ("plm", "factored")
leaving = importlib.import_module("pottsattn.fitting.selection.leave_one_out")


@pytest.fixture(scope="module")
def drawn():
    return sample(sk_potts(12, 3, 1.5, rng=0), 8000, rng=0).dataset


def loss_on(fit, data):
    return float(site_losses(fit.fields, fit.couplings, data).mean())


def really_left_out(fit, data):
    """Return the loss of every sequence on the fit to all others, same objective otherwise."""
    m_all = data.n_sequences
    scale = m_all / (m_all - 1)  # the same sum over the others: the mean grows, so must penalties
    losses = []
    for m in range(m_all):
        left = fit_pseudolikelihood(
            data.take(np.delete(np.arange(m_all), m)),
            fit.method,
            penalty=Penalty(fit.penalty.couplings_l2 * scale, fit.penalty.fields_l2 * scale),
            solver=Solver(gap_tolerance=1e-7),
        )
        losses.append(loss_on(left, data.take([m])))
    return np.array(losses)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ridge", [0.3, 3.0])
def test_it_is_the_loss_of_the_sequences_really_left_out(method, ridge, drawn, monkeypatch):
    """The rise over the training loss is met within a tenth; a planted fault is not."""
    data = drawn.take(slice(0, 60))
    fit = fit_pseudolikelihood(data, method, ridge=ridge, solver=Solver(gap_tolerance=1e-9))
    estimate = leave_one_out(fit, data)
    losses = really_left_out(fit, data)
    rise = losses.mean() - fit.train_loss
    assert estimate.train_loss == pytest.approx(fit.train_loss, rel=1e-12)
    assert estimate.loss - fit.train_loss == pytest.approx(rise, rel=0.1)
    assert 0.5 < estimate.error / (np.std(losses) / np.sqrt(60)) < 1.5
    assert rise > 0.05  # there is something to see
    if method == "factored" or ridge > 1.0:
        return

    consistent = FullCurvature._consistent

    def with_the_sequence(self, wanted, couplings_l2, fields_l2):
        whole, _ = consistent(self, wanted, couplings_l2, fields_l2)
        return whole, self._leverage(whole, couplings_l2, fields_l2)

    monkeypatch.setattr(FullCurvature, "_consistent", with_the_sequence)
    assert leave_one_out(fit, data).loss - fit.train_loss < 0.85 * rise


@pytest.mark.parametrize("method", METHODS)
def test_the_chosen_ridge_is_as_good_as_the_best_of_a_grid(method, drawn):
    train, test = drawn.take(slice(0, 400)), drawn.take(slice(4000, None))
    choice = choose_ridge(train, method)
    grid = 10.0 ** np.arange(-2.0, 2.1, 0.5)
    losses = [loss_on(fit_pseudolikelihood(train, method, ridge=r), test) for r in grid]
    assert choice.is_inside
    assert loss_on(choice.fit, test) <= 1.005 * min(losses)
    assert max(losses) > 1.03 * min(losses)  # the grid is no plateau
    assert choice.fit.converged
    assert choice.fit.ridge == pytest.approx(choice.ridge)
    assert choice.fit.config["ridge_path"] == choice.to_dict()
    assert np.all(np.diff(choice.ridges) > 0.0)
    assert "leave-one-out loss" in repr(choice)


def test_cross_validation_agrees_on_the_ridge(drawn):
    """The honest reference: the loss of ten folds is within 0.5 % of its least."""
    data = drawn.take(slice(0, 200))
    folds = np.random.default_rng(0).permutation(200) % 10

    def cross_validated(ridge):
        penalty = fit_pseudolikelihood(data, ridge=ridge, solver=Solver(max_steps=1000)).penalty
        losses = []
        for fold in range(10):
            fit = fit_pseudolikelihood(
                data.take(folds != fold),
                penalty=Penalty(penalty.couplings_l2 * 10 / 9, penalty.fields_l2 * 10 / 9),
                solver=Solver(gap_tolerance=1e-5),
            )
            losses.append(loss_on(fit, data.take(folds == fold)))
        return np.mean(losses)

    choice = choose_ridge(data)
    grid = [cross_validated(ridge) for ridge in (0.1, 0.3, 1.0, 3.0)]
    assert cross_validated(choice.ridge) <= 1.005 * min(grid)


def test_a_ridge_without_an_optimum_is_at_the_end(rng):
    """Independent sites: every coupling is noise, the more penalty the better."""
    data = SequenceDataset(rng.integers(3, size=(200, 6)), 3)
    choice = choose_ridge(data)
    assert choice.ridge >= 64.0
    assert choice.fit.couplings.to_dense().std() < 0.01


def test_an_interrupt_between_ridges_keeps_the_last_fit(drawn):
    def interrupt(n_done, _):
        if n_done == 2:
            raise KeyboardInterrupt

    choice = choose_ridge(drawn.take(slice(0, 60)), progress=interrupt)
    assert choice.fit.interrupted
    assert not choice.fit.converged
    assert "interrupted after 2 ridges" in choice.fit.message


def test_the_search_finds_minima_inside_and_at_the_ends():
    def search(function):
        calls = []

        def counted(x):
            calls.append(x)
            return function(x)

        best, is_inside = ridge_choice._minimize(counted)
        return best, is_inside, len(set(calls))

    best, is_inside, n_calls = search(lambda x: 1.0 + 0.05 * (x + 3.3) ** 2)
    assert best == pytest.approx(-3.3, abs=0.2)
    assert is_inside
    assert n_calls < 12
    best, is_inside, _ = search(lambda x: 1.0 - 0.01 * x)
    assert not is_inside
    assert best > np.log(2000.0)
    best, is_inside, _ = search(lambda x: 1.0 + 0.01 * x)
    assert not is_inside
    assert best < np.log(0.005)


def test_relatives_leave_together(rng):
    single = SequenceDataset(rng.integers(4, size=(50, 20)), 4)
    assert leaving_weight(single) == 1.0
    copies = np.repeat(single.sequences, 3, axis=0)
    weights = np.full(150, 1.0 / 3.0)
    weights[0] += 1e-9  # equal weights need no relatives
    assert leaving_weight(SequenceDataset(copies, 4, weights=weights)) == pytest.approx(1.0)
    copies[:, :4] = rng.integers(4, size=(150, 4))  # a fifth of every copy is its own
    partly = leaving_weight(SequenceDataset(copies, 4, weights=weights))
    assert 0.6 < partly < 0.9


def test_copies_with_shared_weight_change_nothing(drawn):
    data = drawn.take(slice(0, 60))
    copies = SequenceDataset(
        np.repeat(data.sequences, 2, axis=0),
        3,
        weights=np.r_[np.full(118, 0.5), 0.5 + 1e-9, 0.5 - 1e-9],
    )
    fits = [fit_pseudolikelihood(d, "factored", ridge=0.3) for d in (data, copies)]
    first, second = (leave_one_out(fit, d) for fit, d in zip(fits, (data, copies), strict=True))
    assert second.loss == pytest.approx(first.loss, abs=2e-3)
    assert second.error == pytest.approx(first.error, rel=1e-3)  # copies are no pairs


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_loss_of_families_really_left_out(method, drawn, rng, monkeypatch):
    """Near copies: a relative with another state pulls the other way, which must be seen."""
    families = np.repeat(np.arange(40), 4)
    others = drawn.sequences[40 + rng.integers(1000, size=160)]
    is_other = rng.random(others.shape) < 0.1
    weights = np.r_[np.full(159, 0.25), 0.25 + 1e-9]
    states = np.where(is_other, others, drawn.sequences[families])
    data = SequenceDataset(states, 3, weights=weights)
    fit = fit_pseudolikelihood(data, method, ridge=0.3)
    losses = []
    for family in range(40):
        kept = np.flatnonzero(families != family)
        left = fit_pseudolikelihood(data.take(kept), method, penalty=fit.penalty)
        losses.append(loss_on(left, data.take(families == family)))
    rise = np.mean(losses) - fit.train_loss
    assert leave_one_out(fit, data).loss - fit.train_loss == pytest.approx(rise, rel=0.06)
    monkeypatch.setattr(leaving, "pulls_of_relatives", lambda *_: None)  # as if they were m itself
    assert leave_one_out(fit, data).loss - fit.train_loss > 1.08 * rise


def test_same_state_sums_are_those_of_numpy(rng):
    sequences = rng.integers(4, size=(30, 6)).astype(np.uint8)
    weighted = rng.uniform(size=(30, 4))
    of_sites, of_states = np.zeros((6, 6)), np.zeros((4, 6))
    same_state_sums(sequences, weighted, of_sites, of_states)
    same = sequences[:, :, None] == sequences[:, None, :]
    here = np.take_along_axis(weighted, sequences.astype(int), axis=1)
    assert_allclose(of_sites, np.einsum("mjk,mj->jk", same, here))
    one_hot = np.eye(4)[sequences]
    assert_allclose(of_states, np.einsum("ma,mja->aj", weighted, one_hot))


@pytest.mark.parametrize("learn_fields", [True, False])
def test_the_factored_hessian_is_the_slope_of_the_gradient(learn_fields, drawn):
    data = drawn.take(slice(0, 80))
    penalty = Penalty(0.03, 0.02)
    rows = FactoredRows(RowData.of(data, penalty, learn_fields=learn_fields))
    rng = np.random.default_rng(0)
    site, n_fields = 4, 3 * learn_fields
    fields, interactions = rng.normal(size=3) * learn_fields, rng.normal(size=12)
    interactions[site] = 0.0

    def plain_gradient(step):
        """The gradient of `judge` in plain parameters."""
        h, a = fields + step[:n_fields] if learn_fields else fields, interactions + step[n_fields:]
        x = a if not learn_fields else np.concatenate([h + a @ rows.centers, a])
        return rows.judge(site, x)[2]

    row = interactions[:, None, None] * np.eye(3)
    state = row_state(data, fields, row, site)
    curvature = FactoredCurvature(data, learn_fields=learn_fields)
    hessian = curvature.hessian(site, state, penalty)
    size = n_fields + 12
    slopes = np.zeros((size, size))
    for k in range(size):
        step = np.zeros(size)
        step[k] = 1e-5
        slopes[k] = (plain_gradient(step) - plain_gradient(-step)) / 2e-5
    free = np.delete(np.arange(size), n_fields + site)
    assert_allclose(hessian[np.ix_(free, free)], slopes[np.ix_(free, free)], atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fields", ["learned", "none"])
def test_sandwich_errors_are_the_spread_over_data_sets(method, fields, drawn):
    """Forty data sets of 200 sequences: the root mean square error is met within 8 %."""
    found, errors = [], []
    for number in range(40):
        data = drawn.take(slice(number, None, 40))
        fit = fit_pseudolikelihood(
            data, method, ridge=1.0, fields=fields, solver=Solver(gap_tolerance=1e-8)
        )
        couplings = fit.couplings.zero_sum(fit.fields)[1]
        found.append(couplings.factors()[0][0] if method == "factored" else couplings.to_dense())
        if number < 3:
            errors.append(standard_errors(fit, data).couplings)
    off = ~np.eye(12, dtype=bool)
    spread = np.var(found, axis=0, ddof=1)[off].mean()
    claimed = np.mean(np.square(errors), axis=0)[off].mean()
    # 132 or 1188 values from 40 data sets: sqrt(2 / 39 / 132) = 0.02 of a variance; chains mix
    assert claimed / spread == pytest.approx(1.0, abs=0.16)


def test_laplace_errors_are_the_inverse_hessian(drawn):
    """Much data, weak penalty: both kinds agree; a strong penalty shrinks the sandwich."""
    fits = [fit_pseudolikelihood(drawn, "factored", ridge=ridge) for ridge in (0.01, 100.0)]
    ratios = []
    for fit in fits:
        laplace, sandwich = (standard_errors(fit, drawn, kind) for kind in ("laplace", "sandwich"))
        off = ~np.eye(12, dtype=bool)
        ratios.append(np.mean(sandwich.couplings[off] / laplace.couplings[off]))
    assert ratios[0] == pytest.approx(1.0, abs=0.05)
    assert ratios[1] < 0.7


def test_errors_of_fields_leave_out_the_common_shift(drawn):
    """The rows of many data sets scatter as claimed, though only the penalty fixes the shift."""
    found = []
    for number in range(40):
        data = drawn.take(slice(number, None, 40))
        fit = fit_pseudolikelihood(data, "factored", ridge=1.0, solver=Solver(gap_tolerance=1e-8))
        found.append(fit.fields - fit.fields.mean(axis=1, keepdims=True))
    claimed = np.square(standard_errors(fit, data).fields).mean()
    assert claimed / np.var(found, axis=0, ddof=1).mean() == pytest.approx(1.0, abs=0.25)


def test_choice_and_errors_are_the_same_for_any_number_of_threads(drawn):
    data = drawn.take(slice(0, 100))
    choices = [choose_ridge(data, n_threads=n_threads) for n_threads in (1, 2)]
    assert choices[0].to_dict() == choices[1].to_dict()
    errors = [
        standard_errors(choice.fit, data, n_threads=n_threads).couplings
        for n_threads, choice in enumerate(choices, start=1)
    ]
    assert np.array_equal(*errors)


def test_errors_go_into_the_file(drawn, tmp_path):
    data = drawn.take(slice(0, 60))
    fit = with_standard_errors(fit_pseudolikelihood(data, "factored"), data, "laplace")
    fit.save(tmp_path / "fit.h5")
    loaded = FitResult.load(tmp_path / "fit.h5")
    assert loaded.errors.kind == "laplace"
    assert_allclose(loaded.errors.couplings, fit.errors.couplings)
    assert_allclose(loaded.errors.fields, fit.errors.fields)
    assert np.all(loaded.errors.couplings.diagonal() == 0.0)


def test_fits_of_another_kind_are_refused(drawn):
    data = drawn.take(slice(0, 60))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others = (
            fit_pseudolikelihood(data, symmetric=True),
            fit_pseudolikelihood(
                data, "factored", color_similarity="learned", solver=Solver(max_steps=3)
            ),
        )
    for fit in others:
        with pytest.raises(InputError, match="leave-one-out and standard errors are for plm"):
            leave_one_out(fit, data)
        with pytest.raises(InputError, match="leave-one-out and standard errors are for plm"):
            standard_errors(fit, data)


def test_an_unknown_kind_of_errors_is_refused(drawn):
    data = drawn.take(slice(0, 60))
    with pytest.raises(InputError, match=r"did you mean sandwich\?"):
        standard_errors(fit_pseudolikelihood(data, "factored"), data, "sandwhich")


def test_the_error_covers_the_loss_of_the_fit_on_new_sequences():
    """40 data sets of a model whose states are summed over: z is of unit width, and not without
    the correlation of losses and rises, which is 0.97 and more, nor without that of pairs."""
    model = sk_potts(8, 3, 1.5, rng=0)
    exact = enumerate_states(model)
    every = SequenceDataset(exact.states, 3)
    z, planted = [], []
    for seed in range(40):
        chosen = np.random.default_rng(seed).choice(len(exact.states), 60, p=exact.probabilities)
        data = SequenceDataset(exact.states[chosen], 3)
        fit = fit_pseudolikelihood(data, "plm", ridge=0.2, n_threads=1)
        found = leave_one_out(fit, data, n_threads=1)
        off = found.loss - exact.probabilities @ sequence_losses(fit, every)
        z.append(off / found.error)
        rise = found.loss / found.train_loss - 1.0
        added = sequence_losses(fit, data).var() * (1.0 + rise**2) / 60
        planted.append(off / np.sqrt(added))
    # a standard deviation from 40 values is known to 1 / sqrt(80) = 0.11
    assert np.sqrt(np.mean(np.square(z))) == pytest.approx(1.0, abs=0.34)
    assert np.sqrt(np.mean(np.square(planted))) > 1.5
