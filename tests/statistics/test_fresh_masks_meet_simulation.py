"""The replica curve of fresh masks against fits to many masks per sequence, in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from pottsattn import learning_curve, sample
from pottsattn.model.ensembles import sk_potts

LENGTH, SCALE, ALPHA, RIDGE, FRACTION = 60, 1.0, 4, 0.1, 0.3
N_INSTANCES, N_SITES, N_TEST, MASKS = 5, 15, 2000, (6, 24)


def fit_row(inputs, signs, n_masks, rng):
    """Minimize mean over masks of log(1 + e^(-signs u)) summed over sequences, plus the ridge.

    For two colors u = 2 (field of the first color); returns the couplings and the mean loss.
    """
    shown = rng.random((n_masks, *inputs.shape)) > FRACTION
    seen = (signs[:, None] * inputs * shown).reshape(-1, inputs.shape[1])

    def objective(row):
        u = seen @ row
        slope = -1.0 / (1.0 + np.exp(u)) / n_masks
        penalty = 0.5 * RIDGE * LENGTH * row @ row
        loss = np.logaddexp(0.0, -u).sum() / n_masks
        return loss + penalty, slope @ seen + RIDGE * LENGTH * row

    found = minimize(objective, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    return found, np.logaddexp(0.0, -seen @ found).mean()


@pytest.fixture(scope="module")
def simulated() -> np.ndarray:
    """Realised scale, excess test loss, excess training loss and coupling error per instance.

    Excess over the true model on the same sequences, so that their noise drops out; all are
    extrapolated to infinitely many masks, which they approach like 1 / masks.
    """
    rows = []
    for seed in range(N_INSTANCES):
        rng = np.random.default_rng(seed)
        model = sk_potts(LENGTH, 2, SCALE, rng)
        couplings = model.couplings.factors()[0][0]
        data = sample(model, ALPHA * LENGTH + N_TEST, rng=rng).dataset
        signs = 1.0 - 2.0 * data.sequences  # x_0 - x_1, the field difference is A signs
        train, test = np.split(signs, [ALPHA * LENGTH])
        found = np.zeros((len(MASKS), 3))
        for site in rng.choice(LENGTH, N_SITES, replace=False):
            others = np.delete(np.arange(LENGTH), site)
            truth = couplings[site, others]
            losses = [
                np.logaddexp(0.0, -part[:, site] * (part[:, others] @ truth)).mean()
                for part in (test, train)
            ]
            for k, n_masks in enumerate(MASKS):
                row, train_loss = fit_row(train[:, others], train[:, site], n_masks, rng)
                test_loss = np.logaddexp(0.0, -test[:, site] * (test[:, others] @ row)).mean()
                found[k] += (
                    test_loss - losses[0],
                    train_loss - losses[1],
                    ((row - truth) ** 2).sum() / (truth**2).sum(),
                )
        few, many = MASKS
        limit = (many * found[1] - few * found[0]) / (many - few) / N_SITES
        rows.append((np.sqrt((couplings**2).sum() / LENGTH), *limit))
    return np.array(rows)


def largest_z(simulated: np.ndarray, **masks) -> float:
    """Compare with theory at each realised J; a site has L - 1 neighbors, not L."""
    finite = LENGTH / (LENGTH - 1)
    differences = []
    for scale, *observed in simulated:
        curve = learning_curve(2, scale, [ALPHA * finite], RIDGE * finite, **masks)
        bayes = curve.bayes_loss[0]
        predicted = (
            curve.test_loss[0] - bayes,
            curve.train_loss[0] - bayes,
            curve.coupling_error[0],
        )
        differences.append(np.subtract(observed, predicted))
    error = np.std(differences, axis=0, ddof=1) / np.sqrt(N_INSTANCES)
    return float(np.abs(np.mean(differences, axis=0) / error).max())


def test_theory_holds_within_the_error_bars(simulated):
    assert largest_z(simulated, mask_fraction=FRACTION) < 5


@pytest.mark.parametrize(
    "masks", [{}, {"mask_fraction": 0.4}, {"mask_fraction": FRACTION, "mask_mode": "static"}]
)
def test_a_wrong_theory_is_caught(masks, simulated):
    """No masks, a third more of them, or static ones are seen."""
    assert largest_z(simulated, **masks) > 5
