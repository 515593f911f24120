"""The replica curve against simulated fits, with error bars over instances."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import fit_pseudolikelihood, learning_curve, sample
from pottsattn.analysis.comparison import compare
from pottsattn.model.ensembles import sk_potts

LENGTH, N_STATES, SCALE, ALPHA, RIDGE, N_INSTANCES = 80, 3, 1.5, 4, 0.4, 8


@pytest.fixture(scope="module")
def simulated() -> np.ndarray:
    """Realised scale, test loss, training loss and coupling error, shape (n_instances, 4)."""
    rows = []
    for seed in range(N_INSTANCES):
        rng = np.random.default_rng(seed)
        model = sk_potts(LENGTH, N_STATES, SCALE, rng)
        scale = np.sqrt((model.couplings.factors()[0] ** 2).sum() / LENGTH)
        data = sample(model, ALPHA * LENGTH + 1500, rng=rng).dataset
        train, test = data.take(slice(0, ALPHA * LENGTH)), data.take(slice(-1500, None))
        fit = fit_pseudolikelihood(train, "factored", ridge=RIDGE, fields="none")
        judged = compare({"factored": fit}, test).fits[0]
        rows.append((scale, judged.test_loss, judged.train_loss, judged.coupling_error))
    return np.array(rows)


def largest_z(simulated: np.ndarray, scale_factor: float, ridge: float) -> float:
    """Compare every instance with theory at its realised J; a site has L - 1 neighbors, not L."""
    finite = LENGTH / (LENGTH - 1)
    differences = []
    for scale, *observed in simulated:
        curve = learning_curve(N_STATES, scale_factor * scale, [ALPHA * finite], ridge * finite)
        predicted = (curve.test_loss[0], curve.train_loss[0], curve.coupling_error[0])
        differences.append(np.subtract(observed, predicted))
    error = np.std(differences, axis=0, ddof=1) / np.sqrt(N_INSTANCES)
    return float(np.abs(np.mean(differences, axis=0) / error).max())


def test_theory_holds_within_the_error_bars(simulated):
    assert largest_z(simulated, 1.0, RIDGE) < 5


@pytest.mark.parametrize(("scale_factor", "ridge"), [(1.0, 1.5 * RIDGE), (1.1, RIDGE)])
def test_a_wrong_theory_is_caught(scale_factor, ridge, simulated):
    """A penalty off by half, or couplings off by a tenth, are seen."""
    assert largest_z(simulated, scale_factor, ridge) > 5
