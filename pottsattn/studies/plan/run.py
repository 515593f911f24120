"""How many sequences are enough: losses at other numbers of sequences, predicted from one data set.

The data are cut into four parts (whole clusters of an alignment). Each method is fitted to one, two
and three of them and judged on the rest, at the ridge asked for and, once, at the ridge that theory
finds best. The replica curve is fitted to these losses and continued (`theory.effective`). Two
forms are tried, the simpler one first:

- matched: the SK-Potts ensemble at one J for all methods;
- effective: for each method its own J, cost of sequences and cost of ridge. Alignments need it.

References: docs/plan.md; Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import Progress
from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_choice,
    check_generator,
    check_kind,
    check_nonnegative,
    check_positive,
)
from pottsattn.analysis.coupling_scale import coupling_scale_of_pairs
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.methods import FIELDS
from pottsattn.fitting.penalty import DEFAULT_RIDGE
from pottsattn.studies.plan.lab import N_PARTS, Lab, cut
from pottsattn.studies.plan.result import MeasuredFit, MethodPlan, Plan, PlanPoint
from pottsattn.theory.effective import (
    EffectiveEnsemble,
    MeasuredLoss,
    fit_effective,
    fit_matched,
    residuals,
)
from pottsattn.theory.ensemble import phase_zone

Array = NDArray[np.float64]
METHODS = ("factored", "plm")
TRAINED_ON = ((0,), (2,), (0, 1), (2, 3), (1, 2, 3), (0, 1, 3))  # parts; the others are held out
LEAST_SEQUENCES = 16
MATCHED = 0.025  # rms residual over the baseline up to which one J is enough
NEAR = 1.5  # ridges within this factor of each other tell the same
GRID = tuple(2.0 ** np.arange(-2.0, 4.5, 0.5))  # numbers of sequences, in those of the data
FURTHER = tuple(2.0 ** np.arange(5.0, 14.0))  # where a target is sought; beyond is out of reach


def plan(
    dataset: SequenceDataset,
    *,
    ridge: float = DEFAULT_RIDGE,
    fields: str = "learned",
    fields_l2: float = 0.01,
    n_heads: int | None = None,
    target_loss: float | None = None,
    identity_threshold: float = 0.8,
    rng: np.random.Generator | int = 0,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Return the predicted test loss against the number of sequences, per method.

    Parameters
    ----------
    dataset
        Independent sequences, or an alignment with weights. The true model is not looked at.
    ridge
        Penalty in units of the theory, couplings_l2 = ridge / (2 alpha); above 0.
    fields, fields_l2
        As in `fit_pseudolikelihood`.
    n_heads
        H of the layer between one fixed color matrix and free blocks; about C - 1 if left out.
    target_loss
        Nats per site: the number of sequences that each method needs for it is sought.
    identity_threshold
        Alignments: sequences at least this identical stay on one side.
    progress
        Called with (fits done, fits in all).

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        A value out of range, or fewer than 16 sequences.

    Warns
    -----
    ConvergenceWarning
        Some fit ran out of steps.
    """
    check_kind("dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, C)")
    dataset.refuse_ignored_gaps("a plan")
    check_positive("ridge", ridge)
    check_choice("fields", fields, FIELDS)
    check_nonnegative("fields_l2", fields_l2)
    if n_heads is not None:
        check_at_least("n_heads", n_heads, 1)
        if n_heads > (dataset.n_states - 1) ** 2:
            raise InputError(
                f"n_heads must be at most (n_states - 1)^2 = {(dataset.n_states - 1) ** 2}, "
                f"where blocks are free, got {n_heads}"
            )
    if target_loss is not None:
        check_positive("target_loss", target_loss)
    if dataset.n_sequences < LEAST_SEQUENCES:
        raise InputError(
            f"a plan needs at least {LEAST_SEQUENCES} sequences, got {dataset.n_sequences}"
        )
    parts = cut(dataset, identity_threshold, check_generator(rng))
    n_fits = len(METHODS) * (len(TRAINED_ON) + 2)
    lab = Lab(dataset, parts, fields, fields_l2, n_threads, n_fits, progress)
    start = _start(lab)
    of_pairs = coupling_scale_of_pairs(dataset)
    scale = (of_pairs.value, of_pairs.error)
    measured = {method: lab.fits(method, ridge, TRAINED_ON) for method in METHODS}
    form, ensembles = _fitted(start, measured, scale)
    for method, ensemble in zip(METHODS, ensembles, strict=True):
        largest = TRAINED_ON[-2:]
        best = float(ensemble.best_losses([measured[method][-1].alpha])[1][0])
        if math.isfinite(best) and not ridge / NEAR < best < ridge * NEAR:
            measured[method] += lab.fits(method, best, largest)
        else:
            lab.skip(len(largest))
    form, ensembles = _fitted(start, measured, scale)
    earlier = {
        method: [fit for fit in found if fit.n_parts < N_PARTS - 1 and fit.ridge == ridge]
        for method, found in measured.items()
    }
    _, before = _fitted(start, earlier, scale, form)
    methods = []
    for method, ensemble, old in zip(METHODS, ensembles, before, strict=True):
        found = measured[method]
        off = residuals(ensemble, _points(found))
        at_end = [fit for fit in found if fit.n_parts == N_PARTS - 1 and fit.ridge == ridge]
        methods.append(
            _method_plan(
                dataset,
                method,
                ensemble,
                ridge,
                target_loss,
                measured=tuple(found),
                residual=float(np.sqrt(np.mean(off[:, 0] ** 2))),
                back_test=float(residuals(old, _points(at_end))[0, 0]),
            )
        )
    layer = _layer(ensembles[1], start[1], n_heads, dataset)
    methods.insert(1, _method_plan(dataset, f"heads {layer[0]}", layer[1], ridge, target_loss))
    zones = [phase_zone(e.n_states, e.coupling_scale).zone for e in ensembles]
    return Plan(
        n_sequences=dataset.n_sequences,
        effective_size=dataset.effective_size,
        length=dataset.length,
        n_states=dataset.n_states,
        ridge=ridge,
        fields=fields,
        form=form,
        zone=max(zones, key=("safe", "caution", "invalid").index),
        baseline_loss=ensembles[1].baseline,
        bayes_loss=ensembles[1].floor,
        target_loss=target_loss,
        methods=tuple(methods),
        converged=lab.converged,
        message=lab.message,
    )


