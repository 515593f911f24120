"""Train an encoder on instances, judge its vectors, and judge references in the same way."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pottsattn._core.checkpoint import CheckpointFile, CheckpointLike
from pottsattn._core.display import Progress
from pottsattn._core.storage import to_json
from pottsattn._core.validate import check_at_least, check_choice, check_seed
from pottsattn._core.verdict import stated
from pottsattn.instances.data import InstanceData
from pottsattn.instances.encoder import AT_ONCE, Encoder, encode
from pottsattn.instances.probes import (
    ProbeScores,
    check_classes,
    evaluate,
    feature_spread,
    linear_probe,
    raw_linear_probe,
)
from pottsattn.instances.references import random_encoder, train_masked_tokens, train_supervised
from pottsattn.instances.result import UNKNOWN, InstanceRun
from pottsattn.instances.settings import EncoderConfig, HeadConfig, PretrainConfig, TrainingConfig
from pottsattn.instances.training import TrainedEncoder, as_inputs, pretrain
from pottsattn.training.workers import choose_device, join_workers, limit_threads

REFERENCES = ("random", "supervised", "masked")


def encoder_config_for(data: InstanceData, preset: str = "tiny", **sizes: Any) -> EncoderConfig:
    """Return the sizes of an encoder that takes `data`; `sizes` come before the preset."""
    inputs = {"n_states": data.n_states, "patch_dim": data.patch_dim, "grid": data.grid}
    return EncoderConfig.preset(preset, data.n_tokens, **inputs, **sizes)


def run_instances(
    data: InstanceData,
    encoder: EncoderConfig | None = None,
    heads: HeadConfig | None = None,
    config: PretrainConfig | None = None,
    *,
    references: Sequence[str] = ("random", "supervised"),
    reference_steps: int | None = None,
    rng: np.random.Generator | int | None = 0,
    checkpoint: CheckpointLike | None = None,
    device: str = "auto",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> InstanceRun:
    """Return an encoder trained by extreme masking, with what it and its references know.

    Parameters
    ----------
    data
        Of `pottsattn.instances.data`.
    encoder, heads, config
        Sizes and settings; the preset "tiny" if left out.
    references
        Names out of "random", "supervised" and "masked"; supervised is left out where labels are
        unknown. All start from the same weights.
    reference_steps
        Training steps of a reference; half of `config.max_steps` if left out.
    rng
        Generator or seed of starting values, batches and masks.
    checkpoint, device, n_threads
        As for `pretrain`.
    progress
        Called with (steps done, steps), those of references included.

    Returns
    -------
    InstanceRun
        Interrupted by Ctrl-C: what was trained until then.

    Raises
    ------
    InputError
        As `pretrain`; an unknown reference.
    """
    encoder = encoder_config_for(data) if encoder is None else encoder
    config = config or PretrainConfig()
    names = [check_choice("reference", name, REFERENCES) for name in references]
    if data.labels is not None:
        check_classes(data.labels[: data.n_probe_train])  # before a long training
    if data.train_labels is None:
        names = [name for name in names if name != "supervised"]
    n_steps = max(1, config.max_steps // 2) if reference_steps is None else reference_steps
    settings = {f.name: getattr(config, f.name) for f in fields(TrainingConfig)}
    settings["max_steps"] = check_at_least("reference_steps", n_steps, 1)
    recipe = TrainingConfig(**settings)
    trained_names = [name for name in names if name != "random"]
    total = config.max_steps + n_steps * len(trained_names)
    stored = CheckpointFile.of(checkpoint)
    seed = check_seed(rng)
    options: dict[str, Any] = {"rng": seed, "device": device, "n_threads": n_threads}
    with ExitStack() as stack:
        workers = stack.enter_context(join_workers(choose_device(device)))
        stack.enter_context(limit_threads(n_threads, workers.count))
        trained = pretrain(
            data.train,
            encoder,
            heads,
            config,
            checkpoint=None if stored is None else replace(stored, keep=True),
            progress=_part_of(progress, 0, total),
            **options,
        )
        trained_at = time.perf_counter()
        others: dict[str, TrainedEncoder] = {}
        for name in trained_names:
            if trained.interrupted or any(one.interrupted for one in others.values()):
                break
            others[name] = _train_reference(
                name,
                data,
                encoder,
                recipe,
                progress=_part_of(progress, config.max_steps + n_steps * len(others), total),
                **options,
            )
        judge = _Judge(data, encoder, device)
        scores = judge.score(trained.encoder)
        found = {"random": judge.score(random_encoder(encoder, seed))} if "random" in names else {}
        for name, one in others.items():
            if not one.interrupted:
                found[name] = judge.score(one.encoder, from_tokens=name == "masked")
        vectors, attention = judge.look(trained.encoder)
    raw, raw_error = _raw_probe(data)
    bayes, bayes_error = _bayes(data)
    embeddings, explained = _principal_components(vectors)
    interrupted = trained.interrupted or any(one.interrupted for one in others.values())
    message = trained.message
    if interrupted and not trained.interrupted:
        message = "interrupted while references were trained; repeat the command to continue"
    if not interrupted:
        notes = [
            f"reference {name}: {stated(False, one.message)}"
            for name, one in others.items()
            if not one.converged
        ]
        message = "; ".join([message, *notes])
    if stored is not None and not (stored.keep or interrupted) and workers.leads:
        stored.partial.unlink()
    compared = {
        "references": names,
        "reference_steps": n_steps,
        "n_instances": len(data.train),
    }
    labels = data.labels
    n_test = len(data.probed) - data.n_probe_train
    return InstanceRun(
        source=data.name,
        config=json.loads(to_json({**trained.config, **compared})),
        teacher={name: one.numpy() for name, one in trained.encoder.state_dict().items()},
        history=trained.history,
        scores=scores,
        references=found,
        raw_linear_probe=raw,
        raw_linear_probe_error=raw_error,
        chance=1.0 / data.n_classes if data.n_classes else math.nan,
        bayes=bayes,
        bayes_error=bayes_error,
        embeddings=embeddings,
        explained_variance=explained,
        labels=np.full(n_test, UNKNOWN) if labels is None else labels[data.n_probe_train :],
        class_attention=attention,
        mixture=data.mixture,
        converged=trained.converged and not interrupted,
        message=message,
        collapsed=trained.collapsed,
        interrupted=interrupted,
        resumed_from=trained.resumed_from,
        seconds=trained.seconds + time.perf_counter() - trained_at,
    )


class _Judge:
    """Scores encoders on the labeled instances of a data set."""

    def __init__(self, data: InstanceData, encoder: EncoderConfig, device: str) -> None:
        self.data, self.device = data, choose_device(device)
        self.inputs = as_inputs(data.probed, encoder)
        self.local_fields = None
        if data.mixture is not None and data.labels is not None:
            self.local_fields = data.mixture.local_fields(data.probed, data.labels)

    def score(self, encoder: Encoder, *, from_tokens: bool = False) -> ProbeScores:
        """Return all scores that the data allow; `from_tokens`: of the mean token."""
        vectors, tokens = encode(encoder.to(self.device), self.inputs)
        encoder.cpu()
        if from_tokens:
            vectors = tokens.mean(axis=1)
        if not np.isfinite(vectors).all():
            return ProbeScores(*[math.nan] * len(fields(ProbeScores)))
        n_train = self.data.n_probe_train
        if self.data.labels is None:
            nothing = ProbeScores(*[math.nan] * len(fields(ProbeScores)))
            return replace(nothing, feature_std=feature_spread(vectors[n_train:]))
        return evaluate(
            vectors,
            self.data.labels,
            n_train,
            tokens=tokens,
            local_fields=self.local_fields,
        )

    def look(self, encoder: Encoder) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return instance vectors and class attention of the test part."""
        test = self.inputs[self.data.n_probe_train :]
        encoder.to(self.device)
        vectors, _ = encode(encoder, test)
        with torch.no_grad():
            parts = [
                encoder.class_attention(part.to(self.device)).cpu()
                for part in torch.split(test, AT_ONCE)
            ]
        encoder.cpu()
        return vectors, torch.cat(parts).numpy()


