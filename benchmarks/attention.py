"""Training throughput of factored attention: check losses and gradients, then time steps.

    python benchmarks/attention.py      # about a minute on two cores

A step is masking, loss, gradient, penalty and Adam, on one batch of random sequences with one-site
masks of all sites. The reference builds the (L, L, C, C) tensor at every step (`reference.py`), on
as many threads, in turns in the same run; both are float32. Losses and gradients are checked
against float64 automatic differentiation first. Exit status 1 if a stated limit is missed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import reference
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from pottsattn import FactoredAttention
from pottsattn._core.threads import n_threads_or_default
from pottsattn.fitting.masked.masking import BoundMasking, MaskedBatch
from pottsattn.fitting.masked.objective import Objective
from pottsattn.fitting.penalty import Penalty

SIZES = (  # L, C, H, batch, least ratio
    (100, 21, 16, 1024, 3.0),
    (100, 21, 16, 256, None),
    (100, 21, 16, 4096, None),
    (100, 21, 4, 1024, None),
    (100, 21, 1, 1024, None),
    (20, 20, 1, 1024, None),
    (120, 3, 1, 1024, None),
)
N_THREADS = n_threads_or_default(None)
PENALTY = Penalty(1e-3, 0.0)
LARGEST_ERROR = 1e-5  # of a gradient, relative to its largest entry
TURNS, STEPS = 5, 3


def main() -> int:
    """Print a table; return 1 if a limit is missed."""
    failures = []
    print(f"{N_THREADS} threads, torch {torch.__version__}; sequences per second")
    print(f"{'L, C, H, batch':>22} {'error':>8} {'ours':>9} {'tensor':>9} {'ratio':>6}  limit")
    for length, n_states, n_heads, size, least in SIZES:
        layer, batch = _make(length, n_states, n_heads, size)
        error = _largest_error(layer, batch)
        ours = _stepper(layer, lambda layer=layer, batch=batch: _our_objective(layer, batch))
        plain = _stepper(layer, lambda layer=layer, batch=batch: _plain_objective(layer, batch))
        seconds = _best_of_turns([ours, plain])
        rates = [size / each for each in seconds]
        ratio = rates[0] / rates[1]
        limit = "" if least is None else f"{least:g}"
        sizes = f"{length}, {n_states}, {n_heads}, {size}"
        print(f"{sizes:>22} {error:8.1e} {rates[0]:9.0f} {rates[1]:9.0f} {ratio:6.2f}  {limit}")
        if error > LARGEST_ERROR:
            failures.append(f"error {error:.1e} at {sizes}")
        if least is not None and ratio < least:
            failures.append(f"ratio {ratio:.2f} at {sizes}, expected {least:g}")
    print("; ".join(failures) or "every limit kept")
    return 1 if failures else 0


def _make(
    length: int, n_states: int, n_heads: int, size: int
) -> tuple[FactoredAttention, MaskedBatch]:
    generator = torch.Generator().manual_seed(0)
    layer = FactoredAttention(
        length, n_states, n_heads, color_similarity="learned", generator=generator
    )
    sequences = np.random.default_rng(0).integers(n_states, size=(size, length), dtype=np.uint8)
    weights = torch.full((size,), 1.0 / (size * length))
    return layer, BoundMasking(length=length, n_states=n_states).batch(
        np.arange(size), sequences, weights, 0
    )


def _our_objective(layer: FactoredAttention, batch: MaskedBatch) -> Tensor:
    return Objective(layer, PENALTY, N_THREADS)(batch)[0]


def _plain_objective(layer: FactoredAttention, batch: MaskedBatch) -> Tensor:
    attention, values = layer.attention_weights(), layer.values()
    loss = reference.tensor_attention_loss(attention, values, layer.fields, batch.targets.long())
    return layer.length * loss + PENALTY.couplings_l2 * layer.penalty()


def _stepper(layer: nn.Module, objective: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        objective().backward()
        optimizer.step()

    return step


def _best_of_turns(steppers: list[Callable[[], None]]) -> list[float]:
    """Return the least seconds of a step of each, timed in turns."""
    best = [float("inf")] * len(steppers)
    for step in steppers:
        step()
    for _ in range(TURNS):
        for number, step in enumerate(steppers):
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            best[number] = min(best[number], (time.perf_counter() - started) / STEPS)
    return best


def _largest_error(layer: FactoredAttention, batch: MaskedBatch) -> float:
    """Return the error of our float32 gradient against autograd in float64, on some sequences."""
    some = batch.part(slice(0, 64))
    layer.zero_grad()
    _our_objective(layer, some).backward()
    ours = [parameter.grad.double().clone() for parameter in layer.parameters()]
    other, _ = _make(layer.length, layer.n_states, layer.n_heads, 1)
    other.load_state_dict(layer.state_dict())
    other.double()
    scale = float(some.weights.sum()) * layer.length
    loss = reference.tensor_attention_loss(
        other.attention_weights(), other.values(), other.fields, some.targets.long()
    )
    (layer.length * scale * loss + PENALTY.couplings_l2 * other.penalty()).backward()
    errors = []
    for found, parameter in zip(ours, other.parameters(), strict=True):
        errors.append(float((found - parameter.grad).abs().max() / parameter.grad.abs().max()))
    layer.zero_grad()
    return max(errors)


if __name__ == "__main__":
    with threadpool_limits(limits=1, user_api="blas"):
        sys.exit(main())
