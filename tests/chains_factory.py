"""Chains to run kernels on, and how the tests of kernels advance them."""

from __future__ import annotations

import numpy as np

from pottsattn.model.potts import PottsModel
from pottsattn.sampling.engine import Chains, Engine

KERNELS = ("lanes", "bins", "rows")
SITE_MOVES = ("heat-bath", "metropolis")
CLUSTER_MOVES = ("swendsen-wang", "wolff")


def random_chains(
    model: PottsModel, n_chains: int, rng: np.random.Generator, betas: np.ndarray | float = 1.0
) -> Chains:
    """Return chains in random states, with streams of their own."""
    return Chains(
        states=rng.integers(model.n_states, size=(n_chains, model.length), dtype=np.uint8),
        streams=rng.integers(1 << 32, size=(n_chains, 4), dtype=np.uint32),
        betas=np.full(n_chains, betas, dtype=np.float32),
    )


def copied(chains: Chains) -> Chains:
    return Chains(chains.states.copy(), chains.streams.copy(), chains.betas.copy())


def advance(engine: Engine, chains: Chains, n_sweeps: int) -> np.ndarray:
    """Advance chains in as few calls as the kernel allows; return their energies."""
    n_chains = len(chains.states)
    block = engine.chains_per_call if engine.name.endswith("lanes") else n_chains
    parts = [chains.part(slice(first, first + block)) for first in range(0, n_chains, block)]
    return np.concatenate([engine.advance_and_measure(part, n_sweeps) for part in parts])
