"""Self-supervised training of an encoder by extreme masking (ExtreMA).

A student sees disjoint random subsets of the tokens of an instance, a teacher the intact instance:

    q = predictor(projector(E(visible))),   k = projector'(E'(all)),

and q predicts k (`pottsattn.instances.losses`). The teacher is an average over past students,
theta' <- m theta' + (1 - m) theta before every step, with m = 1 - (1 - m_0) (1 + cos(pi t / T)) / 2
rising from m_0 to 1. All masks of a batch go through the student in one pass. Masking is the only
augmentation; labels are not looked at.

Reference: Wu, Lai, Sun, Lin, arXiv:2206.04667, and its published code.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pottsattn._core.checkpoint import CheckpointLike
from pottsattn._core.display import Progress
from pottsattn._core.validate import (
    InputError,
    check_generator,
    check_sequences,
)
from pottsattn._core.verdict import Verdict, stated
from pottsattn.instances.encoder import Encoder
from pottsattn.instances.losses import byol, infonce
from pottsattn.instances.masks import n_visible, visible_tokens
from pottsattn.instances.projection_heads import make_predictor, make_projector
from pottsattn.instances.result import EncoderHistory
from pottsattn.instances.settings import EncoderConfig, HeadConfig, PretrainConfig, TrainingConfig
from pottsattn.instances.steps import EncoderObjective, EncoderTraining
from pottsattn.instances.verdict import judge
from pottsattn.training.steps import take_steps
from pottsattn.training.workers import Workers, choose_device, join_workers, limit_threads

Make = Callable[[torch.Generator, Workers], EncoderObjective]


@dataclass(frozen=True, eq=False, repr=False)
class TrainedEncoder:
    """An encoder, and how its training went.

    Attributes
    ----------
    encoder : Encoder
        On the CPU: the teacher, where there is one.
    history : EncoderHistory
    config : dict
        Sizes and settings, with the seed.
    converged : bool
        See `pottsattn.instances.verdict`: all steps taken, the loss below that of the start and
        no longer falling as if the training had only begun, vectors that differ.
    message : str
    collapsed, interrupted : bool
        What went wrong otherwise.
    resumed_from : int or None
        The step that an earlier, killed run had reached.
    seconds : float
    """

    encoder: Encoder
    history: EncoderHistory
    config: dict[str, Any]
    converged: bool
    message: str
    collapsed: bool
    interrupted: bool
    resumed_from: int | None
    seconds: float

    def __repr__(self) -> str:
        state = stated(self.converged, self.message)
        spread = self.history.feature_std[-1]
        return f"TrainedEncoder({self.history.steps[-1]} steps, feature std {spread:.3f}, {state})"


class InstanceObjective(EncoderObjective):
    """Student, teacher and their heads.

    Parameters
    ----------
    encoder, heads, config
        Sizes and settings.
    generator
        Draws the starting values of the student; the teacher starts as its copy.
    workers
        Vectors of all processes are gathered before the heads, so that batch norms and negatives
        are those of the whole batch.
    """

    can_collapse = True

    def __init__(
        self,
        encoder: EncoderConfig,
        heads: HeadConfig,
        config: PretrainConfig,
        generator: torch.Generator,
        workers: Workers | None = None,
    ) -> None:
        super().__init__()
        n_visible(encoder.n_tokens, config.mask_fraction, config.masks)
        self.settings, self._workers = config, workers or Workers()
        self.encoder = Encoder(encoder, generator=generator)
        self.projector = make_projector(encoder.width, heads, generator)
        self.predictor = make_predictor(heads, generator)
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)
        self.teacher_projector = copy.deepcopy(self.projector).requires_grad_(False)

    @property
    def judged(self) -> Encoder:
        """The teacher."""
        return self.teacher

    def momentum(self, progress: float) -> float:
        """Return m when a share `progress` of the steps is done."""
        return 1.0 - 0.5 * (1.0 - self.settings.momentum) * (1.0 + math.cos(math.pi * progress))

    def prepare(self, progress: float) -> None:
        """Move the teacher to the student of the step before."""
        rate = 1.0 - self.momentum(progress)
        pairs = ((self.teacher, self.encoder), (self.teacher_projector, self.projector))
        with torch.no_grad():
            for teacher, student in pairs:
                for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                    slow.lerp_(fast, rate)

    def draw(self, numbers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the visible tokens, shape (B, masks, n_visible)."""
        visible = visible_tokens(
            len(numbers),
            self.encoder.config.n_tokens,
            self.settings.mask_fraction,
            self.settings.masks,
            rng,
        )
        return visible.transpose(1, 0, 2)

    def forward(self, inputs: Tensor, draws: Tensor, drop_generator: Any) -> Tensor:
        """Return the loss of a batch, mean over instances and masks."""
        visible = draws.transpose(0, 1)  # (masks, B, n_visible)
        vectors, _ = self.encoder(inputs, visible, drop_generator=drop_generator)
        vectors = vectors.unflatten(0, visible.shape[:2])  # (masks, B, width)
        predictions = self.predictor(self.projector(self._workers.gather(vectors, dim=1)))
        with torch.no_grad():
            intact, _ = self.teacher(inputs)
            (targets,) = self.teacher_projector(self._workers.gather(intact[None], dim=1))
        if self.settings.loss == "infonce":
            return infonce(predictions, targets, self.settings.temperature)
        return byol(predictions, targets)


