"""Masked modelling: train a layer to predict masked sites from all the others.

At every visit a sequence shows K one-site masks; no site is masked again before a new cycle of
floor(L / K) visits begins (K = L: each site once per visit). In expectation over masks the loss is
the pseudo-likelihood per site, so its minimum is the pseudo-likelihood optimum at the same penalty
(docs/theory.md). The objective is that of `pottsattn.fitting.pseudolikelihood`, summed over sites,
so both fits share one ridge.

Reference: Rende et al., Phys. Rev. Research 6, 023057 (2024), section III.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pottsattn._validate import (
    ConvergenceWarning,
    InputError,
    check_at_least,
    check_generator,
    check_kind,
    check_positive,
)
from pottsattn.dataset import SequenceDataset
from pottsattn.fitting.attention import FactoredAttention
from pottsattn.fitting.record import History, Penalty, penalty_for
from pottsattn.fitting.result import FitResult

__all__ = ["masked_losses", "train_masked"]

PATIENCE = 0.2  # share of the steps over which the objective is compared
OBJECTIVE_TOLERANCE = 1e-5  # nats per site
GAP_TOLERANCE = 1e-3  # nats per site, for the bound that convexity gives
FEWEST_STEPS = 50  # fewer say nothing about convergence: the window is then a few tiny steps
ENTRIES = 50  # entries of the history, evenly spaced in the logarithm of the step
EVALUATION_BATCH = 4096
Progress = Callable[[int, int], None]


def train_masked(
    dataset: SequenceDataset,
    layer: FactoredAttention | None = None,
    *,
    n_heads: int = 1,
    color_similarity: str = "identity",
    fields: str = "learned",
    ridge: float | None = None,
    couplings_l2: float | None = None,
    fields_l2: float = 0.01,
    masks: int | None = None,
    max_steps: int = 300,
    batch_size: int = 8192,
    learning_rate: float = 0.1,
    rng: np.random.Generator | int | None = None,
    validation: SequenceDataset | None = None,
    device: str = "auto",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Return factored attention trained by one-site masked modelling with Adam.

    Parameters
    ----------
    dataset
        Weighted sequences; the true model, if any, is not looked at.
    layer
        Trained in place; built from `n_heads`, `color_similarity` and `fields` if left out.
    ridge, couplings_l2, fields_l2
        Penalties as in `fit_pseudolikelihood`; ridge 0.2 if neither is given.
    masks
        One-site masks per sequence and visit, K. All `length` of them if left out: the layer
        predicts them in one pass, so fewer masks cost the same and add noise.
    max_steps, batch_size, learning_rate
        Steps of Adam, sequences per step at most (an epoch is cut into batches of nearly equal
        size), and the starting rate, which falls to zero as a cosine.
    rng
        Generator or seed for starting values, batches and masks.
    validation
        Its loss is recorded along the training, nothing else is done with it.
    device
        "auto" (CUDA if there is one), "cpu" or "cuda".
    n_threads
        Threads of torch on the CPU during the training; torch's own setting if left out. On a busy
        machine one is often faster, unless OMP_WAIT_POLICY=PASSIVE is set before Python starts.
    progress
        Called with (steps done, steps).

    Returns
    -------
    FitResult
        With a history. `converged`: the objective on the full training data changed by less than
        1e-5 nats per site over the last fifth of at least 50 steps and, where U is fixed, is at
        most 1e-3 above its minimum by the bound of convexity. Interrupted by Ctrl-C: what was
        learned so far, not converged.

    Raises
    ------
    InputError
        A wrong option value, or a layer that does not fit the data.

    Warns
    -----
    ConvergenceWarning
        The training objective was still changing.
    """
    check_kind(
        "dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, n_states)"
    )
    n_masks = dataset.length if masks is None else check_at_least("masks", masks, 1)
    if n_masks > dataset.length:
        raise InputError(f"masks must be at most the length {dataset.length}, got {n_masks}")
    check_at_least("max_steps", max_steps, 1)
    check_at_least("batch_size", batch_size, 1)
    check_positive("learning_rate", learning_rate)
    penalty = penalty_for(dataset, ridge=ridge, couplings_l2=couplings_l2, fields_l2=fields_l2)
    seed = int(check_generator(rng).integers(2**63))
    generator = torch.Generator().manual_seed(seed)
    if layer is None:
        layer = FactoredAttention(
            dataset.length,
            dataset.n_states,
            n_heads,
            color_similarity=color_similarity,
            fields=fields,
            generator=generator,
        )
    data = _TrainingData.of(dataset, layer, choose_device(device), n_masks)
    tested = None if validation is None else torch.from_numpy(validation.sequences).to(data.device)
    layer.to(data.device)
    started = time.perf_counter()
    steps = _Steps(layer, data, penalty, generator, max_steps, batch_size, learning_rate)
    with _torch_threads(n_threads):
        history = _train(steps, tested, progress)
    interrupted = steps.done < max_steps

    objective, train_loss, norm = _final_gradient(layer, data, penalty)
    gap = _optimality_gap(layer, norm, penalty)
    converged, message = _judge(history, steps, gap, interrupted)
    if not converged and not interrupted:
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
    learned_fields, couplings = layer.implied_couplings()
    return FitResult(
        method="attention",
        fields=learned_fields,
        couplings=couplings,
        n_sequences=dataset.n_sequences,
        effective_size=dataset.effective_size,
        objective=objective,
        train_loss=train_loss,
        penalty=penalty,
        gradient_norm=norm,
        optimality_gap=gap,
        n_evaluations=steps.done,
        n_parameters=_count_parameters(layer),
        seconds=time.perf_counter() - started,
        converged=converged,
        interrupted=interrupted,
        message=message,
        alphabet=dataset.alphabet,
        gap_index=dataset.gap_index,
        columns=dataset.columns,
        history=history,
        config={
            "fields": "learned" if layer.learns_fields else "none",
            "heads": layer.interactions.shape[0],
            "color_similarity": "identity" if layer.is_convex else "learned",
            "masks": data.n_masks,
            "mask_mode": "fresh",
            "max_steps": max_steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "device": str(data.device),
            "seed": seed,
        },
        origin={"data": dataset.origin},
    )