def _points(fits: Sequence[MeasuredFit]) -> list[MeasuredLoss]:
    return [
        MeasuredLoss(fit.alpha, fit.ridge, fit.test_loss, fit.train_loss, fit.test_loss_error)
        for fit in fits
    ]


def _start(lab: Lab) -> list[EffectiveEnsemble]:
    """Return factored and full students with the number of colors in use, J still open."""
    length = lab.dataset.length
    finite = (length - 1.0) / length
    n_states = max(2.0, math.exp(lab.baseline))
    # A parameter costs 1 / (2 M) nats on new sequences, and gains as much on its own.
    cost = float(np.expm1(lab.entropies).mean()) / (2.0 * length) if lab.learns_fields else 0.0
    one = EffectiveEnsemble(round(n_states), 1.0, finite, finite, lab.baseline, cost)
    rank = n_states - 1.0
    return [one, replace(one, sequence_cost=finite * rank**2, ridge_cost=finite * rank)]


def _fitted(
    start: list[EffectiveEnsemble],
    measured: dict[str, list[MeasuredFit]],
    scale: tuple[float, float],
    form: str | None = None,
) -> tuple[str, list[EffectiveEnsemble]]:
    """Return the form that fits, or the one asked for, and the ensemble of every method."""
    points = [_points(measured[method]) for method in METHODS]
    if form != "effective":
        ensembles = fit_matched(start, points, scale)
        off = np.concatenate(
            [residuals(ensemble, found) for ensemble, found in zip(ensembles, points, strict=True)]
        )
        alphas = [point.alpha for found in points for point in found]
        mean_squares = np.average(off**2, axis=0, weights=alphas)  # larger sets scatter less
        noise = max(fit.test_loss_error for fit in measured[METHODS[0]]) / start[0].baseline
        if form == "matched" or np.sqrt(mean_squares.max()) < math.hypot(MATCHED, noise):
            return "matched", ensembles
    return "effective", [fit_effective(s, found) for s, found in zip(start, points, strict=True)]


