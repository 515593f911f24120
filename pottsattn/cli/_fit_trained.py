"""Networks of the command fit: their options, and their training."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pottsattn._core.checkpoint import CheckpointFile
from pottsattn._core.machine import worker_rank
from pottsattn.cli._options import given
from pottsattn.cli._shell import bar, read_like
from pottsattn.fitting.masked.settings import AttentionConfig, Masking, TransformerConfig
from pottsattn.training.recipe import Recipe

if TYPE_CHECKING:
    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.data.sequence_file import SequenceFile
    from pottsattn.fitting.masked.network_fit import NetworkFit
    from pottsattn.fitting.penalty import Penalty, Ridge
    from pottsattn.fitting.result import FitResult

NETWORK_TEXTS = {
    "attention": ("NAME", "attention: free or softmax"),
    "head_dimension": ("D", "attention: learn queries and keys of it"),
    "n_layers": ("N", "transformer: layers"),
    "width": ("W", "transformer: size of an embedding"),
    "variant": ("NAME", "transformer: vanilla, positional, content or linear"),
    "masks": (
        "K",
        "one-site masks of a sequence and visit (default: one for every site; transformer: 1); "
        "with --mask-fraction patterns (default: 1)",
    ),
    "mask_fraction": ("R", "hide every site with this probability (default: one site per mask)"),
    "mask_mode": ("NAME", "fresh or static masks"),
    "hidden_as": (
        "NAME",
        "what hidden sites show: dropped (nothing), replaced (a random state), or bert "
        "(80 %% nothing, 10 %% random, 10 %% their own)",
    ),
    "optimizer": (
        "NAME",
        "adam, or lbfgs on all data (default: lbfgs for attention whose masks stay the same)",
    ),
    "batch_size": ("B", "sequences a step (default: 8192; 512)"),
    "accumulate": ("N", "parts of a batch, to save memory"),
    "learning_rate": ("X", "highest rate (default: 0.1; 0.005)"),
    "schedule": ("NAME", "averaged or cosine"),
    "warmup_steps": ("N", "steps over which the rate rises from zero (default: 0; 50)"),
    "weight_decay": ("X", "transformer: of AdamW"),
    "clip_norm": ("X", "longest gradient (default: none; 1)"),
    "precision": (
        "NAME",
        "single, double, mixed or bfloat16 (default: single; mixed, single then double, of lbfgs)",
    ),
    "validation": ("DATA", "held-out data, whose loss is recorded"),
    "stop_early": (
        "",
        "end where the loss of held-out data is least, of --validation or of a tenth of DATA "
        "(default for transformers: yes)",
    ),
    "device": ("NAME", "auto, cpu or cuda (default: auto)"),
}


def train(
    arguments: argparse.Namespace,
    dataset: SequenceDataset | SequenceFile,
    penalty: Penalty | Ridge | None,
    similarity: str,
) -> FitResult | NetworkFit:
    """Return the fit of attention or a transformer; FIT.h5.partial holds the state meanwhile."""
    from pottsattn.fitting.masked.fit import train_masked

    validation = None
    if arguments.validation is not None:
        held_out = read_like(arguments, arguments.validation, dataset)
        validation = with_gap_policy(arguments, held_out)
    with bar(arguments.method, "step") as progress:
        return train_masked(
            dataset,
            _layer(arguments, dataset, similarity),
            penalty=penalty,
            masking=Masking(**given(Masking, arguments)),
            recipe=Recipe(**given(Recipe, arguments)),
            validation=validation,
            rng=arguments.seed,
            checkpoint=CheckpointFile(arguments.out, keep=True),
            device=arguments.device or "auto",
            n_threads=arguments.threads,
            progress=progress if worker_rank() in (None, 0) else None,
        )


def with_gap_policy(arguments: argparse.Namespace, dataset: SequenceDataset) -> SequenceDataset:
    """Return the data with gaps as --gaps wants them."""
    return dataset.ignoring_gaps() if arguments.gaps == "ignored" else dataset


def _layer(
    arguments: argparse.Namespace, dataset: SequenceDataset | SequenceFile, similarity: str
) -> Any:
    if arguments.method == "attention":
        return AttentionConfig(
            **{**given(AttentionConfig, arguments), "color_similarity": similarity}
        )
    import torch

    from pottsattn.fitting.masked.transformer import MaskedTransformer

    config = TransformerConfig(**given(TransformerConfig, arguments))
    # A seed of its own, in the range that torch takes: it does not depend on how trainings use one.
    generator = torch.Generator().manual_seed(arguments.seed % 2**63)
    return MaskedTransformer(dataset.length, dataset.n_states, generator=generator, **vars(config))
