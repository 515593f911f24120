"""The replica curve against simulated fits, with error bars over instances."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import fit_pseudolikelihood, learning_curve, sample
from pottsattn.comparison import compare
from pottsattn.ensembles import sk_potts

LENGTH, N_STATES, SCALE, ALPHA, RIDGE, N_INSTANCES = 80, 3, 1.5, 4, 0.4, 8


@pytest.fixture(scope="module")
def simulated() -> np.ndarray:
    """Test loss, training loss and coupling error of every instance, shape (n_instances, 3)."""
    rows = []
    for seed in range(N_INSTANCES):
        rng = np.random.default_rng(seed)
        model = sk_potts(LENGTH, N_STATES, SCALE, rng)
        data = sample(model, ALPHA * LENGTH + 1500, rng=rng).dataset
        train, test = data.take(slice(0, ALPHA * LENGTH)), data.take(slice(-1500, None))
        fit = fit_pseudolikelihood(train, "factored", ridge=RIDGE, fields="none")
        judged = compare({"factored": fit}, test).fits[0]
        rows.append((judged.test_loss, judged.train_loss, judged.coupling_error))
    return np.array(rows)


def largest_z(simulated: np.ndarray, coupling_scale: float, ridge: float) -> float:
    curve = learning_curve(N_STATES, coupling_scale, [ALPHA], ridge)
    predicted = [curve.test_loss[0], curve.train_loss[0], curve.coupling_error[0]]
    error = simulated.std(axis=0, ddof=1) / np.sqrt(N_INSTANCES)
    return float(np.abs((simulated.mean(axis=0) - predicted) / error).max())


def test_theory_holds_within_the_error_bars(simulated):
    assert largest_z(simulated, SCALE, RIDGE) < 5


@pytest.mark.parametrize(("coupling_scale", "ridge"), [(SCALE, 1.5 * RIDGE), (1.1 * SCALE, RIDGE)])
def test_a_wrong_theory_is_caught(coupling_scale, ridge, simulated):
    """A penalty off by half, or couplings off by a tenth, are seen."""
    assert largest_z(simulated, coupling_scale, ridge) > 5
