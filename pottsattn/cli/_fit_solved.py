"""What the command fit solves to its optimum: pseudo-likelihood and mean field."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pottsattn._core.validate import InputError
from pottsattn.cli._shell import bar

if TYPE_CHECKING:
    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.fitting.result import FitResult

__all__ = ["solve", "solve_at_chosen_ridge", "solve_mean_field"]


def solve(
    arguments: argparse.Namespace,
    dataset: SequenceDataset,
    similarity: str,
    options: dict[str, Any],
) -> FitResult:
    from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood

    if options.get("ridge") == "auto":
        return solve_at_chosen_ridge(arguments, dataset, arguments.method, options)
    if arguments.heads == "auto":
        return _solve_with_chosen_heads(arguments, dataset, options)
    is_joint = arguments.symmetric
    if arguments.method == "factored":
        options = {**options, "n_heads": arguments.heads or 1, "color_similarity": similarity}
        is_joint = similarity == "learned"
        if is_joint:
            options |= {"n_starts": arguments.starts or 1, "rng": arguments.seed}
        elif arguments.starts is not None:
            raise InputError(
                "--starts applies to a learned color similarity: with identity the fit is convex"
            )
    if arguments.init is not None:
        from pottsattn.exchange.parameters import initial_parameters

        initial = initial_parameters(arguments.init, dataset)
        options = {**options, "initial": initial}
    with bar(arguments.method, "step" if is_joint else "site") as progress:
        return fit_pseudolikelihood(
            dataset,
            arguments.method,
            symmetric=arguments.symmetric,
            n_threads=arguments.threads,
            progress=progress,
            **options,
        )


def solve_at_chosen_ridge(
    arguments: argparse.Namespace,
    dataset: SequenceDataset,
    method: str,
    options: dict[str, Any],
) -> FitResult:
    """Return the fit at the ridge with the least approximate leave-one-out loss."""
    from pottsattn.fitting.selection.ridge_choice import choose_ridge

    if arguments.init is not None:
        raise InputError("--ridge auto finds its own start; leave out --init")
    options = {name: value for name, value in options.items() if name != "ridge"}
    with bar("ridges", "fit") as show:
        choice = choose_ridge(
            dataset,
            method,
            n_threads=arguments.threads,
            progress=lambda done: show(done, done + 1),
            **options,
        )
    return choice.fit


def _solve_with_chosen_heads(
    arguments: argparse.Namespace, dataset: SequenceDataset, options: dict[str, Any]
) -> FitResult:
    """Return the fit with the number of heads that predicts held-out sequences best."""
    from pottsattn.fitting.selection.heads_choice import choose_heads

    with bar("heads", "fit") as show:
        return choose_heads(
            dataset,
            rng=arguments.seed,
            n_starts=arguments.starts or 1,
            n_threads=arguments.threads,
            progress=lambda done: show(done, done + 1),
            **options,
        ).fit


def solve_mean_field(arguments: argparse.Namespace, dataset: SequenceDataset) -> FitResult:
    from pottsattn.fitting.mean_field import DEFAULT_PSEUDOCOUNT, fit_mean_field

    pseudocount = arguments.pseudocount
    return fit_mean_field(
        dataset, pseudocount=DEFAULT_PSEUDOCOUNT if pseudocount is None else pseudocount
    )
