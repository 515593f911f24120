"""The command fit."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pottsattn._core.validate import GAP_POLICIES, InputError, check_choice
from pottsattn._core.verdict import stated
from pottsattn.cli._fit_solved import solve, solve_at_chosen_ridge, solve_mean_field
from pottsattn.cli._fit_trained import NETWORK_TEXTS, train, with_gap_policy
from pottsattn.cli._options import add_options, given, option_of
from pottsattn.cli._shell import (
    DATA_HELP,
    DONE,
    INTERRUPTED,
    NOT_CONVERGED,
    add_command,
    add_data_options,
    check_output,
    peak_memory_bytes,
    read_data,
    say,
    whole_number,
)
from pottsattn.fitting.masked.settings import AttentionConfig, Masking, TransformerConfig
from pottsattn.fitting.methods import (
    COLOR_SIMILARITIES,
    FACTORED,
    METHODS,
    MINIMIZES,
    SOLVED,
    TRAINED,
)
from pottsattn.fitting.penalty import Penalty, Ridge
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.training.recipe import Recipe

if TYPE_CHECKING:
    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.data.sequence_file import SequenceFile
    from pottsattn.fitting.masked.network_fit import NetworkFit
    from pottsattn.fitting.result import FitResult

# Which methods take an option: those of the value that it is a field of.
KINDS: dict[type, tuple[str, ...]] = {
    Ridge: MINIMIZES,
    Penalty: MINIMIZES,
    AttentionConfig: ("attention",),
    TransformerConfig: ("transformer",),
    Masking: TRAINED,
    Recipe: TRAINED,
}
ONLY_FOR = {field.name: methods for kind, methods in KINDS.items() for field in fields(kind)} | {
    "fields": MINIMIZES,
    "max_steps": (*SOLVED, *TRAINED),
    "n_heads": ("factored", *TRAINED),
    "color_similarity": FACTORED,
    "symmetric": ("plm", "attention"),
    "weight_decay": ("transformer",),
    "n_starts": ("factored",),
    "init": SOLVED,
    "errors": SOLVED,
    "pseudocount": ("mf",),
    "gaps": (*MINIMIZES, "mf"),
    **dict.fromkeys(("validation", "stream", "device"), TRAINED),
}
TEXTS = {
    "couplings_l2": ("X", "that penalty directly"),
    "fields_l2": ("X", "penalty on the fields"),
    "fields": ("NAME", "learned or none"),
    "errors": (
        "KIND",
        "plm, factored: standard errors of couplings into the file, laplace or sandwich",
    ),
    "init": (
        "FILE",
        "plm, factored: start from a fit, an exported .npz or plmc's binary parameters",
    ),
    "gaps": (
        "POLICY",
        "state: a gap is one more state; ignored: it says nothing of its site (default: state)",
    ),
    "symmetric": (
        "",
        "plm: one block for each pair of sites, fitted jointly, as plmc and CCMpred do; "
        "attention: J_ij(a, b) = J_ji(b, a)",
    ),
    "n_starts": ("N", "factored, learned color similarity: starts, of which the best counts"),
    "color_similarity": (
        "NAME",
        "learned or identity (default: identity for .h5 data and one head, else learned)",
    ),
    "max_steps": (
        "N",
        "steps at most (default: 1000 a site, 10000 of lbfgs, heads or a transformer, 20000 of "
        "attention by adam)",
    ),
}


def add_parser(commands: Any) -> None:
    """Add the command."""
    fit = add_command(
        commands,
        "fit",
        _fit,
        "Infer the couplings by pseudo-likelihood, masked modeling or mean field.",
    )
    fit.add_argument("data", metavar="DATA", help=DATA_HELP)
    fit.add_argument("--method", required=True, metavar="NAME", help=", ".join(METHODS))
    fit.add_argument("--out", metavar="FIT.h5", required=True, help="fit to write")
    fit.add_argument(
        "--ridge",
        metavar="X",
        help="penalty in units of the theory, couplings_l2 = X / (2 alpha) "
        "(default: 0.2; on an alignment about CCMpred's 0.2 (L - 1)), or auto: the least "
        "approximate leave-one-out loss",
    )
    add_options(fit.add_argument, (*KINDS, Solver), TEXTS)
    fit.add_argument(
        "--heads",
        dest="n_heads",
        type=_number_of_heads,
        metavar="H",
        help="heads (default: 1), or auto for factored: the least loss on held-out clusters",
    )
    fit.add_argument(
        "--pseudocount",
        type=float,
        metavar="P",
        help="mf: share of uniform statistics mixed into the frequencies (default: 0.5)",
    )
    network = fit.add_argument_group("attention and transformer")
    add_options(network.add_argument, tuple(KINDS), NETWORK_TEXTS)
    network.add_argument(
        "--stream", action="store_true", help=".h5: read sequences as they are needed"
    )
    add_data_options(fit)


def _fit(arguments: argparse.Namespace) -> int:
    from pottsattn._core.machine import worker_rank

    method = check_choice("method", arguments.method, METHODS)
    for name, methods in ONLY_FOR.items():
        if getattr(arguments, name, None) not in (None, False) and method not in methods:
            raise InputError(f"{option_of(name)} applies to {_listed(methods)}, not to {method}")
    if arguments.errors is not None:
        check_choice("errors", arguments.errors, ("laplace", "sandwich"))
        _check_rows(arguments, "--errors")
    _check_gaps(arguments)
    if arguments.ridge == "auto":
        _check_rows(arguments, "--ridge auto")
        if arguments.mask_fraction is not None or arguments.mask_mode == "static":
            raise InputError("--ridge auto is for masks of one site, fresh; give --ridge a number")
    if worker_rank() is not None and method not in TRAINED:
        raise InputError(f"torchrun is for {' and '.join(TRAINED)}; {method} takes --threads")
    if arguments.n_heads == "auto":
        _check_heads_auto(arguments)
    check_output(arguments.out, arguments.data, arguments.init, arguments.validation)
    dataset = _read(arguments)
    fit = _run(arguments, dataset)
    if worker_rank() not in (None, 0):  # of several processes one writes
        return DONE
    fit.save(arguments.out, seed=arguments.seed)
    if method in TRAINED and not fit.interrupted:
        Path(f"{arguments.out}.partial").unlink(missing_ok=True)
    report = {
        "file": arguments.out,
        **fit.to_dict(),
        "ridge": fit.ridge,
        "ridge_path": fit.config.get("ridge_path"),
        "heads_path": fit.config.get("heads_path"),
        "peak_memory_bytes": peak_memory_bytes(),
        "summary": dataset.origin.get("source", {}).get("summary"),
    }
    say(arguments, report, _text(arguments, fit), dataset)
    if fit.interrupted:
        return INTERRUPTED
    return DONE if fit.converged else NOT_CONVERGED


def _read(arguments: argparse.Namespace) -> SequenceDataset | SequenceFile:
    if not arguments.stream:
        return with_gap_policy(arguments, read_data(arguments, arguments.data))
    from pottsattn.data.reading import HDF5_SUFFIXES
    from pottsattn.data.sequence_file import SequenceFile

    if not arguments.data.lower().endswith(HDF5_SUFFIXES):
        raise InputError(f"--stream reads .h5 data, got {arguments.data}; leave it out")
    if arguments.weights is not None or arguments.ridge == "auto":
        raise InputError("--stream goes without --weights and --ridge auto: they take all data")
    return SequenceFile(arguments.data)


def _run(
    arguments: argparse.Namespace, dataset: SequenceDataset | SequenceFile
) -> FitResult | NetworkFit:
    """Return the fit, after a look at the memory that it will take."""
    from pottsattn._core.threads import n_threads_or_default
    from pottsattn.cost.memory import PlannedFit, check_memory
    from pottsattn.data.sequence_file import SequenceFile

    method = arguments.method
    penalty = _penalty(arguments) if method in MINIMIZES else None
    similarity = _color_similarity(arguments)
    n_threads = n_threads_or_default(arguments.threads)
    n_heads = 1 if arguments.n_heads is None else arguments.n_heads
    if n_heads == "auto":
        from pottsattn.fitting.selection.heads_choice import MOST_HEADS

        n_heads = MOST_HEADS
    if arguments.device != "cuda":  # the plan is of the memory of the host
        planned = PlannedFit(
            method,
            dataset.length,
            dataset.n_states,
            dataset.n_sequences,
            n_threads,
            n_heads=n_heads,
            n_layers=1 if arguments.n_layers is None else arguments.n_layers,
            symmetric=arguments.symmetric and method == "plm",
            color_similarity=similarity,
            chooses_ridge=arguments.ridge == "auto",
            wants_errors=arguments.errors is not None,
        )
        check_memory(planned)
    if method in TRAINED:
        return _train(arguments, dataset, penalty, similarity)
    if isinstance(dataset, SequenceFile):
        raise InputError(f"--stream applies to {' and '.join(TRAINED)}, not to {method}")
    if method == "mf":
        return solve_mean_field(arguments, dataset)
    fit = solve(arguments, dataset, similarity, penalty)
    if arguments.errors is not None and not fit.interrupted:
        from pottsattn.fitting.selection.standard_errors import with_standard_errors

        fit = with_standard_errors(fit, dataset, arguments.errors, n_threads=n_threads)
    return fit


def _text(arguments: argparse.Namespace, fit: FitResult | NetworkFit) -> str:
    is_similar = fit.method in FACTORED
    compiled = (
        f" and {fit.compile_seconds:.1f} s of compilation" if fit.compile_seconds > 0.05 else ""
    )
    resumed = "" if fit.resumed_from is None else f", resumed from step {fit.resumed_from}"
    return (
        f"{arguments.out}: {fit.method}, {stated(fit.converged)}: "
        f"{fit.message}\n"
        f"training loss {fit.train_loss:.4f} nats per masked site, objective {fit.objective:.6g} "
        f"nats over sites, {fit.n_parameters} parameters, {fit.seconds:.1f} s{compiled}{resumed}"
        + (f"; color similarity {_color_similarity(arguments)}" if is_similar else "")
        + _path_text(fit)
    )


def _listed(names: tuple[str, ...]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _check_rows(arguments: argparse.Namespace, option: str) -> None:
    is_plm = arguments.method == "plm"
    if (
        arguments.symmetric
        or arguments.attention == "softmax"
        or arguments.head_dimension is not None
        or (not is_plm and _color_similarity(arguments) != "identity")
    ):
        raise InputError(
            f"{option} is for fits whose rows are solved one by one: plm without --symmetric, "
            "and factored or attention with --color-similarity identity"
        )


def _number_of_heads(text: str) -> int | str:
    return text if text == "auto" else whole_number(text)


_number_of_heads.__name__ = "int"  # what the parser calls it in its message


def _check_heads_auto(arguments: argparse.Namespace) -> None:
    if arguments.method != "factored" or _color_similarity(arguments) != "learned":
        raise InputError(
            "--heads auto is for factored with --color-similarity learned; give a number"
        )
    if arguments.init is not None:
        raise InputError("--heads auto finds its own start; leave out --init")


def _check_gaps(arguments: argparse.Namespace) -> None:
    if arguments.gaps is None or check_choice("gaps", arguments.gaps, GAP_POLICIES) == "state":
        return
    taken = {
        "--ridge auto": arguments.ridge == "auto",
        "--errors": arguments.errors is not None,
        "--stream": arguments.stream,
    }
    for option, is_given in taken.items():
        if is_given:
            raise InputError(f"{option} cannot ignore gaps; leave it out, or give --gaps state")


def _path_text(fit: FitResult | NetworkFit) -> str:
    if (path := fit.config.get("heads_path")) is not None:
        where = "" if path["is_inside"] else ", the most tried"
        tried = ", ".join(
            f"{heads}: {loss:.4f}"
            for heads, loss in zip(path["heads"], path["held_out_losses"], strict=True)
        )
        return (
            f"\n{path['n_heads']} heads{where}: the least loss on {path['n_held_out']} held-out "
            f"sequences, nats per site by heads {tried}"
        )
    path = fit.config.get("ridge_path")
    if path is None:
        return ""
    best = min(path["leave_one_out_losses"])
    where = "" if path["is_inside"] else ", at the end of those tried"
    return (
        f"\nridge {path['ridge']:.3g}{where}: the least leave-one-out loss of "
        f"{len(path['ridges'])} ridges, {best:.4f} nats per site"
    )


def _penalty(arguments: argparse.Namespace) -> Penalty | Ridge | None:
    """Return the penalty; None where the ridge is to be chosen."""
    rest = given(Penalty, arguments)
    couplings_l2 = rest.pop("couplings_l2", None)
    if arguments.ridge is None:
        return Ridge(**rest) if couplings_l2 is None else Penalty(couplings_l2, **rest)
    if couplings_l2 is not None:
        raise InputError(f"give either --ridge {arguments.ridge} or --couplings-l2, not both")
    if arguments.ridge == "auto":
        return None
    try:
        ridge = float(arguments.ridge)
    except ValueError:
        raise InputError(f"ridge must be a number or auto, got {arguments.ridge!r}") from None
    return Ridge(ridge, **rest)


def _color_similarity(arguments: argparse.Namespace) -> str:
    from pottsattn.data.reading import HDF5_SUFFIXES

    if arguments.color_similarity is not None:
        return check_choice("color-similarity", arguments.color_similarity, COLOR_SIMILARITIES)
    is_hdf5 = arguments.data.lower().endswith(HDF5_SUFFIXES)
    return "identity" if is_hdf5 and (arguments.n_heads or 1) == 1 else "learned"


def _train(
    arguments: argparse.Namespace,
    dataset: SequenceDataset | SequenceFile,
    penalty: Penalty | Ridge | None,
    similarity: str,
) -> FitResult | NetworkFit:
    path: dict[str, Any] = {}
    if arguments.ridge == "auto":  # the same objective as that of factored rows
        chosen = solve_at_chosen_ridge(arguments, dataset, "factored")  # type: ignore[arg-type]  # no stream
        penalty = Ridge(chosen.ridge, chosen.penalty.fields_l2)
        path = {"ridge_path": chosen.config["ridge_path"]}
    fit = train(arguments, dataset, penalty, similarity)
    return replace(fit, config=fit.config | path)
