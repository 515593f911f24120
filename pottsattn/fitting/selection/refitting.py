"""A fit repeated on other data: the same method, options and penalties."""

from __future__ import annotations

from typing import Any

from pottsattn._core.validate import InputError, check_kind
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.pseudolikelihood.fit import METHODS, fit_pseudolikelihood
from pottsattn.fitting.result import FitResult

__all__ = ["LOOSE_GAP", "refit"]

LOOSE_GAP = 1e-3  # nats per site: scores of pairs then move far less than between bootstrap samples
TRAINED = (
    "attention",
    "head_dimension",
    "color_similarity",
    "symmetric",
    "masks",
    "mask_fraction",
    "mask_mode",
    "hidden_as",
    "optimizer",
    "batch_size",
    "accumulate",
    "learning_rate",
    "schedule",
    "warmup_steps",
    "clip_norm",
    "precision",
)


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
    shared: dict[str, Any] = {
        "couplings_l2": fit.penalty.couplings_l2,
        "fields_l2": fit.penalty.fields_l2,
        "fields": config["fields"],
        "max_steps": config["max_steps"],
        "n_threads": n_threads,
    }
    if fit.method in METHODS:
        if fit.method == "factored":
            shared["n_heads"] = config.get("heads", 1)
            shared["color_similarity"] = config.get("color_similarity", "identity")
        return fit_pseudolikelihood(
            dataset,
            fit.method,
            gap_tolerance=gap_tolerance,
            symmetric=fit.symmetric and fit.method == "plm",
            initial=(fit.fields, fit.couplings) if from_fit else None,
            **shared,
        )
    from pottsattn.fitting.masked.fit import train_masked

    if config["color_similarity"] not in ("identity", "learned"):
        raise InputError("a fit whose color similarity was given cannot be repeated from its file")
    options = {name: config[name] for name in TRAINED if name in config}
    return train_masked(
        dataset, n_heads=config["heads"], rng=int(config["seed"] % 2**63), **shared, **options
    )
