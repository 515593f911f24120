"""The command `instances`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pottsattn._core.checkpoint import CheckpointFile
from pottsattn._core.machine import worker_rank
from pottsattn._core.validate import InputError
from pottsattn._core.verdict import stated
from pottsattn.cli._options import add_options, given
from pottsattn.cli._shell import (
    DONE,
    INTERRUPTED,
    NOT_CONVERGED,
    add_command,
    bar,
    check_output,
    say,
)
from pottsattn.instances.settings import EncoderConfig, HeadConfig, PretrainConfig

if TYPE_CHECKING:
    from pottsattn.instances.data import InstanceData
    from pottsattn.instances.result import InstanceRun

# Options of one source of instances only, with their defaults.
OF_MIXTURES: dict[str, Any] = {
    "classes": 8,
    "length": 32,
    "states": 6,
    "mixture": "fields",
    "sequences": 10000,
    "degree": None,
    "inverse_temperature": None,
    "field_scale": None,
}
OF_DATASETS: dict[str, Any] = {"patch_size": 2, "image_size": 16}
NAMES = {"mask_fraction": "mask-ratio", "max_steps": "steps"}
TRAINING_TEXTS = {
    "loss": ("NAME", "byol or infonce"),
    "mask_fraction": ("R", "share of hidden tokens"),
    "masks": ("N", "masks of an instance and step"),
    "max_steps": ("T", "training steps"),
    "batch_size": ("B", "instances a step (default: 64; vit-base: 2048)"),
    "learning_rate": ("X", "highest rate (default: 0.002; vit-base: 0.00015 B / 256)"),
    "weight_decay": ("X", "of AdamW (default: 0.05; vit-base: 0.1)"),
    "momentum": ("M", "of the teacher at first (default: 0.99; vit-base: 0.996)"),
    "temperature": ("X", "infonce: temperature"),
    "precision": ("NAME", "single or bfloat16"),
}
NETWORK_TEXTS = {
    "width": ("W", "components of a vector (default: of the preset)"),
    "n_layers": ("N", "layers of the trunk (default: of the preset)"),
    "n_heads": ("H", "attention heads (default: of the preset)"),
    "norm": (
        "NAME",
        "of the heads of the loss: batch or layer (default: batch; vit-base: layer, as published)",
    ),
}


def add_parser(commands: Any) -> None:
    """Add the command of this module."""
    parser = add_command(
        commands,
        "instances",
        _instances,
        "Train an encoder by masking alone (ExtreMA), and probe what its vectors know.",
        epilog="FILE.partial holds the training meanwhile; the same command goes on from it. "
        "See docs/instances.md.",
    )
    _add_data_options(parser)
    training = parser.add_argument_group("training")
    add_options(training.add_argument, (PretrainConfig,), TRAINING_TEXTS, NAMES)
    training.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu or cuda")
    network = parser.add_argument_group("encoder and heads")
    network.add_argument(
        "--preset", default="tiny", metavar="NAME", help="sizes and settings: tiny or vit-base"
    )
    add_options(network.add_argument, (EncoderConfig, HeadConfig), NETWORK_TEXTS)
    parser.add_argument(
        "--references",
        default="random,supervised",
        metavar="NAMES",
        help="encoders to compare with: random, supervised, masked, or none",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="run to write (.h5)")


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    mixture = parser.add_argument_group("a mixture of Potts models")
    add = mixture.add_argument
    add("--classes", type=int, metavar="K", help="number of classes (default: 8)")
    add("--length", type=int, metavar="L", help="number of sites (default: 32)")
    add("--states", type=int, metavar="C", help="number of states (default: 6)")
    add("--mixture", metavar="NAME", help="fields, or gauge: the class is in correlations alone "
        "(default: fields)")  # fmt: skip
    add("--sequences", type=int, metavar="M", help="sequences to train on (default: 10000)")
    add("--degree", type=int, metavar="D", help="of the graph, even (default: 4; gauge: 12)")
    add("--inverse-temperature", type=float, metavar="X",
        help="strength of an edge (default: 0.9; gauge: 0.4)")  # fmt: skip
    add("--field-scale", type=float, metavar="X", help="fields: their deviation (default: 0.8)")
    other = parser.add_argument_group("other instances")
    add = other.add_argument
    add("--dataset", metavar="NAME", help="digits; a .npz file with sequences, images or patches "
        "and labels; or a folder of images, whose folders are classes")  # fmt: skip
    add("--patch-size", type=int, metavar="S", help="images: side of a patch (default: 2)")
    add("--image-size", type=int, metavar="S",
        help="folder: side that images are resized to (default: 16)")  # fmt: skip


def _instances(arguments: argparse.Namespace) -> int:
    _check_options(arguments)
    check_output(arguments.out, arguments.dataset)
    from pottsattn.instances.run import encoder_config_for, run_instances

    references = [] if arguments.references == "none" else arguments.references.split(",")
    config = PretrainConfig.preset(arguments.preset, **given(PretrainConfig, arguments))
    heads = HeadConfig.preset(arguments.preset, **given(HeadConfig, arguments))
    data = _data(arguments)
    encoder = encoder_config_for(data, arguments.preset, **given(EncoderConfig, arguments))
    leads = worker_rank() in (None, 0)  # of several processes one writes
    with bar("instances", "step") as progress:
        run = run_instances(
            data,
            encoder,
            heads,
            config,
            references=references,
            rng=arguments.seed,
            checkpoint=CheckpointFile(arguments.out, keep=True),
            device=arguments.device,
            n_threads=arguments.threads,
            progress=progress if leads else None,
        )
    if not leads:
        return DONE
    run.save(arguments.out, seed=arguments.seed)
    if not run.interrupted:
        Path(f"{arguments.out}.partial").unlink(missing_ok=True)
    say(arguments, {"file": arguments.out, **run.to_dict()}, _text(arguments.out, run))
    if run.interrupted:
        return INTERRUPTED
    return DONE if run.converged else NOT_CONVERGED


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuse options of another source of instances."""
    foreign, what = OF_DATASETS, "--dataset"
    if arguments.dataset is not None:
        foreign, what = OF_MIXTURES, "mixtures of Potts models, not to --dataset"
    for name in foreign:
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} applies to {what}")
    if arguments.mixture == "gauge" and arguments.field_scale is not None:
        raise InputError("--field-scale applies to --mixture fields; a gauge mixture has no fields")
    if arguments.dataset == "digits" and arguments.image_size is not None:
        raise InputError("--image-size applies to folders; digits are 8 x 8")
    if arguments.temperature is not None and arguments.loss != "infonce":
        raise InputError("--temperature applies to --loss infonce")


