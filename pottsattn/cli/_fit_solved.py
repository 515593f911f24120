"""What the command fit solves to its optimum: pseudo-likelihood and mean field."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pottsattn._core.validate import InputError
from pottsattn.cli._options import given
from pottsattn.cli._shell import bar
from pottsattn.fitting.penalty import FIELDS_L2, Penalty, Ridge
from pottsattn.fitting.pseudolikelihood.solver import Solver

if TYPE_CHECKING:
    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.fitting.result import FitResult


def solve(
    arguments: argparse.Namespace,
    dataset: SequenceDataset,
    similarity: str,
    penalty: Penalty | Ridge | None,
) -> FitResult:
    """Return the pseudo-likelihood fit, at the ridge or with the heads that are to be chosen."""
    from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood

    if arguments.ridge == "auto":
        return solve_at_chosen_ridge(arguments, dataset, arguments.method)
    options: dict[str, Any] = {
        "penalty": penalty,
        "fields": arguments.fields or "learned",
        "n_threads": arguments.threads,
    }
    if arguments.n_heads == "auto":
        return _solve_with_chosen_heads(arguments, dataset, options)
    is_joint = arguments.symmetric
    if arguments.method == "factored":
        options |= {"n_heads": arguments.n_heads or 1, "color_similarity": similarity}
        is_joint = similarity == "learned"
        if not is_joint and arguments.n_starts is not None:
            raise InputError(
                "--starts applies to a learned color similarity: with identity the fit is convex"
            )
    solver = Solver(**given(Solver, arguments))
    if arguments.init is not None:
        from pottsattn.exchange.parameters import initial_parameters

        solver = replace(solver, initial=initial_parameters(arguments.init, dataset))
    with bar(arguments.method, "step" if is_joint else "site") as progress:
        return fit_pseudolikelihood(
            dataset,
            arguments.method,
            symmetric=arguments.symmetric,
            solver=solver,
            rng=arguments.seed,
            progress=progress,
            **options,
        )


def solve_at_chosen_ridge(
    arguments: argparse.Namespace, dataset: SequenceDataset, method: str
) -> FitResult:
    """Return the fit at the ridge with the least approximate leave-one-out loss."""
    from pottsattn.fitting.selection.ridge_choice import choose_ridge

    if arguments.init is not None:
        raise InputError("--ridge auto finds its own start; leave out --init")
    is_last = method == arguments.method  # otherwise a training comes after it, with these options
    with bar("ridges", "fit") as progress:
        return choose_ridge(
            dataset,
            method,
            fields=arguments.fields or "learned",
            fields_l2=FIELDS_L2 if arguments.fields_l2 is None else arguments.fields_l2,
            solver=Solver(**given(Solver, arguments)) if is_last else None,
            n_threads=arguments.threads,
            progress=progress,
        ).fit


def _solve_with_chosen_heads(
    arguments: argparse.Namespace, dataset: SequenceDataset, options: dict[str, Any]
) -> FitResult:
    """Return the fit with the number of heads that predicts held-out sequences best."""
    from pottsattn.fitting.selection.heads_choice import choose_heads

    with bar("heads", "fit") as progress:
        return choose_heads(
            dataset,
            solver=Solver(**given(Solver, arguments)),
            rng=arguments.seed,
            progress=progress,
            **options,
        ).fit


def solve_mean_field(arguments: argparse.Namespace, dataset: SequenceDataset) -> FitResult:
    from pottsattn.fitting.mean_field import DEFAULT_PSEUDOCOUNT, fit_mean_field

    pseudocount = arguments.pseudocount
    return fit_mean_field(
        dataset, pseudocount=DEFAULT_PSEUDOCOUNT if pseudocount is None else pseudocount
    )
