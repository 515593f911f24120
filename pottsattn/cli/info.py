"""The command info: what a file holds, or the memory and the time that a fit will take."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn._core.storage import content_hash, open_hdf5
from pottsattn._core.validate import InputError
from pottsattn.cli._shell import DONE, add_command, add_data_options, read_data, say

SIZES = ("length", "states", "sequences", "method")
ONLY_PLANNED = ("length", "sequences", "method", "heads", "symmetric", "color_similarity")


def add_parser(commands: Any) -> None:
    """Add the command."""
    info = add_command(
        commands,
        "info",
        _info,
        "Tell what a file holds, or how much memory and time a fit of given size will take.",
    )
    info.add_argument(
        "file", nargs="?", metavar="FILE", help="any file of pottsattn, or an alignment"
    )
    plan = info.add_argument_group("memory and time of a fit (instead of FILE, with --states C)")
    plan.add_argument("--length", type=int, metavar="L", help="number of sites")
    plan.add_argument("--sequences", type=int, metavar="M", help="number of sequences")
    plan.add_argument("--method", metavar="NAME", help="method of the fit")
    plan.add_argument("--heads", type=int, metavar="H", help="heads (default: 1)")
    plan.add_argument(
        "--symmetric", action="store_true", help="plm: one block for each pair of sites"
    )
    plan.add_argument(
        "--color-similarity",
        metavar="NAME",
        help="factored: learned or identity (default: identity for one head, else learned)",
    )
    add_data_options(info)


def _info(arguments: argparse.Namespace) -> int:
    if arguments.file is not None:
        given = [name.replace("_", "-") for name in ONLY_PLANNED if _has(arguments, name)]
        if given:
            raise InputError(f"info of a file takes no --{given[0]}; leave out FILE for a plan")
        return _describe(arguments)
    missing = [f"--{name}" for name in SIZES if not _has(arguments, name)]
    if missing:
        either = "a FILE, or " if len(missing) == len(SIZES) else ""
        raise InputError(f"info needs {either}{', '.join(missing)}")
    return _plan(arguments)


def _has(arguments: argparse.Namespace, name: str) -> bool:
    return getattr(arguments, name) not in (None, False)


def _plan(arguments: argparse.Namespace) -> int:
    from pottsattn._core.display import readable_bytes
    from pottsattn._core.machine import available_memory
    from pottsattn._core.threads import n_threads_or_default
    from pottsattn.cost.memory import PlannedFit
    from pottsattn.cost.run_time import plan_time

    sizes = {
        "length": arguments.length,
        "n_states": arguments.states,
        "n_sequences": arguments.sequences,
        "n_threads": n_threads_or_default(arguments.threads),
        "n_heads": 1 if arguments.heads is None else arguments.heads,
    }
    kind = {"symmetric": arguments.symmetric, "color_similarity": arguments.color_similarity}
    available = available_memory()
    fit = PlannedFit(arguments.method, **sizes, **kind)
    plan, run_time = fit.memory(), plan_time(fit)
    fits = None if available is None else plan.peak_bytes <= available
    report = {"method": arguments.method, **sizes, **kind, **plan.to_dict()}
    report |= {"available_bytes": available, "fits": fits, **run_time.to_dict()}
    text = f"{plan}\npeak {readable_bytes(plan.peak_bytes)}"
    if available is not None:
        verdict = "it fits" if fits else "it does NOT fit"
        text += f", {readable_bytes(available)} are available: {verdict}"
    say(arguments, report, f"{text}\nfile of the fit {readable_bytes(plan.file_bytes)}\n{run_time}")
    return DONE


def _describe(arguments: argparse.Namespace) -> int:
    import json

    import numpy as np

    from pottsattn._core.display import ranges_of
    from pottsattn.data.reading import data_kind

    path = arguments.file
    if data_kind(path) != "hdf5":
        dataset = read_data(arguments, path)
        report = {
            "format": "alignment" if dataset.alphabet else "npy",
            "content_hash": None,
            "n_sequences": dataset.n_sequences,
            "effective_size": dataset.effective_size,
            "length": dataset.length,
            "n_states": dataset.n_states,
            "alphabet": dataset.alphabet,
            "text_format": dataset.origin["source"].get("format"),
            "columns": None if dataset.columns is None else ranges_of(dataset.columns.tolist()),
            "summary": dataset.origin["source"].get("summary"),
        }
    else:
        with open_hdf5(path) as file:
            report = {"format": str(file.attrs["format"]), "content_hash": None}
            for name, value in file.attrs.items():
                if name in ("provenance", "config", "numbering", "phase", "scores"):
                    report[name] = json.loads(value)
                elif name == "columns":
                    continue
                else:
                    report[name] = value.item() if isinstance(value, np.generic) else value
            shapes: dict[str, list[int]] = {}
            file.visititems(lambda name, item: _note_shape(shapes, name, item))
            report["datasets"] = shapes
        report["content_hash"] = content_hash(path)
    width = max(len(name) for name in report)
    say(arguments, report, "\n".join(f"{name:{width}}  {value}" for name, value in report.items()))
    return DONE


def _note_shape(shapes: dict[str, list[int]], name: str, item: Any) -> None:
    if hasattr(item, "shape"):
        shapes[name] = list(item.shape)
