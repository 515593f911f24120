"""Options of fits as one flat list, from which tests with tables of options make values."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pottsattn._core.checkpoint import CheckpointFile
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.penalty import Penalty, Ridge
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.training.recipe import Recipe


def as_training(**options: Any) -> dict[str, Any]:
    """Return arguments of `train_masked`."""
    options = _with_penalty(options)
    if "checkpoint_seconds" in options:
        options["checkpoint"] = CheckpointFile(
            options["checkpoint"], options.pop("checkpoint_seconds")
        )
    for name, kind in (("layer", AttentionConfig), ("masking", Masking), ("recipe", Recipe)):
        if taken := _take(kind, options):
            options[name] = kind(**taken)
    return options


def as_solving(**options: Any) -> dict[str, Any]:
    """Return arguments of `fit_pseudolikelihood`."""
    options = _with_penalty(options)
    return {"solver": Solver(**_take(Solver, options)), **options}


def _take(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    return {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}


def _with_penalty(options: dict[str, Any]) -> dict[str, Any]:
    options = dict(options)
    for name, kind in (("couplings_l2", Penalty), ("fields_l2", Ridge)):
        if name in options:
            options["penalty"] = kind(**_take(kind, options))
    return options
