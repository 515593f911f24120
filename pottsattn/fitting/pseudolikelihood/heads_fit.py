"""Fitting H heads with learned color similarity: starts, restarts, and the form of the answer.

The objective is that of the contract for factored couplings (see `heads_problem`); it is not
convex. Fields, A and U are stepped together by L-BFGS, which never raises it. The first start has
as U the patterns that carry most of the pair covariances, the largest right singular vectors of
f_ij(a, b) - f_i(a) f_j(b) as a matrix of pairs by states, and A = 0; further ones are random.

Reference: Rende et al., Phys. Rev. Research 6, 023057 (2024), section II.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.pseudolikelihood.heads_problem import HeadsProblem
from pottsattn.fitting.pseudolikelihood.joint_solver import SettledRule, solve_jointly
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.row_solver import Solution
from pottsattn.fitting.settling import Settling
from pottsattn.model.couplings import Couplings, zero_sum_projector

Array = NDArray[np.float64]


def fit_heads(
    dataset: SequenceDataset,
    data: RowData,
    n_heads: int,
    *,
    n_starts: int,
    rng: np.random.Generator,
    gap_tolerance: float,
    max_steps: int,
    n_threads: int,
    is_mixed: bool,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Solution, list[float]]:
    """Return the best fit of all starts and the objective that each of them reached.

    `gap_tolerance` is in nats per site. After Ctrl-C the starts so far count.
    """
    problem = HeadsProblem(data, n_heads, n_threads)
    found: list[Solution] = []
    for number in range(n_starts):
        rule = SettledRule(Settling(data.length, gap_tolerance), max_steps)
        start = problem.point(*_start(dataset, data, n_heads, number, rng))

        def step(done: int, steps: int, number: int = number) -> None:
            if progress is not None:
                progress(number * steps + done, n_starts * steps)

        found.append(
            solve_jointly(
                problem, start, rule, is_mixed=is_mixed, tune=problem.metric, progress=step
            )
        )
        if found[-1].interrupted:
            break
    best = min(found, key=lambda solution: solution.rows[0].objective)
    best = replace(
        best,
        couplings=normalized_heads(best.couplings),
        interrupted=found[-1].interrupted,
    )
    return best, [solution.rows[0].objective for solution in found]


def _start(
    dataset: SequenceDataset, data: RowData, n_heads: int, number: int, rng: np.random.Generator
) -> tuple[Array, Couplings]:
    """Return fields and couplings to start from."""
    length, n_states = data.length, data.n_states
    if data.initial is not None and number == 0:
        fields, couplings = data.initial
        return fields, nearest_heads(couplings, n_heads)
    fields = data.start_fields * data.learn_fields
    interactions = np.zeros((n_heads, length, length))
    if number == 0:
        patterns = covariance_patterns(dataset, n_heads)
        similarity = np.concatenate(
            [patterns, rng.normal(size=(n_heads - len(patterns), n_states, n_states))]
        )
    else:
        similarity = rng.normal(size=(n_heads, n_states, n_states))
    projector = zero_sum_projector(n_states)
    similarity = projector @ similarity @ projector
    norms = np.linalg.norm(similarity, axis=(1, 2), keepdims=True)
    return fields, Couplings(interactions, similarity * np.sqrt(n_states - 1.0) / norms)


def covariance_patterns(dataset: SequenceDataset, n_patterns: int) -> Array:
    """Return the matrices of unit norm that carry most of the pair covariances, the largest first.

    Shape (at most n_patterns, C, C): there are no more than (C - 1)^2.
    """
    length, n_states = dataset.length, dataset.n_states
    frequencies = dataset.site_frequencies()
    gram = np.zeros((n_states**2, n_states**2))
    for site in range(length):
        covariances = dataset.pair_frequencies(site)
        covariances -= frequencies[site][None, :, None] * frequencies[:, None, :]
        covariances[site] = 0.0
        flat = covariances.reshape(length, n_states**2)
        gram += flat.T @ flat
    n_patterns = min(n_patterns, (n_states - 1) ** 2)
    vectors = np.linalg.eigh(gram)[1][:, ::-1][:, :n_patterns]
    return vectors.T.reshape(n_patterns, n_states, n_states)


def patterns_bytes(length: int, n_states: int) -> int:
    """Return the bytes that `covariance_patterns` takes: matrices of C^2, covariances of a site.

    The matrices are the sum, its eigenvectors and what LAPACK needs: 2 n^2 beside its copy.
    """
    return 8 * (5 * n_states**4 + 2 * length * n_states**2)


def nearest_heads(couplings: Couplings, n_heads: int) -> Couplings:
    """Return couplings of `n_heads` heads, those nearest to any others in the Frobenius norm."""
    if couplings.is_factored and couplings.n_heads == n_heads:
        return couplings
    n_states = couplings.n_states
    gram = np.zeros((n_states**2, n_states**2))
    for row in couplings.rows():
        flat = row.reshape(-1, n_states**2)
        gram += flat.T @ flat
    vectors = np.linalg.eigh(gram)[1][:, ::-1][:, :n_heads].T
    rows = [vectors @ row.reshape(-1, n_states**2).T for row in couplings.rows()]  # (H, L) each
    patterns = vectors.reshape(-1, n_states, n_states)
    return Couplings(np.stack(rows, axis=1), patterns)


def normalized_heads(couplings: Couplings) -> Couplings:
    """Return the same J with |P U^h P|^2_F = C - 1 for every head, the strongest head first.

    A head whose color similarity has no zero-sum part is left as it is.
    """
    interactions, similarity = couplings.factors()
    projector = zero_sum_projector(couplings.n_states)
    norms = np.linalg.norm(projector @ similarity @ projector, axis=(1, 2))
    scales = np.where(norms > 0.0, norms / np.sqrt(couplings.n_states - 1.0), 1.0)
    interactions = interactions * scales[:, None, None]
    similarity = similarity / scales[:, None, None]
    order = np.argsort(-np.linalg.norm(interactions, axis=(1, 2)), kind="stable")
    return Couplings(interactions[order], similarity[order])
