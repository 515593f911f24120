"""A fit repeated on other data: the same method, options and penalties."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pottsattn._core.validate import InputError, check_kind
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.methods import SOLVED
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.result import FitResult
from pottsattn.training.recipe import OF_ADAM, Recipe

LOOSE_GAP = 1e-3  # nats per site: scores of pairs then move far less than between bootstrap samples


def refit(
    fit: FitResult,
    dataset: SequenceDataset,
    *,
    from_fit: bool = False,
    gap_tolerance: float = LOOSE_GAP,
    n_threads: int | None = None,
) -> FitResult:
    """Return a fit to other data with the method, options and penalties of `fit`.

    Parameters
    ----------
    fit
        A fit of any method; `couplings_l2` and `fields_l2` are taken over, not the ridge.
    dataset
        Sequences of the same length and states.
    from_fit
        Start pseudo-likelihood fits from the parameters of `fit`: faster where the data are alike.
        Trained fits start anew, from their seed.
    gap_tolerance
        For pseudo-likelihood, as in `fit_pseudolikelihood`.

    Raises
    ------
    InputError
        The data are of another size, or the layer was fitted with a similarity given as an array.
    """
    check_kind("fit", fit, FitResult, "load one: FitResult.load(path)")
    if (dataset.length, dataset.n_states) != (fit.length, fit.n_states):
        raise InputError(
            f"the fit is for (length, n_states) = {fit.length, fit.n_states}, the data have "
            f"{dataset.length, dataset.n_states}; give the data it was fitted to"
        )
    config = fit.config
    if fit.method == "mf":
        return fit_mean_field(dataset, pseudocount=config["pseudocount"])
    if fit.method in SOLVED:
        heads = {}
        if fit.method == "factored":
            heads = {
                "n_heads": config.get("heads", 1),
                "color_similarity": config.get("color_similarity", "identity"),
            }
        initial = (fit.fields, fit.couplings) if from_fit else None
        return fit_pseudolikelihood(
            dataset,
            fit.method,
            penalty=fit.penalty,
            fields=config["fields"],
            symmetric=fit.symmetric and fit.method == "plm",
            solver=Solver(gap_tolerance, max_steps=config["max_steps"], initial=initial),
            n_threads=n_threads,
            **heads,
        )
    from pottsattn.fitting.masked.fit import train_masked

    return train_masked(
        dataset,
        AttentionConfig.of_record(config),
        penalty=fit.penalty,
        masking=Masking(**_known(Masking, config)),
        recipe=_recipe(config),
        rng=int(config["seed"] % 2**63),
        n_threads=n_threads,
    )


def _recipe(config: dict[str, Any]) -> Recipe:
    """Return the recipe on record, without held-out data to stop by."""
    known = _known(Recipe, config) | {"stop_early": False}
    if known.get("optimizer") == "lbfgs":  # what a record says of Adam was of no effect
        known = {name: value for name, value in known.items() if name not in OF_ADAM}
    return Recipe(**known)


def _known(kind: type, config: dict[str, Any]) -> dict[str, Any]:
    """Return what a record says of the fields of `kind`; older files do not say all."""
    names = [field.name for field in fields(kind)]
    return {name: config[name] for name in names if name in config}
