"""A small sweep against the theory: every point within its errors, deviations vanish like 1 / L.

The whole experiment is benchmarks/sweep.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from pottsattn.studies.sweep.against_theory import deviations, finite_size_fits, judge
from pottsattn.studies.sweep.config import SweepConfig
from pottsattn.studies.sweep.run import run_sweep
from pottsattn.studies.sweep.table import SweepTable

SHARED = {"lengths": [16, 32, 64], "instances": 8, "ridges": 0.3, "n_test": 1000}
GRIDS = [
    {"n_states": 3, "coupling_scales": 1.5, "alphas": 4, "methods": ["factored", "plm"]},
    {
        "n_states": 2,
        "coupling_scales": 1.0,
        "alphas": 4,
        "methods": "attention",
        "mask_fractions": 0.4,
    },
]
LONGEST = 64


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> SweepTable:
    config = SweepConfig.from_dict({**SHARED, "grid": GRIDS})
    path = tmp_path_factory.mktemp("sweep") / "sweep.h5"
    with ThreadPoolExecutor(1) as executor:
        result = run_sweep(config, path, executor=executor)
    assert result.converged
    return result.table


def largest_offset(table: SweepTable) -> float:
    """Return the largest deviation at 1 / L = 0, in standard errors, test loss and couplings."""
    fits = [
        fit
        for observable in ("test_loss", "coupling_error")
        for fit in finite_size_fits(deviations(table, observable), matched=True)
    ]
    assert len(fits) == 6
    return float(np.abs([fit.offset / fit.offset_error for fit in fits]).max())


@pytest.mark.slow
def test_points_agree_and_deviations_vanish_with_the_length(table):
    assert all(verdict.is_within for verdict in judge(deviations(table), LONGEST))
    assert largest_offset(table) < 4


@pytest.mark.parametrize(
    "fault", [{"ridge": 0.45}, {"alpha": 3.4}, {"realized_scale": 1.2}, {"mask_mode": "fresh"}]
)
def test_a_wrong_theory_is_caught(fault, table):
    """A ridge half too large, fewer sequences, weaker couplings, fresh masks are seen."""
    ((name, value),) = fault.items()
    rows = tuple(
        row if name == "mask_mode" and row.mask_mode is None else replace(row, **{name: value})
        for row in table.rows
    )
    assert largest_offset(SweepTable(rows)) > 4