def masked_losses(layer: nn.Module, sequences: Tensor) -> Tensor:
    """Return -log P(s_i | s_-i) for every one-site mask, nats, shape (n_sequences, length).

    The mean over sites is the exact masked-modelling loss, equal to the pseudo-likelihood per site
    for every value of the parameters (docs/theory.md).
    """
    logits = layer(sequences)  # (M, L, C)
    chosen = logits.gather(2, sequences.long()[:, :, None])[:, :, 0]  # (M, L)
    return torch.logsumexp(logits, dim=2) - chosen


def choose_device(name: str) -> torch.device:
    """Return the torch device for "auto", "cpu" or "cuda"; InputError if there is no such one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}")
    n_devices = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_devices:
        raise InputError(f"device is {name}, torch finds {n_devices or 'no'} CUDA devices; use cpu")
    return device


@dataclass(frozen=True, eq=False)
class _TrainingData:
    sequences: Tensor  # uint8 (M, L)
    weights: Tensor  # (M,), mean 1
    n_masks: int
    device: torch.device

    @classmethod
    def of(
        cls,
        dataset: SequenceDataset,
        layer: FactoredAttention,
        device: torch.device,
        n_masks: int,
    ) -> _TrainingData:
        if tuple(layer.fields.shape) != (dataset.length, dataset.n_states):
            raise InputError(
                f"the layer is for {tuple(layer.fields.shape)} (length, n_states), the data are "
                f"{(dataset.length, dataset.n_states)}"
            )
        weights = torch.from_numpy(dataset.normalized_weights * dataset.n_sequences)
        return cls(
            torch.from_numpy(dataset.sequences).to(device),
            weights.to(device=device, dtype=layer.interactions.dtype),
            n_masks,
            device,
        )


class _Steps:
    """The optimizer, the batches and the masks; one call of `take` is one step."""

    def __init__(
        self,
        layer: FactoredAttention,
        data: _TrainingData,
        penalty: Penalty,
        generator: torch.Generator,
        max_steps: int,
        batch_size: int,
        learning_rate: float,
    ) -> None:
        self.layer, self.data, self.penalty, self.generator = layer, data, penalty, generator
        self.max_steps, self.done = max_steps, 0
        self.patience = max(1, round(PATIENCE * max_steps))
        n_sequences, self.length = data.sequences.shape
        self.steps_per_epoch = math.ceil(n_sequences / batch_size)
        self.optimizer = torch.optim.Adam(layer.parameters(), lr=learning_rate)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, max_steps)
        self.batches: list[Tensor] = []  # left in this epoch
        # Sites in a random order for every sequence, and how many have been masked this cycle.
        self.sites = torch.empty((n_sequences, 0), dtype=torch.long)
        self.n_shown = torch.zeros(n_sequences, dtype=torch.long)

    def take(self) -> float:
        """Take one step; return the masked loss of its batch, nats per masked site."""
        batch = self._next_batch()
        on_device = batch.to(self.data.device)
        losses = masked_losses(self.layer, self.data.sequences[on_device])  # (B, L)
        if self.data.n_masks < self.length:
            losses = losses.gather(1, self._next_sites(batch).to(self.data.device))  # (B, K)
        weights = self.data.weights[on_device]
        loss = (weights[:, None] * losses).mean()
        objective = self.length * loss + _penalty_term(self.layer, self.penalty)
        self.optimizer.zero_grad()
        objective.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        self.done += 1
        return float(loss.detach())

    def _next_batch(self) -> Tensor:
        if not self.batches:
            order = torch.randperm(len(self.data.sequences), generator=self.generator)
            self.batches = list(order.tensor_split(self.steps_per_epoch))
        return self.batches.pop()

    def _next_sites(self, batch: Tensor) -> Tensor:
        if self.sites.shape[1] == 0:
            self.sites = self._shuffled(len(self.data.sequences))
        spent = batch[self.n_shown[batch] + self.data.n_masks > self.length]
        self.sites[spent] = self._shuffled(len(spent))
        self.n_shown[spent] = 0
        columns = self.n_shown[batch][:, None] + torch.arange(self.data.n_masks)
        self.n_shown[batch] += self.data.n_masks
        return self.sites[batch].gather(1, columns)

    def _shuffled(self, n_rows: int) -> Tensor:
        return torch.rand((n_rows, self.length), generator=self.generator).argsort(dim=1)


@contextmanager
def _torch_threads(n_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(check_at_least("threads", n_threads, 1))
    try:
        yield
    finally:
        if n_threads is not None:
            torch.set_num_threads(before)


def _train(steps: _Steps, validation: Tensor | None, progress: Progress | None) -> History:
    entries: list[tuple[float, ...]] = []
    recorded = set(np.unique(np.geomspace(1, steps.max_steps, ENTRIES).round()).astype(int))
    recorded.add(steps.max_steps - steps.patience)
    losses: list[float] = []

    def record() -> None:
        train = _mean_loss(steps.layer, steps.data.sequences, steps.data.weights)
        held_out = math.nan
        if validation is not None:
            held_out = _mean_loss(steps.layer, validation, None)
        mean = sum(losses) / len(losses) if losses else math.nan
        with torch.no_grad():
            term = float(_penalty_term(steps.layer, steps.penalty)) / steps.length
        entries.append((steps.done / steps.steps_per_epoch, mean, train, held_out, train + term))
        losses.clear()

    record()
    try:
        while steps.done < steps.max_steps:
            losses.append(steps.take())
            if steps.done in recorded:
                record()
            if progress is not None:
                progress(steps.done, steps.max_steps)
    except KeyboardInterrupt:
        record()  # what was learned is returned, marked as not converged
    return History(*np.array(entries).T)


@torch.no_grad()
def _mean_loss(layer: nn.Module, sequences: Tensor, weights: Tensor | None) -> float:
    total = norm = 0.0
    for start in range(0, len(sequences), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        losses = masked_losses(layer, sequences[part]).mean(dim=1).double()
        weight = torch.ones_like(losses) if weights is None else weights[part].double()
        total += float(weight @ losses)
        norm += float(weight.sum())
    return total / norm


def _penalty_term(layer: FactoredAttention, penalty: Penalty) -> Tensor:
    total = penalty.couplings_l2 * layer.penalty()
    if layer.learns_fields:
        total = total + penalty.fields_l2 * (layer.fields**2).sum()
    return total


def _final_gradient(
    layer: FactoredAttention, data: _TrainingData, penalty: Penalty
) -> tuple[float, float, float]:
    """Return objective (sum over sites), loss per site, largest gradient norm of a site."""
    n_sequences, length = data.sequences.shape
    layer.zero_grad()
    loss = 0.0
    for start in range(0, n_sequences, EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        losses = masked_losses(layer, data.sequences[part])
        share = (data.weights[part, None] * losses).sum() / n_sequences  # summed over sites
        share.backward()  # type: ignore[no-untyped-call]
        loss += float(share.detach())
    term = _penalty_term(layer, penalty)
    term.backward()  # type: ignore[no-untyped-call]
    squares = torch.zeros(length, dtype=torch.float64, device=data.device)
    for name, parameter in layer.named_parameters():
        gradient = parameter.grad
        assert gradient is not None
        if name == "interactions":
            squares += (gradient.double() ** 2).sum(dim=(0, 2))
        elif name == "fields":
            squares += (gradient.double() ** 2).sum(dim=1)
        else:
            squares += (gradient.double() ** 2).sum()
    layer.zero_grad()
    return loss + float(term.detach()), loss / length, float(squares.max().sqrt())


def _optimality_gap(layer: FactoredAttention, norm: float, penalty: Penalty) -> float:
    strengths = [penalty.couplings_l2] + [penalty.fields_l2] * layer.learns_fields
    if not layer.is_convex or min(strengths) == 0.0:
        return math.nan
    return norm**2 / (4.0 * min(strengths))


def _judge(history: History, steps: _Steps, gap: float, interrupted: bool) -> tuple[bool, str]:
    if interrupted:
        return False, f"interrupted at step {steps.done} of {steps.max_steps}"
    more = "raise max_steps"
    if steps.data.n_masks < steps.length:
        more += " or masks"
    start = (steps.max_steps - steps.patience) / steps.steps_per_epoch
    before = int(np.searchsorted(history.epochs, start))
    fall = float(history.objective[before] - history.objective[-1])
    epochs = history.epochs[-1] - history.epochs[before]
    if not math.isfinite(fall):
        return False, "the training objective is not finite; lower learning_rate"
    text = f"the objective changed by {-fall:.1e} nats per site over the last {epochs:.0f} epochs"
    if steps.max_steps < FEWEST_STEPS:
        return False, f"{text}, but {steps.max_steps} steps are too few to judge; {more}"
    if abs(fall) >= OBJECTIVE_TOLERANCE:
        return False, f"{text}, expected less than {OBJECTIVE_TOLERANCE:.0e}; {more}"
    if math.isnan(gap):
        return True, text
    # A learning rate that falls to zero stills any training; where convexity gives a bound, it
    # has to agree.
    text += f"; at most {gap:.1e} nats per site above the minimum"
    if gap > GAP_TOLERANCE:
        return False, f"{text}, expected {GAP_TOLERANCE:.0e}; {more}, learning_rate or the penalty"
    return True, text


def _count_parameters(layer: FactoredAttention) -> int:
    n_heads, length, _ = layer.interactions.shape
    unused_diagonal = n_heads * length
    return sum(parameter.numel() for parameter in layer.parameters()) - unused_diagonal
