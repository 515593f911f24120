"""Commands about data: sample, split, info."""

from __future__ import annotations

import argparse
import os
from typing import Any

from pottsattn._storage import content_hash, open_hdf5
from pottsattn._validate import InputError
from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_data_options,
    bar,
    check_output,
    read_data,
    say,
)

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the commands of this module."""
    sample = add_command(
        commands,
        "sample",
        _sample,
        "Draw equilibrium sequences from a Potts model and store them with the model.",
    )
    sample.add_argument(
        "--model",
        metavar="FILE",
        help="sample the model in FILE: a data set, a model or a fit, symmetrized",
    )
    sample.add_argument("--ensemble", help="sk-potts, generalized or chain (default: sk-potts)")
    sample.add_argument("--length", type=int, metavar="L", help="number of sites")
    sample.add_argument("--states", type=int, metavar="C", help="number of states of a site")
    sample.add_argument(
        "--coupling-scale", type=float, metavar="J", help="strength of the couplings, in k_B T"
    )
    sample.add_argument(
        "--sequences", type=int, metavar="M", required=True, help="number of sequences"
    )
    sample.add_argument("--out", metavar="F.h5", required=True, help="data set to write")
    sample.add_argument(
        "--inverse-temperature",
        type=float,
        default=1.0,
        metavar="B",
        help="factor on fields and couplings; the model is stored with it",
    )
    sample.add_argument("--chains", type=int, default=64, metavar="K", help="independent chains")
    sample.add_argument(
        "--warmup",
        type=int,
        default=200,
        metavar="W",
        help="sweeps of a chain before it keeps its first sequence",
    )
    sample.add_argument(
        "--thin", type=int, default=10, metavar="T", help="sweeps between kept sequences of a chain"
    )

    split = add_command(
        commands, "split", _split, "Hold out a part of a data set (whole clusters of alignments)."
    )
    split.add_argument("data", metavar="DATA", help=".h5, .fasta, .fa, .a2m (.gz) or .npy")
    split.add_argument(
        "--fraction", type=float, required=True, metavar="X", help="share held out, into B.h5"
    )
    split.add_argument(
        "--out", nargs=2, required=True, metavar=("A.h5", "B.h5"), help="kept part, held-out part"
    )
    add_data_options(split)

    info = add_command(commands, "info", _info, "Tell what a file holds.")
    info.add_argument("file", metavar="FILE", help="any file of pottsattn, or an alignment")
    add_data_options(info)


def _sample(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    import numpy as np

    from pottsattn.sampling.sampler import Schedule, sample

    check_output(arguments.out, arguments.model)
    generator = np.random.default_rng(arguments.seed)
    model = _model(arguments, generator)
    if arguments.inverse_temperature != 1.0:
        model = model.scaled(arguments.inverse_temperature)
    schedule = Schedule(arguments.chains, arguments.warmup, arguments.thin)
    with bar("sampling", "sweep") as progress:
        result = sample(
            model,
            arguments.sequences,
            schedule=schedule,
            rng=generator,
            n_threads=arguments.threads,
            progress=progress,
        )
    dataset = result.dataset
    if arguments.model is not None:
        origin = {**dataset.origin, "source": {"file": arguments.model}}
        dataset = replace(dataset, origin=origin, **_labels(arguments.model))
    dataset.save(arguments.out, seed=arguments.seed)
    report = {
        "file": arguments.out,
        **result.to_dict(),
        "resumed_from": None,
    }
    # Between kept sequences nothing is seen: a time of one spacing is only a bound.
    bound = "at most " if result.autocorrelation_time <= arguments.thin else ""
    diagnostics = (
        f"effective sample size {result.ess:.0f}, split-R-hat {result.split_r_hat:.3f}, "
        f"autocorrelation time {bound}{result.autocorrelation_time:.3g} sweeps (of the energy)"
    )
    if np.isnan(result.ess):
        diagnostics = "too few sequences per chain for diagnostics; raise --sequences to have them"
    say(
        arguments,
        report,
        f"{arguments.out}: {result.dataset!r}\n{diagnostics}\n"
        f"{result.kernel}, {result.updates_per_second / 1e6:.1f} million updates per second, "
        f"{result.seconds:.1f} s",
    )
    return DONE


def _labels(path: str) -> dict[str, Any]:
    """Return what the states and columns of a model mean, where its file says so."""
    from pottsattn.files import load

    source = load(path)
    names = ("alphabet", "gap_index", "columns")
    return {name: getattr(source, name) for name in names if hasattr(source, name)}


def _model(arguments: argparse.Namespace, generator: Any) -> Any:
    from pottsattn._validate import check_choice
    from pottsattn.ensembles import ENSEMBLES

    sizes = {
        "--length": arguments.length,
        "--states": arguments.states,
        "--coupling-scale": arguments.coupling_scale,
    }
    if arguments.model is not None:
        from pottsattn.files import load_model

        options = {**sizes, "--ensemble": arguments.ensemble}
        given = [name for name, value in options.items() if value is not None]
        if given:
            raise InputError(f"--model brings its own sizes, leave out {', '.join(given)}")
        return load_model(arguments.model)
    missing = [name for name, value in sizes.items() if value is None]
    if missing:
        raise InputError(f"sample needs {', '.join(missing)}, or --model FILE")
    name = check_choice("ensemble", arguments.ensemble or "sk-potts", list(ENSEMBLES))
    return ENSEMBLES[name](arguments.length, arguments.states, arguments.coupling_scale, generator)


def _split(arguments: argparse.Namespace) -> int:
    from pottsattn.dataset import split

    for path in arguments.out:
        check_output(path, arguments.data)
    if os.path.realpath(arguments.out[0]) == os.path.realpath(arguments.out[1]):
        raise InputError(f"both parts would be written to {arguments.out[0]}")
    dataset = read_data(arguments, arguments.data)
    parts = split(
        dataset,
        arguments.fraction,
        rng=arguments.seed,
        identity_threshold=arguments.identity_threshold,
    )
    for path, part in zip(arguments.out, parts, strict=True):
        part.save(path, seed=arguments.seed)
    report = {
        "files": list(arguments.out),
        "n_sequences": [part.n_sequences for part in parts],
        "effective_size": [part.effective_size for part in parts],
    }
    lines = [f"{path}: {part!r}" for path, part in zip(arguments.out, parts, strict=True)]
    say(arguments, report, "\n".join(lines))
    return DONE


def _info(arguments: argparse.Namespace) -> int:
    import json

    import numpy as np

    from pottsattn.dataset import ALIGNMENT_SUFFIXES

    path = arguments.file
    if path.lower().removesuffix(".gz").endswith((*ALIGNMENT_SUFFIXES, ".npy")):
        dataset = read_data(arguments, path)
        report = {
            "format": "alignment" if dataset.alphabet else "npy",
            "content_hash": None,
            "n_sequences": dataset.n_sequences,
            "effective_size": dataset.effective_size,
            "length": dataset.length,
            "n_states": dataset.n_states,
            "alphabet": dataset.alphabet,
            "summary": dataset.origin["source"].get("summary"),
        }
    else:
        with open_hdf5(path) as file:
            report = {"format": str(file.attrs["format"]), "content_hash": None}
            for name, value in file.attrs.items():
                if name in ("provenance", "config", "phase"):
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
