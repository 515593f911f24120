"""Rows of a sweep whose deviations from theory are known."""

from __future__ import annotations

from dataclasses import replace

from pottsattn import learning_curve
from pottsattn.studies.sweep.table import SweepRow

SLOPE, NOISE = 0.5, 0.01  # test loss = theory + SLOPE / L, and +- NOISE of two instances
STUDENTS = {
    "factored": {"estimator": "factored"},
    "plm": {"estimator": "full"},
    "attention": {"estimator": "factored", "mask_fraction": 0.3, "mask_mode": "static"},
}


def make_rows(lengths=(20, 40, 80), **changes) -> list[SweepRow]:
    """Two instances of every point, whose realized J is 1.6 in an ensemble of 1.5."""
    rows = []
    for length in lengths:
        for method, student in STUDENTS.items():
            curve = learning_curve(3, 1.5, [4.0], 0.3, **student)
            for seed, noise in enumerate((-NOISE, NOISE)):
                row = SweepRow(
                    method=method,
                    ridge_kind="fixed",
                    alpha=4.0,
                    ridge=0.3,
                    seed=seed,
                    test_loss=curve.test_loss[0] + SLOPE / length + noise,
                    train_loss=curve.train_loss[0],
                    coupling_error=curve.coupling_error[0],
                    bayes_loss=1.0,
                    seconds=1.0,
                    converged=True,
                    length=length,
                    n_states=3,
                    coupling_scale=1.5,
                    realized_scale=1.6,
                )
                if method == "attention":
                    row = replace(row, mask_fraction=0.3, mask_mode="static", masks=1)
                rows.append(replace(row, **changes))
    return rows