def _layer(
    full: EffectiveEnsemble, start: EffectiveEnsemble, n_heads: int | None, dataset: SequenceDataset
) -> tuple[int, EffectiveEnsemble]:
    """Return H and the ensemble of H heads whose color matrices span the couplings.

    Capacity law: K and R are H, in the units in which those of free blocks are (C - 1)^2 and C - 1.
    """
    finite = (dataset.length - 1.0) / dataset.length
    rank = start.ridge_cost / finite  # C - 1 of the colors in use
    n_heads = n_heads or max(1, round(rank))
    share = min(1.0, n_heads / rank**2)
    return n_heads, replace(
        full, sequence_cost=full.sequence_cost * share, ridge_cost=full.ridge_cost * share * rank
    )


def _method_plan(
    dataset: SequenceDataset,
    method: str,
    ensemble: EffectiveEnsemble,
    ridge: float,
    target_loss: float | None,
    *,
    measured: tuple[MeasuredFit, ...] = (),
    residual: float = math.nan,
    back_test: float = math.nan,
) -> MethodPlan:
    factors = np.array(GRID)
    test, train = ensemble.losses(dataset.alpha * factors, ridge)
    best, best_ridges = ensemble.best_losses(dataset.alpha * factors)
    points = tuple(
        PlanPoint(
            n_sequences=round(dataset.n_sequences * factor),
            effective_size=dataset.effective_size * factor,
            alpha=dataset.alpha * factor,
            test_loss=float(test[k]),
            train_loss=float(train[k]),
            best_ridge=float(best_ridges[k]),
            best_loss=float(best[k]),
        )
        for k, factor in enumerate(GRID)
    )
    needed = best_needed = None
    if target_loss is not None and target_loss > ensemble.floor:
        if not test[-1] <= target_loss:
            further = np.array(FURTHER)
            test = np.append(test, ensemble.losses(dataset.alpha * further, ridge)[0])
            best = np.append(best, ensemble.best_losses(dataset.alpha * further)[0])
            factors = np.append(factors, further)
        needed = _sequences_for(target_loss, factors, test, ensemble.floor)
        best_needed = _sequences_for(target_loss, factors, best, ensemble.floor)
    return MethodPlan(
        method=method,
        floor=ensemble.floor,
        coupling_scale=ensemble.coupling_scale,
        n_colors=ensemble.n_states,
        sequence_cost=ensemble.sequence_cost,
        ridge_cost=ensemble.ridge_cost,
        residual=residual,
        back_test=back_test,
        points=points,
        measured=measured,
        sequences_for_target=None if needed is None else math.ceil(needed * dataset.n_sequences),
        best_sequences_for_target=(
            None if best_needed is None else math.ceil(best_needed * dataset.n_sequences)
        ),
    )


def _sequences_for(target_loss: float, factors: Array, losses: Array, floor: float) -> float | None:
    """Return the factor from which on the loss stays at or below the target, None if too far.

    The loss at a fixed ridge may rise before it falls: the last crossing counts. Between two
    factors the excess over the floor is a power law.
    """
    above = np.flatnonzero(~(losses <= target_loss))
    if len(above) == 0:
        return float(factors[0])
    last = int(above[-1])
    if last == len(factors) - 1:
        return None
    logs = np.log(losses[[last + 1, last]] - floor)  # ascending
    crossing = np.interp(math.log(target_loss - floor), logs, np.log(factors[[last + 1, last]]))
    return float(np.exp(crossing))