def _data(arguments: argparse.Namespace) -> InstanceData:
    from pottsattn.instances.data import digit_data, mixture_data, read_data

    defaults = OF_MIXTURES if arguments.dataset is None else OF_DATASETS
    said = {name: getattr(arguments, name) for name in defaults}
    options = defaults | {name: value for name, value in said.items() if value is not None}
    if arguments.dataset is None:
        sizes = [options.pop(name) for name in ("mixture", "classes", "length", "states")]
        return mixture_data(
            *sizes,
            n_sequences=options.pop("sequences"),
            rng=arguments.seed,
            n_threads=arguments.threads,
            **{name: value for name, value in options.items() if value is not None},
        )
    if arguments.dataset == "digits":
        return digit_data(options["patch_size"], rng=arguments.seed)
    if not os.path.exists(arguments.dataset):
        raise InputError(
            f"no data set {arguments.dataset!r}; expected digits, a .npz file or a folder of images"
        )
    return read_data(arguments.dataset, **options, rng=arguments.seed)


def _text(path: str, run: InstanceRun) -> str:
    rows = [("trained", run.scores), *run.references.items()]
    lines = [
        f"{run.source}; accuracies on {len(run.labels)} test instances",
        f"{'encoder':12}{'linear':>9}{'knn':>9}{'token':>9}{'field R2':>10}{'std':>8}",
    ]
    lines += [
        f"{name:12}{one.linear_probe:9.3f}{one.knn:9.3f}{one.token_linear_probe:9.3f}"
        f"{one.field_r2:10.3f}{one.feature_std:8.3f}"
        for name, one in rows
    ]
    lines += [
        f"{'raw input':12}{run.raw_linear_probe:9.3f}",
        f"{'Bayes':12}{run.bayes:9.3f}",
        f"{'chance':12}{run.chance:9.3f}",
    ]
    text = "\n".join(lines).replace(" nan", "   -")
    state = run.message if run.converged else stated(False, run.message)
    return f"{text}\n{path}: {state}, {run.seconds:.0f} s"