def _train_reference(
    name: str,
    data: InstanceData,
    encoder: EncoderConfig,
    recipe: TrainingConfig,
    **options: Any,
) -> TrainedEncoder:
    if name == "masked":
        return train_masked_tokens(data.train, encoder, recipe, **options)
    assert data.train_labels is not None
    return train_supervised(data.train, data.train_labels, encoder, recipe, **options)


def _part_of(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return a callback for a part of the steps."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


def _raw_probe(data: InstanceData) -> tuple[float, float]:
    if data.labels is None:
        return math.nan, math.nan
    at = data.n_probe_train
    parts = data.probed[:at], data.labels[:at], data.probed[at:], data.labels[at:]
    if data.n_states is not None:
        found = raw_linear_probe(*parts, data.n_states)
    else:
        flat = [parts[0].reshape(at, -1), parts[2].reshape(len(parts[3]), -1)]
        found = linear_probe(flat[0], parts[1], flat[1], parts[3])
    return found.value, found.error


def _bayes(data: InstanceData) -> tuple[float, float]:
    if data.mixture is None or data.labels is None:
        return math.nan, math.nan
    from pottsattn.instances.mixtures import LabeledSequences

    at = data.n_probe_train
    found = data.mixture.bayes_accuracy(LabeledSequences(data.probed[at:], data.labels[at:]))
    return found.value, found.error


def _principal_components(
    vectors: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the first two components and their shares of the variance; NaN for NaN."""
    if not np.isfinite(vectors).all():
        return np.full((len(vectors), 2), np.nan, np.float32), np.full(2, np.nan)
    centered = vectors.astype(np.float64) - vectors.mean(axis=0)
    left, lengths, right = np.linalg.svd(centered, full_matrices=False)
    signs = np.sign(right[np.arange(2), np.abs(right[:2]).argmax(axis=1)])
    shares = lengths[:2] ** 2 / max(float((lengths**2).sum()), 1e-300)
    return (left[:, :2] * lengths[:2] * signs).astype(np.float32), shares
