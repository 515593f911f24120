"""How a fit went: its verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pottsattn._core.verdict import Verdict, at_infinity
from pottsattn.fitting.pseudolikelihood.row_solver import Solution, SolvedRow


def estimated_gap(solution: Solution, n_together: int) -> float:
    """Return the largest estimated distance to the minimum per site; NaN where no step was made."""
    estimates = [row.decrement for row in solution.rows if np.isfinite(row.decrement)]
    return max(estimates) / n_together if estimates else np.nan


def verdict(
    solution: Solution,
    max_steps: int,
    gap: float,
    n_together: int,
    objectives: list[float],
    infinite: str | None,
) -> Verdict:
    """Return the verdict on a fit.

    `gap` bounds the distance to the minimum per site; `n_together` sites are one row; `objectives`
    are those that several starts reached; `infinite` says why there is no optimum.
    """
    rows = solution.rows
    norm = max(row.gradient_norm for row in rows)
    if infinite is not None:
        return replace(at_infinity(infinite), gradient_norm=norm)
    state = f"gradient norm {norm:.1e}"
    if np.isfinite(gap):
        state += f", at most {gap:.1e} nats per site above the minimum"
    estimate = estimated_gap(solution, n_together)
    if np.isfinite(estimate):
        state += f", by the curvature seen about {estimate:.1e}"
    if np.isfinite(to_gain := rows[0].to_gain):
        state += f"; as many steps again would gain about {to_gain:.1e} nats per site"
    if len(objectives) > 1:
        spread = max(objectives) - min(objectives)
        state += f"; best of {len(objectives)} starts, which differ by {spread:.2e} nats"
    is_solved = all(row.converged for row in rows) and not solution.interrupted
    if n_together > 1:
        place = "a stationary point" if objectives else "the optimum"
        success = f"at {place}: {state}"
        reason, remedy = _of_one(rows[0], max_steps, success, state, solution.interrupted)
    else:
        reason, remedy = _of_sites(rows, max_steps, state, solution.interrupted)
    has_bound = bool(np.isfinite(gap))
    return Verdict(
        is_solved,
        reason,
        remedy,
        gap=gap if has_bound else estimate,
        gap_is="bound" if has_bound else "estimate" if np.isfinite(estimate) else "",
        gradient_norm=norm,
    )


def _of_one(
    row: SolvedRow, max_steps: int, success: str, state: str, interrupted: bool
) -> tuple[str, str]:
    """Return reason and remedy."""
    if interrupted:
        return f"interrupted: {state}", ""
    if row.converged:
        return success, ""
    if row.n_steps < max_steps:
        return f"stopped where rounding hides a lower objective: {state}", "loosen the tolerance"
    return f"not converged in {max_steps} steps: {state}", "raise max_steps or the penalty"


def _of_sites(
    rows: list[SolvedRow], max_steps: int, state: str, interrupted: bool
) -> tuple[str, str]:
    failed = [row for row in rows if not row.converged]
    if interrupted:
        return (
            f"interrupted: {len(rows) - len(failed)} of {len(rows)} sites are solved, the others "
            "have no couplings"
        ), ""
    if not failed:
        return f"every site converged: {state}", ""
    if all(row.n_steps < max_steps for row in failed):
        return (
            f"{len(failed)} of {len(rows)} sites stopped where float64 cannot lower the objective "
            f"further: {state}; usually the optimum within rounding"
        ), "loosen the tolerance"
    return (
        f"{len(failed)} of {len(rows)} sites did not converge in {max_steps} steps: {state}"
    ), "raise max_steps or the penalty"