def pretrain(
    inputs: ArrayLike,
    encoder: EncoderConfig,
    heads: HeadConfig | None = None,
    config: PretrainConfig | None = None,
    *,
    rng: np.random.Generator | int | None = None,
    checkpoint: CheckpointLike | None = None,
    device: str = "auto",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> TrainedEncoder:
    """Return a teacher trained by masking alone.

    Started by `torchrun`, the processes share every batch; all return the same encoder.

    Parameters
    ----------
    inputs
        Sequences, integers of shape (M, n_tokens), or patches of images, numbers of shape
        (M, n_tokens, patch_dim), as `encoder` says. An epoch takes whole batches only.
    encoder, heads, config
        Sizes and settings; the preset "tiny" if left out.
    rng
        Generator or seed of starting values, batches and masks. The same seed, threads and device
        give the same bits.
    checkpoint
        The file that the result will be saved to, or a `CheckpointFile`: the state of the training
        is kept in FILE.partial, a killed training continues from it to the same bits, and it is
        removed in the end. Needs a seed.
    device
        "auto" (CUDA if there is one), "cpu" or "cuda".
    n_threads
        Threads on the CPU.
    progress
        Called with (steps done, steps).

    Returns
    -------
    TrainedEncoder
        Not converged if the representation has collapsed (feature spread below 0.05 and half of
        that at the start) or diverged, if the loss did not fall or fell to the end as if the
        training had only begun, or if Ctrl-C has ended it.

    Raises
    ------
    InputError
        A wrong setting, inputs that do not fit the encoder, or a FILE.partial of another training.

    Warns
    -----
    UserWarning
        The representation has collapsed; once, while the training goes on.
    ConvergenceWarning
        It did not converge.

    References
    ----------
    Wu, Lai, Sun, Lin, arXiv:2206.04667, and its published code.
    """
    heads, config = heads or HeadConfig(), config or PretrainConfig()

    def make(generator: torch.Generator, workers: Workers) -> InstanceObjective:
        return InstanceObjective(encoder, heads, config, generator, workers)

    return train_encoder(
        as_inputs(inputs, encoder),
        make,
        config,
        {"encoder": asdict(encoder), "heads": asdict(heads), "training": asdict(config)},
        rng=rng,
        checkpoint=checkpoint,
        device=device,
        n_threads=n_threads,
        progress=progress,
    )


def train_encoder(
    inputs: Tensor,
    make: Make,
    config: TrainingConfig,
    facts: dict[str, Any],
    *,
    rng: np.random.Generator | int | None = None,
    checkpoint: CheckpointLike | None = None,
    device: str = "auto",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> TrainedEncoder:
    """Return the encoder of an objective after its training; see `pretrain`.

    `make` builds the objective from a generator of starting values and the workers; `facts` say
    what decides the result.
    """
    if checkpoint is not None and rng is None:
        raise InputError("a checkpoint needs a seed, by which the next run continues it; give rng")
    seed = int(check_generator(rng).integers(2**63))
    chosen = choose_device(device)
    facts = {**facts, "device": chosen.type, "seed": seed}
    started = time.perf_counter()
    with ExitStack() as stack:
        workers = stack.enter_context(join_workers(chosen))
        stack.enter_context(limit_threads(n_threads, workers.count))
        objective = make(torch.Generator().manual_seed(seed), workers).to(chosen)
        training = EncoderTraining(
            objective,
            inputs,
            config.recipe,
            config.betas,
            workers,
            seed,
            in_half=config.precision == "bfloat16",
        )
        kept = dict(facts)
        if checkpoint is not None:
            kept["data"] = hashlib.sha256(inputs.numpy().tobytes()).hexdigest()
        ended = take_steps(training, checkpoint, kept, progress=progress, workers=workers)
    history = training.history()
    if ended.interrupted:
        verdict = Verdict(False, ended.message)
    else:
        verdict = judge(
            history, training.max_steps, is_over=training.is_over, collapsed=training.collapsed
        )
        verdict.warn(stacklevel=3)
    return TrainedEncoder(
        encoder=objective.judged.cpu(),
        history=history,
        config=facts,
        converged=verdict.converged,
        message=verdict.message,
        collapsed=training.collapsed,
        interrupted=ended.interrupted,
        resumed_from=ended.resumed_from,
        seconds=ended.earlier_seconds + time.perf_counter() - started,
    )


def as_inputs(inputs: ArrayLike, encoder: EncoderConfig) -> Tensor:
    """Return instances as a tensor that fits an encoder, on the CPU; InputError if they do not."""
    if encoder.n_states is not None:
        states = check_sequences(inputs, encoder.n_states)
        if states.shape[1] != encoder.n_tokens:
            raise InputError(
                f"sequences have length {states.shape[1]}, the encoder takes {encoder.n_tokens}"
            )
        return torch.from_numpy(states)
    patches = np.ascontiguousarray(inputs, dtype=np.float32)
    wanted = (encoder.n_tokens, encoder.patch_dim)
    if patches.ndim != 3 or patches.shape[1:] != wanted or len(patches) < 1:
        raise InputError(
            f"patches must have shape (any, {wanted[0]}, {wanted[1]}), got {patches.shape}"
        )
    if not np.isfinite(patches).all():
        raise InputError("patches must be finite, found NaN or infinity")
    return torch.from_numpy(patches)
