"""Options of the command fit that are for networks, and what it does with them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pottsattn._core.checkpoint import CheckpointFile
from pottsattn._core.machine import worker_rank
from pottsattn._core.validate import InputError
from pottsattn.cli._shell import bar, read_like

if TYPE_CHECKING:
    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.data.sequence_file import SequenceFile
    from pottsattn.fitting.masked.network_fit import NetworkFit
    from pottsattn.fitting.result import FitResult

__all__ = ["ONLY_FOR_NETWORKS", "TRAINED", "add_training_options", "train", "with_gap_policy"]

TRAINED = ("attention", "transformer")
LAYER, TRANSFORMER = ("attention",), ("transformer",)
DEFAULT_STEPS = {"attention": 300, "transformer": 3000}
ONLY_FOR_NETWORKS = {
    "attention": LAYER,
    "head_dimension": LAYER,
    "layers": TRANSFORMER,
    "width": TRANSFORMER,
    "variant": TRANSFORMER,
    "weight_decay": TRANSFORMER,
    **dict.fromkeys(
        (
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
            "validation",
            "stop_early",
            "stream",
            "device",
        ),
        TRAINED,
    ),
}


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of attention and transformer."""
    network = parser.add_argument_group("attention and transformer")
    add = network.add_argument
    add("--attention", metavar="NAME", help="attention: free or softmax (default: free)")
    add("--head-dimension", type=int, metavar="D", help="attention: learn queries and keys of it")
    add("--layers", type=int, metavar="N", help="transformer: layers (default: 1)")
    add("--width", type=int, metavar="W", help="transformer: size of an embedding (default: 64)")
    add(
        "--variant",
        metavar="NAME",
        help="transformer: vanilla, positional, content or linear (default: vanilla)",
    )
    add(
        "--masks",
        type=int,
        metavar="K",
        help="one-site masks of a sequence and visit (default: one for every site; transformer: "
        "1); with --mask-fraction patterns (default: 1)",
    )
    add(
        "--mask-fraction",
        type=float,
        metavar="R",
        help="hide every site with this probability (default: one site per mask)",
    )
    add("--mask-mode", metavar="NAME", help="fresh or static masks (default: fresh)")
    add(
        "--hidden-as",
        metavar="NAME",
        help="what hidden sites show: dropped (nothing), replaced (a random state), or bert "
        "(80 %% nothing, 10 %% random, 10 %% their own; default: dropped)",
    )
    add("--optimizer", metavar="NAME", help="adam, or lbfgs on all data (default: adam)")
    add("--batch-size", type=int, metavar="B", help="sequences a step (default: 8192; 128)")
    add("--accumulate", type=int, metavar="N", help="parts of a batch, to save memory")
    add("--learning-rate", type=float, metavar="X", help="highest rate (default: 0.1; 0.001)")
    add("--schedule", metavar="NAME", help="cosine or constant (default: cosine)")
    add("--warmup-steps", type=int, metavar="N", help="steps over which the rate rises from zero")
    add("--weight-decay", type=float, metavar="X", help="transformer: of AdamW")
    add("--clip-norm", type=float, metavar="X", help="longest gradient (default: none; 1)")
    add("--precision", metavar="NAME", help="single, double or bfloat16 (default: single)")
    add("--validation", metavar="DATA", help="held-out data, whose loss is recorded")
    add("--stop-early", action="store_true", help="keep the least loss on the held-out data")
    add("--stream", action="store_true", help=".h5: read sequences as they are needed")
    add("--device", metavar="NAME", help="auto, cpu or cuda (default: auto)")


def train(
    arguments: argparse.Namespace,
    dataset: SequenceDataset | SequenceFile,
    options: dict[str, Any],
) -> FitResult | NetworkFit:
    """Return the fit of attention or a transformer; FIT.h5.partial holds the state meanwhile.

    `options` are those that other methods have too: penalties, fields, heads, color similarity.
    """
    from pottsattn.fitting.masked.fit import train_masked

    names = [
        name
        for name, methods in ONLY_FOR_NETWORKS.items()
        if methods == TRAINED and name not in ("validation", "stream", "device")
    ]
    given = {name: getattr(arguments, name) for name in (*names, "weight_decay")}
    options = {**options, **{name: value for name, value in given.items() if value is not None}}
    options.setdefault("max_steps", DEFAULT_STEPS[arguments.method])
    if arguments.stop_early and arguments.validation is None:
        raise InputError("--stop-early needs held-out data: give --validation")
    if arguments.validation is not None:
        held_out = read_like(arguments, arguments.validation, dataset)
        options["validation"] = with_gap_policy(arguments, held_out)
    if arguments.method == "transformer":
        options["layer"] = _transformer(arguments, dataset)
    else:
        for name in ("attention", "head_dimension"):
            if getattr(arguments, name) is not None:
                options[name] = getattr(arguments, name)
    with bar(arguments.method, "step") as progress:
        return train_masked(
            dataset,
            rng=arguments.seed,
            device=arguments.device or "auto",
            n_threads=arguments.threads,
            checkpoint=CheckpointFile(arguments.out, keep=True),
            progress=progress if worker_rank() in (None, 0) else None,
            **options,
        )


def with_gap_policy(arguments: argparse.Namespace, dataset: SequenceDataset) -> SequenceDataset:
    """Return the data with gaps as --gaps wants them."""
    return dataset.ignoring_gaps() if arguments.gaps == "ignored" else dataset


def _transformer(arguments: argparse.Namespace, dataset: SequenceDataset | SequenceFile) -> Any:
    import torch

    from pottsattn.fitting.masked.transformer import MaskedTransformer

    given = {"width": arguments.width, "variant": arguments.variant}
    return MaskedTransformer(
        dataset.length,
        dataset.n_states,
        n_layers=1 if arguments.layers is None else arguments.layers,
        n_heads=1 if arguments.heads is None else arguments.heads,
        generator=torch.Generator().manual_seed(arguments.seed % 2**63),  # torch takes no more
        **{name: value for name, value in given.items() if value is not None},
    )
