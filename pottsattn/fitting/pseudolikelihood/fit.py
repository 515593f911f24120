"""Pseudo-likelihood (plmDCA): every site's row is a penalized softmax regression.

The objective of site i is

    mean_m[ -log P(s_i | s_-i) ] + fields_l2 |h_i|^2 + R_i

with R_i as in `Penalty` and weighted means over sequences. For full blocks
and for factored ones with U = I it is convex, and 2 l2-strongly convex when all parameters are
penalized, so |gradient|^2 / (4 l2) bounds the distance to the optimum in nats: that bound is the
stop rule. Rows are independent and solved in parallel (`row_solver`); working memory is one row per
thread. A symmetric fit has one block per pair of sites and is solved for all sites together
(`joint_solver`), and so are several heads or a learned color similarity (`heads_fit`), which are
not convex. All are solved in single precision first; the verdict is in double precision.

References: Ekeberg et al., Phys. Rev. E 87, 012707 (2013); Rende et al., Phys. Rev. Research 6,
023057 (2024), section II (factored couplings).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import Progress
from pottsattn._core.stopwatch import Stopwatch
from pottsattn._core.threads import n_threads_or_default
from pottsattn._core.validate import (
    InputError,
    check_array,
    check_choice,
    check_generator,
    check_kind,
)
from pottsattn._core.verdict import TOLERANCES
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.existence import missing_optimum
from pottsattn.fitting.methods import FIELDS, SOLVED, check_heads
from pottsattn.fitting.penalty import Penalty, Ridge, penalty_or_ridge
from pottsattn.fitting.pseudolikelihood.heads_fit import fit_heads
from pottsattn.fitting.pseudolikelihood.joint_solver import solve_jointly
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.row_solver import Rows, StopRule, solve_rows
from pottsattn.fitting.pseudolikelihood.rows_factored import FactoredRows
from pottsattn.fitting.pseudolikelihood.rows_full import FullRows
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.pseudolikelihood.symmetric_problem import SymmetricProblem
from pottsattn.fitting.pseudolikelihood.verdict import estimated_gap, verdict
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.training_record import TrainingRecord
from pottsattn.model.couplings import Couplings

MAX_STEPS, MAX_STEPS_OF_HEADS = 1000, 10_000
Array = NDArray[np.float64]


def fit_pseudolikelihood(
    dataset: SequenceDataset,
    method: str = "plm",
    *,
    ridge: float | None = None,
    penalty: Penalty | Ridge | None = None,
    fields: str = "learned",
    symmetric: bool = False,
    n_heads: int = 1,
    color_similarity: str | None = None,
    solver: Solver | None = None,
    rng: np.random.Generator | int = 0,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Return the pseudo-likelihood fit of a data set.

    Parameters
    ----------
    dataset
        Weighted sequences; the true model, if any, is not looked at. Of data that ignore gaps
        (`SequenceDataset.ignoring_gaps`) a sequence does not count for the sites where it has one,
        and gaps of other sites act on nothing in the zero-sum gauge.
    method
        "plm": a free C x C block per pair. "factored": J_ij = sum_h A^h_ij U^h, the function of one
        layer of factored attention; with one head U = I unless it is to be learned.
    ridge, penalty
        The penalties: `Ridge(ridge)`, in the units of the theory, couplings_l2 = ridge / (2 alpha),
        with ridge 0.2 if both are left out; or a `Penalty` or `Ridge` with fields_l2 of its own.
    fields
        "learned" or "none" (h = 0, as in the replica theory).
    symmetric
        One block per pair of sites, J_ij(a, b) = J_ji(b, a), fitted to all rows at once ("plm");
        otherwise every row has its own, which takes the memory of one row and parallelizes.
    n_heads, color_similarity
        H, and "identity" (one head, the default of one head: convex) or "learned", for "factored".
    solver
        From where and how far the optimum is searched: `Solver()` if left out.
    rng
        Generator or seed of random starts, with learned color similarity.
    progress
        Called with (sites done, sites) from the calling thread; with (evaluations, steps
        allowed) where all sites are solved together.

    Returns
    -------
    FitResult
        Rows as the optimum left them: neither symmetrized nor gauge-fixed. Interrupted by Ctrl-C:
        the rows solved so far, the others without couplings, not converged. With learned color
        similarity |P U^h P|^2_F = C - 1, the strongest head first, and `config` has the
        objective that every start reached.

    Raises
    ------
    InputError
        A wrong option value, or ignored gaps without a penalty on couplings.

    Warns
    -----
    ConvergenceWarning
        Some site ran out of steps.
    """
    check_kind(
        "dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, n_states)"
    )
    check_choice("method", method, SOLVED)
    check_choice("fields", fields, FIELDS)
    color_similarity = _similarity(method, n_heads, color_similarity, symmetric)
    solver = solver or Solver()
    penalty = penalty_or_ridge(ridge, penalty).of(dataset)
    if dataset.ignores_gaps and penalty.couplings_l2 == 0.0:
        raise InputError("ignored gaps need a penalty on couplings; give ridge or penalty")
    data = RowData.of(
        dataset,
        penalty,
        learn_fields=fields == "learned",
        initial=_check_initial(solver.initial, dataset),
    )
    # Both rows of a pair penalize the block they share.
    couplings_l2 = penalty.couplings_l2 * (2.0 if symmetric else 1.0)
    strength = min([couplings_l2] + [penalty.fields_l2] * data.learn_fields)
    gradient_tolerance = solver.gradient_tolerance
    if gradient_tolerance is None and strength == 0.0:
        gradient_tolerance = TOLERANCES.gradient
    is_convex = color_similarity != "learned"
    is_joint = symmetric or not is_convex
    n_together = dataset.length if is_joint else 1
    gap_tolerance = solver.gap_tolerance * n_together
    max_steps = solver.max_steps or (MAX_STEPS if is_convex else MAX_STEPS_OF_HEADS)
    rule = StopRule(strength, gap_tolerance, gradient_tolerance, max_steps)
    is_mixed, workers = solver.precision == "mixed", n_threads_or_default(n_threads)
    objectives: list[float] = []
    watch = Stopwatch()
    if not is_convex:
        solution, objectives = fit_heads(
            dataset,
            data,
            n_heads,
            n_starts=solver.n_starts,
            rng=check_generator(rng),
            gap_tolerance=solver.gap_tolerance,
            max_steps=max_steps,
            n_threads=workers,
            is_mixed=is_mixed,
            progress=progress,
        )
    elif symmetric:
        problem = SymmetricProblem(data, workers)
        solution = solve_jointly(
            problem, problem.start(), rule, is_mixed=is_mixed, progress=progress
        )
    else:
        rows: Rows = FullRows(data) if method == "plm" else FactoredRows(data)
        is_mixed &= rows.has_single
        solution = solve_rows(rows, rule, workers, is_mixed=is_mixed, progress=progress)
    seconds, compile_seconds = watch.seconds, watch.compile_seconds

    solved = solution.rows
    norm = max(row.gradient_norm for row in solved)
    has_bound = is_convex and strength > 0.0
    gap = norm**2 / (4.0 * strength) / n_together if has_bound else np.nan
    infinite = missing_optimum(
        dataset,
        penalty,
        solution.fields,
        solution.couplings,
        learn_fields=data.learn_fields,
        symmetric=symmetric,
    )
    judged = verdict(solution, max_steps, gap, n_together, objectives, infinite)
    if not solution.interrupted:
        judged.warn()
    return FitResult(
        method=method,
        fields=solution.fields,
        couplings=solution.couplings,
        n_sequences=dataset.n_sequences,
        effective_size=dataset.effective_size,
        objective=sum(row.objective for row in solved),
        train_loss=sum(row.loss for row in solved) / dataset.length / dataset.observed_share,
        penalty=penalty,
        gradient_norm=norm,
        optimality_gap=gap,
        estimated_gap=estimated_gap(solution, n_together),
        symmetric=symmetric,
        gauge="least penalty" if method == "plm" else "as fitted",
        n_evaluations=max(row.n_evaluations for row in solved),
        n_parameters=solution.n_parameters,
        seconds=seconds,
        compile_seconds=compile_seconds,
        converged=judged.converged,
        interrupted=solution.interrupted,
        message=judged.message,
        alphabet=dataset.alphabet,
        gap_index=dataset.gap_index,
        columns=dataset.columns,
        numbering=dataset.numbering,
        gap_policy=dataset.gap_policy,
        training=TrainingRecord.of(dataset),
        config={
            "fields": fields,
            "gap_tolerance": solver.gap_tolerance,
            "gradient_tolerance": gradient_tolerance,
            "max_steps": max_steps,
            "precision": solver.precision,
            "symmetric": symmetric,
        }
        | ({"color_similarity": color_similarity, "heads": n_heads} if color_similarity else {})
        | ({"start_objectives": objectives} if objectives else {}),
        origin={"data": dataset.origin},
    )


def _similarity(
    method: str, n_heads: int, color_similarity: str | None, symmetric: bool
) -> str | None:
    """Return the color similarity, None for full blocks."""
    if symmetric and method != "plm":
        raise InputError(f"symmetric applies to plm, not to {method}")
    if method == "plm":
        if n_heads != 1 or color_similarity is not None:
            raise InputError("heads and color_similarity apply to factored, not to plm")
        return None
    if color_similarity is None:
        color_similarity = "identity" if n_heads == 1 else "learned"
    check_heads(n_heads, color_similarity)
    return color_similarity


def _check_initial(
    initial: tuple[Array, Couplings] | None, dataset: SequenceDataset
) -> tuple[Array, Couplings] | None:
    if initial is None:
        return None
    shape = (dataset.length, dataset.n_states)
    start, couplings = initial
    if (couplings.length, couplings.n_states) != shape:
        raise InputError(
            f"initial couplings are for length and states {(couplings.length, couplings.n_states)},"
            f" the data have {shape}"
        )
    return check_array("initial fields", start, shape), couplings
