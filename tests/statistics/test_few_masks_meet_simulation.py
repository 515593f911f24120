"""The replica curve of K static masks per sequence against fits, in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from pottsattn import learning_curve, sample
from pottsattn.model.ensembles import sk_potts

LENGTH, SCALE, ALPHA, RIDGE, FRACTION, MASKS = 60, 1.0, 4, 0.1, 0.4, 3
N_INSTANCES, N_SITES, N_TEST = 6, 20, 2000


def fit_row(inputs, signs, rng):
    """Minimize the loss of the masked copies, with couplings_l2 = RIDGE / (2 alpha share).

    A copy is a pattern that hides the site; for two colors u = 2 (field of the first color).
    """
    share = 1.0 - (1.0 - FRACTION) ** MASKS
    is_copy = rng.random((MASKS, len(inputs))) < FRACTION
    shown = rng.random((MASKS, *inputs.shape)) > FRACTION
    seen = (signs[:, None] * inputs * shown)[is_copy]
    weight = share / (MASKS * FRACTION)

    def objective(row):
        u = seen @ row
        slope = -weight / (1.0 + np.exp(u))
        loss = weight * np.logaddexp(0.0, -u).sum()
        return loss + 0.5 * RIDGE * LENGTH * row @ row, slope @ seen + RIDGE * LENGTH * row

    found = minimize(objective, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    return found, np.logaddexp(0.0, -seen @ found).mean()


@pytest.fixture(scope="module")
def simulated() -> np.ndarray:
    """Realised scale, excess test loss over the true model, training loss, coupling error."""
    rows = []
    for seed in range(N_INSTANCES):
        rng = np.random.default_rng(seed)
        model = sk_potts(LENGTH, 2, SCALE, rng)
        couplings = model.couplings.factors()[0][0]
        data = sample(model, ALPHA * LENGTH + N_TEST, rng=rng).dataset
        signs = 1.0 - 2.0 * data.sequences  # x_0 - x_1, the field difference is A signs
        train, test = np.split(signs, [ALPHA * LENGTH])
        found = np.zeros(3)
        for site in rng.choice(LENGTH, N_SITES, replace=False):
            others = np.delete(np.arange(LENGTH), site)
            truth = couplings[site, others]
            row, train_loss = fit_row(train[:, others], train[:, site], rng)
            losses = [
                np.logaddexp(0.0, -test[:, site] * (test[:, others] @ each)).mean()
                for each in (row, truth)
            ]
            error = ((row - truth) ** 2).sum() / (truth**2).sum()
            found += np.array([losses[0] - losses[1], train_loss, error]) / N_SITES
        rows.append((np.sqrt((couplings**2).sum() / LENGTH), *found))
    return np.array(rows)


def largest_z(simulated: np.ndarray, masks: int, fraction: float, ridge: float) -> float:
    """Compare with theory at each realised J; a site has L - 1 neighbors, not L."""
    finite = LENGTH / (LENGTH - 1)
    options = {"mask_fraction": fraction, "mask_mode": "static", "masks": masks}
    differences = []
    for scale, *observed in simulated:
        curve = learning_curve(2, scale, [ALPHA * finite], ridge * finite, **options)
        excess = curve.test_loss[0] - curve.bayes_loss[0]
        predicted = (excess, curve.train_loss[0], curve.coupling_error[0])
        differences.append(np.subtract(observed, predicted))
    error = np.std(differences, axis=0, ddof=1) / np.sqrt(N_INSTANCES)
    return float(np.abs(np.mean(differences, axis=0) / error).max())


def test_theory_holds_within_the_error_bars(simulated):
    assert largest_z(simulated, MASKS, FRACTION, RIDGE) < 5


@pytest.mark.parametrize(
    ("masks", "fraction", "ridge"),
    [(2, FRACTION, RIDGE), (MASKS, 0.5, RIDGE), (MASKS, FRACTION, RIDGE * 1.25)],
)
def test_a_wrong_theory_is_caught(masks, fraction, ridge, simulated):
    """A pattern less, more hidden sites, or another convention of the ridge are seen."""
    assert largest_z(simulated, masks, fraction, ridge) > 5
