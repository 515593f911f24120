"""The log partition function of a Potts model, exact where that is possible, else integrated.

Thermodynamic integration follows the inverse temperature from 0, where log Z = L log C, to 1:

    log Z = L log C + int_0^1 <-H>_beta d beta,    P_beta(s) = exp(-beta H(s)) / Z(beta).

The integral is a Clenshaw-Curtis rule, whose nodes hold those of the rule of half the order: the
difference of the two is the error of the quadrature.

References: Kirkwood, J. Chem. Phys. 3, 300 (1935); Clenshaw and Curtis, Numer. Math. 2, 197 (1960).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import n_threads_or_default
from pottsattn._core.validate import check_at_least, check_generator, check_kind
from pottsattn.model.exact import MAX_ENUMERATED, enumerate_states
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.engine import Chains, build_engine, random_streams
from pottsattn.sampling.runs import PlainRun, Workers
from pottsattn.sampling.schedule import Schedule

ORDER = 24  # of the rule; it has one node more
N_CHAINS = 96  # at every node
N_WARMUP = 100
N_ROUNDS = 300
SWEEPS_PER_ROUND = 2


@dataclass(frozen=True)
class LogPartition:
    """log Z in nats, with its standard error (0 if exact)."""

    value: float
    error: float


def log_partition(
    model: PottsModel,
    rng: np.random.Generator | int | None = None,
    *,
    n_threads: int | None = None,
) -> LogPartition:
    """Return log Z of `model`: by enumeration up to 10^6 states, else integrated."""
    check_kind("model", model, PottsModel, "a fit gives one by fit.to_model()")
    if model.n_states**model.length <= MAX_ENUMERATED:
        return LogPartition(enumerate_states(model).log_partition, 0.0)
    return integrate_log_partition(model, rng, n_threads=n_threads)


def integrate_log_partition(
    model: PottsModel,
    rng: np.random.Generator | int | None = None,
    *,
    n_rounds: int = N_ROUNDS,
    n_threads: int | None = None,
) -> LogPartition:
    """Return log Z of `model` by thermodynamic integration over 25 inverse temperatures.

    Parameters
    ----------
    model
        Its heat-bath chains must reach equilibrium within 100 sweeps from random sequences.
    rng
        Generator or seed; the same seed gives the same number for any `n_threads`.
    n_rounds
        Energies kept of each of the 96 chains at every node.

    Returns
    -------
    LogPartition
        The error adds that of sampling, from the spread of the chains, and that of the quadrature:
        what the two rules differ by beyond the noise of the difference.
    """
    check_kind("model", model, PottsModel, "a fit gives one by fit.to_model()")
    check_at_least("n_rounds", n_rounds, 1)
    nodes, weights = clenshaw_curtis(ORDER)
    coarse = np.zeros_like(weights)
    coarse[::2] = clenshaw_curtis(ORDER // 2)[1]
    chain_means = -_mean_energies(model, nodes, check_generator(rng), n_rounds, n_threads)
    means = chain_means.mean(axis=1)  # <-H> at every node
    node_errors = chain_means.std(axis=1, ddof=1) / math.sqrt(N_CHAINS)
    value = model.length * math.log(model.n_states) + float(weights @ means)
    sampling = float(((weights * node_errors) ** 2).sum())
    difference = weights - coarse  # of the two rules; what sampling does not explain is quadrature
    unexplained = (difference @ means) ** 2 - ((difference * node_errors) ** 2).sum()
    return LogPartition(value, math.sqrt(sampling + max(0.0, float(unexplained))))


def clenshaw_curtis(order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights, shape (order + 1,), of the rule on [0, 1]; `order` is even."""
    angles = np.pi * np.arange(order + 1) / order
    nodes = (1.0 - np.cos(angles)) / 2.0
    # Integrals over [0, 1] of the Chebyshev polynomials of even degree.
    degrees = np.arange(0, order + 1, 2)
    integrals = 1.0 / (1.0 - degrees**2.0)
    factors = np.where((degrees == 0) | (degrees == order), 1.0, 2.0) / order
    weights = np.cos(np.outer(angles, degrees)) @ (factors * integrals)
    weights[[0, -1]] /= 2.0
    return nodes, weights


def _mean_energies(
    model: PottsModel,
    betas: NDArray[np.float64],
    generator: np.random.Generator,
    n_rounds: int,
    n_threads: int | None,
) -> NDArray[np.float64]:
    """Return the mean of H over each chain, shape (n_betas, N_CHAINS), in k_B T of the model."""
    threads = n_threads_or_default(n_threads)
    n_chains = len(betas) * N_CHAINS
    engine = build_engine(model, n_chains=n_chains)
    engine.compile(model.length)
    seeds = cast(np.random.SeedSequence, generator.bit_generator.seed_seq)
    chains = Chains(
        generator.integers(model.n_states, size=(n_chains, model.length), dtype=np.uint8),
        random_streams(seeds.spawn(n_chains)),
        np.repeat(betas, N_CHAINS).astype(np.float32),
    )
    schedule = Schedule(n_chains=n_chains, n_warmup=N_WARMUP, thin_by=SWEEPS_PER_ROUND)
    run = PlainRun(engine, chains, schedule)
    workers = Workers(threads)
    run.warm_up(run.n_pieces, workers)
    total = np.zeros(n_chains)
    for first in range(0, n_rounds, 10):  # ten rounds of sequences are held at once
        total += run.advance(min(10, n_rounds - first), workers).energies.sum(axis=0)
    return (total / n_rounds).reshape(len(betas), N_CHAINS)
