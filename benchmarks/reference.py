"""What benchmarks compare with: the heat bath and the pseudo-likelihood as one writes them first.

Frozen: never tuned and never changed, so that ratios stay comparable between versions of the
package, of which nothing is known here. The heat bath is in float64, one chain after another, on
all cores: color bins are rebuilt at every update, random numbers are NumPy's inside the kernel, the
exponential is `math.exp`. Only the number of states is a constant of the compiled code, which is
the one thing that a plain kernel gains by. The pseudo-likelihood is two one-hot matrix products in
torch, all sites at once. Factored attention builds its couplings, the tensor of all pairs of sites
and states, at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "dense_heat_bath",
    "factored_heat_bath",
    "matrix_product_loss",
    "tensor_attention_loss",
]


@cache
def factored_heat_bath(n_states: int) -> Callable[..., None]:
    """Return the kernel for J_ij(a, b) = A_ij U_ab.

    It advances states (M, L) uint8 in place by interactions A (L, L), color_similarity U (C, C)
    and fields (L, C). Chain m draws from the stream `seed` + m, started afresh by every call.
    """

    @numba.njit(parallel=True, cache=True)
    def sweep(
        states: NDArray[np.uint8],
        interactions: NDArray[np.float64],
        color_similarity: NDArray[np.float64],
        fields: NDArray[np.float64],
        n_sweeps: int,
        seed: int,
    ) -> None:
        n_chains, length = states.shape
        for m in numba.prange(n_chains):
            # Compiled, this seeds the generator that Numba keeps for this thread: every chain
            # starts its own stream, and the global state of NumPy is not touched.
            np.random.seed(seed + m)  # noqa: NPY002
            state = states[m]
            bins = np.empty(n_states)
            sums = np.empty(n_states)
            for _ in range(n_sweeps):
                for i in range(length):
                    bins[:] = 0.0
                    for j in range(length):
                        bins[state[j]] += interactions[i, j]
                    top = -math.inf
                    for a in range(n_states):
                        logit = fields[i, a]
                        for c in range(n_states):
                            logit += color_similarity[a, c] * bins[c]
                        sums[a] = logit
                        top = max(top, logit)
                    total = 0.0
                    for a in range(n_states):
                        total += math.exp(sums[a] - top)
                        sums[a] = total
                    threshold = np.random.random() * total  # noqa: NPY002
                    new = 0
                    while new < n_states - 1 and sums[new] < threshold:
                        new += 1
                    state[i] = new

    return sweep


@cache
def dense_heat_bath(n_states: int) -> Callable[..., None]:
    """Return the kernel for couplings (L, L, C, C) as [i, j, b, a], a of site i; see above."""

    @numba.njit(parallel=True, cache=True)
    def sweep(
        states: NDArray[np.uint8],
        couplings: NDArray[np.float64],
        fields: NDArray[np.float64],
        n_sweeps: int,
        seed: int,
    ) -> None:
        n_chains, length = states.shape
        for m in numba.prange(n_chains):
            np.random.seed(seed + m)  # noqa: NPY002
            state = states[m]
            sums = np.empty(n_states)
            for _ in range(n_sweeps):
                for i in range(length):
                    for a in range(n_states):
                        sums[a] = fields[i, a]
                    for j in range(length):
                        for a in range(n_states):
                            sums[a] += couplings[i, j, state[j], a]
                    top = -math.inf
                    for a in range(n_states):
                        top = max(top, sums[a])
                    total = 0.0
                    for a in range(n_states):
                        total += math.exp(sums[a] - top)
                        sums[a] = total
                    threshold = np.random.random() * total  # noqa: NPY002
                    new = 0
                    while new < n_states - 1 and sums[new] < threshold:
                        new += 1
                    state[i] = new

    return sweep


def matrix_product_loss(one_hot: Any, weights: Any, fields: Any, couplings: Any) -> tuple[Any, Any]:
    """Return the loss summed over sites, and its gradient in the couplings, as torch tensors.

    one_hot (M, L C), weights (M,), fields (L C,), couplings (L C, L C) as [(j, b), (i, a)].
    """
    import torch

    n_sequences = len(one_hot)
    n_sites = round(float(one_hot[0].sum()))
    logits = torch.addmm(fields, one_hot, couplings).reshape(n_sequences, n_sites, -1)
    log_p = torch.log_softmax(logits, dim=2)
    chosen = one_hot.reshape(log_p.shape)
    loss = -(weights[:, None] * (log_p * chosen).sum(dim=2)).sum()
    residual = (log_p.exp() - chosen) * weights[:, None, None]
    return loss, one_hot.T @ residual.reshape(n_sequences, -1)


def tensor_attention_loss(attention: Any, values: Any, fields: Any, sequences: Any) -> Any:
    """Return the mean of -log P(s_i | s_-i), differentiable, by way of J (L, L, C, C).

    Torch tensors: attention A (H, L, L) with zero diagonal, values U (H, C, C), fields h (L, C),
    sequences (M, L) int64.
    """
    import torch

    couplings = torch.einsum("hij,hab->ijab", attention, values)  # (L, L, C, C)
    one_hot = torch.nn.functional.one_hot(sequences, fields.shape[1]).to(fields.dtype)
    logits = torch.einsum("ijab,mjb->mia", couplings, one_hot) + fields  # (M, L, C)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), sequences.flatten())
