"""The command fit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pottsattn._core.validate import GAP_POLICIES, InputError, check_choice
from pottsattn.cli._fit_solved import solve, solve_at_chosen_ridge, solve_mean_field
from pottsattn.cli._fit_trained import (
    ONLY_FOR_NETWORKS,
    TRAINED,
    add_training_options,
    train,
    with_gap_policy,
)
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
    say_source,
)

if TYPE_CHECKING:
    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.data.sequence_file import SequenceFile
    from pottsattn.fitting.masked.network_fit import NetworkFit
    from pottsattn.fitting.result import FitResult

__all__ = ["add_parser"]

METHODS = ("plm", "factored", *TRAINED, "mf")
MINIMIZES = ("plm", "factored", "attention")
ONLY_FOR = {
    "ridge": MINIMIZES,
    "couplings_l2": MINIMIZES,
    "fields_l2": MINIMIZES,
    "fields": MINIMIZES,
    "max_steps": (*MINIMIZES, "transformer"),
    "init": ("plm", "factored"),
    "errors": ("plm", "factored"),
    "pseudocount": ("mf",),
    "gaps": (*MINIMIZES, "mf"),
    "symmetric": ("plm", "attention"),
    "starts": ("factored",),
    "heads": ("factored", *TRAINED),
    "color_similarity": ("factored", "attention"),
    **ONLY_FOR_NETWORKS,
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
    fit.add_argument(
        "--method", required=True, metavar="NAME", help="plm, factored, attention, transformer, mf"
    )
    fit.add_argument("--out", metavar="FIT.h5", required=True, help="fit to write")
    fit.add_argument(
        "--ridge",
        metavar="X",
        help="penalty in units of the theory, couplings_l2 = X / (2 alpha) "
        "(default: 0.2; on an alignment about CCMpred's 0.2 (L - 1)), or auto: the least "
        "approximate leave-one-out loss",
    )
    fit.add_argument("--couplings-l2", type=float, metavar="X", help="that penalty directly")
    fit.add_argument(
        "--fields-l2", type=float, metavar="X", help="penalty on the fields (default: 0.01)"
    )
    fit.add_argument("--fields", metavar="NAME", help="learned or none (default: learned)")
    fit.add_argument(
        "--errors",
        metavar="KIND",
        help="plm, factored: standard errors of couplings into the file, laplace or sandwich",
    )
    fit.add_argument(
        "--init",
        metavar="FILE",
        help="plm, factored: start from a fit, an exported .npz or plmc's binary parameters",
    )
    fit.add_argument(
        "--pseudocount",
        type=float,
        metavar="P",
        help="mf: share of uniform statistics mixed into the frequencies (default: 0.5)",
    )
    fit.add_argument(
        "--gaps",
        metavar="POLICY",
        help="state: a gap is one more state; ignored: it says nothing of its site (default: "
        "state)",
    )
    fit.add_argument(
        "--symmetric",
        action="store_true",
        help="plm: one block for each pair of sites, fitted jointly, as plmc and CCMpred do; "
        "attention: J_ij(a, b) = J_ji(b, a)",
    )
    fit.add_argument(
        "--heads",
        type=_number_of_heads,
        metavar="H",
        help="heads (default: 1), or auto for factored: the least loss on held-out clusters",
    )
    fit.add_argument(
        "--starts",
        type=int,
        metavar="N",
        help="factored, learned color similarity: starts, of which the best counts (default: 1)",
    )
    fit.add_argument(
        "--color-similarity",
        metavar="NAME",
        help="learned or identity (default: identity for .h5 data and one head, else learned)",
    )
    fit.add_argument(
        "--max-steps",
        type=int,
        metavar="N",
        help="steps (default: 300 attention, 3000 transformer, 1000 a site)",
    )
    add_training_options(fit)
    add_data_options(fit)


def _fit(arguments: argparse.Namespace) -> int:
    from pottsattn._core.machine import worker_rank

    method = check_choice("method", arguments.method, METHODS)
    for name, methods in ONLY_FOR.items():
        if getattr(arguments, name) not in (None, False) and method not in methods:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} applies to {_listed(methods)}, not to {method}")
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
    if arguments.heads == "auto":
        _check_heads_auto(arguments)
    check_output(arguments.out, arguments.data, arguments.init, arguments.validation)
    dataset = _read(arguments)
    leads = worker_rank() in (None, 0)  # of several processes one writes
    if leads:
        say_source(arguments, dataset)
    fit = _run(arguments, dataset)
    if not leads:
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
    say(arguments, report, _text(arguments, fit))
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
    from pottsattn.cost.memory import check_memory
    from pottsattn.data.sequence_file import SequenceFile

    method = arguments.method
    ridge = _ridge(arguments)
    names = ("couplings_l2", "fields_l2", "fields", "max_steps")
    given = {name: getattr(arguments, name) for name in names}
    options = {name: value for name, value in given.items() if value is not None}
    if ridge is not None:
        options["ridge"] = ridge
    similarity = _color_similarity(arguments)
    n_threads = n_threads_or_default(arguments.threads)
    n_heads = 1 if arguments.heads is None else arguments.heads
    if n_heads == "auto":
        from pottsattn.fitting.selection.heads_choice import MOST_HEADS

        n_heads = MOST_HEADS
    if arguments.device != "cuda":  # the plan is of the memory of the host
        check_memory(
            method,
            dataset.length,
            dataset.n_states,
            dataset.n_sequences,
            n_threads,
            n_heads=n_heads,
            n_layers=1 if arguments.layers is None else arguments.layers,
            symmetric=arguments.symmetric and method == "plm",
            color_similarity=similarity,
            chooses_ridge=arguments.ridge == "auto",
            wants_errors=arguments.errors is not None,
        )
    if method == "transformer":
        return train(arguments, dataset, options)
    if method == "attention":
        return _attend(arguments, dataset, similarity, options)
    if isinstance(dataset, SequenceFile):
        raise InputError(f"--stream applies to {' and '.join(TRAINED)}, not to {method}")
    if method == "mf":
        return solve_mean_field(arguments, dataset)
    fit = solve(arguments, dataset, similarity, options)
    if arguments.errors is not None and not fit.interrupted:
        from pottsattn.fitting.selection.standard_errors import with_standard_errors

        fit = with_standard_errors(fit, dataset, arguments.errors, n_threads=n_threads)
    return fit


def _text(arguments: argparse.Namespace, fit: FitResult | NetworkFit) -> str:
    is_similar = fit.method in ("factored", "attention")
    resumed = "" if fit.resumed_from is None else f", resumed from step {fit.resumed_from}"
    return (
        f"{arguments.out}: {fit.method}, {'converged' if fit.converged else 'NOT converged'}: "
        f"{fit.message}\n"
        f"training loss {fit.train_loss:.4f} nats per masked site, objective {fit.objective:.6g} "
        f"nats over sites, {fit.n_parameters} parameters, {fit.seconds:.1f} s{resumed}"
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
    return text if text == "auto" else int(text)


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


def _ridge(arguments: argparse.Namespace) -> float | str | None:
    """Return the ridge as a number, "auto" or None."""
    if arguments.ridge in (None, "auto"):
        if arguments.ridge == "auto" and arguments.couplings_l2 is not None:
            raise InputError("give either --ridge auto or --couplings-l2, not both")
        return arguments.ridge
    try:
        return float(arguments.ridge)
    except ValueError:
        raise InputError(f"ridge must be a number or auto, got {arguments.ridge!r}") from None


def _color_similarity(arguments: argparse.Namespace) -> str:
    from pottsattn.data.reading import HDF5_SUFFIXES

    if arguments.color_similarity is not None:
        return check_choice("color-similarity", arguments.color_similarity, ("identity", "learned"))
    is_hdf5 = arguments.data.lower().endswith(HDF5_SUFFIXES)
    return "identity" if is_hdf5 and (arguments.heads or 1) == 1 else "learned"


def _attend(
    arguments: argparse.Namespace,
    dataset: SequenceDataset | SequenceFile,
    similarity: str,
    options: dict[str, Any],
) -> FitResult | NetworkFit:
    from dataclasses import replace

    path: dict[str, Any] = {}
    if options.get("ridge") == "auto":  # the same objective as that of factored rows
        names = ("fields", "fields_l2")
        shared = {name: options[name] for name in names if name in options}
        chosen = solve_at_chosen_ridge(arguments, dataset, "factored", shared)  # type: ignore[arg-type]  # no stream
        options = options | {"ridge": chosen.ridge}
        path = {"ridge_path": chosen.config["ridge_path"]}
    options |= {
        "n_heads": 1 if arguments.heads is None else arguments.heads,
        "color_similarity": similarity,
        "symmetric": arguments.symmetric,
    }
    fit = train(arguments, dataset, options)
    return replace(fit, config=fit.config | path)
