"""Students of K mask patterns per sequence, drawn once and kept: between static and fresh masks.

A pattern hides each site with probability r. A site is predicted in the n ~ Binomial(K, r) patterns
of a sequence that hide it: n masked copies of one context, which share the sequence. With the
weight c = (1 - (1 - r)^K) / (K r) per copy (static masks have c = 1, fresh ones c K r = 1), the
objective of a site is

    sum_mu c sum_k loss(y, u_k) + (ridge L / 2) |w|^2,

so that couplings_l2 = ridge / (2 alpha (1 - (1 - r)^K)) for a mean over masked sites. Masked inputs
x_k and x_l have the covariance (1 - r)^2 chi + delta_kl r (1 - r) / C: a part common to the copies
and a private one, and so have the fields and the response to a change of the loss,

    u_k = (1 - r) m P e_y + sqrt(Q_c) P z + sqrt(Q_p) P zeta_k + V_c sum_l f_l + V_p f_k,
    f_k = c (e_y - softmax(u_k)),     Q_c = (1 - r)^2 q,     Q_p = r (1 - r) p / C,  p = |w|^2.

The conjugates come in pairs too, with M_kl the response of f_k to a change of omega_l:

    qhat_c = alpha E |sum_k f_k|^2 / k        qhat_p = alpha E sum_k |f_k|^2 / k
    Vhat_c = alpha E sum_kl tr M_kl / k       Vhat_p = alpha E sum_k tr M_kk / k
    mhat = alpha E sum_k f_k,y / k
    D = ridge + Vhat_c (1 - r)^2 x + Vhat_p r (1 - r) / C
    N = qhat_c (1 - r)^2 x + qhat_p r (1 - r) / C
    m = mhat (1 - r) J^2 < x^2 / D >
    q = mhat^2 (1 - r)^2 J^2 < x^3 / D^2 > + k < N x / D^2 >
    p = mhat^2 (1 - r)^2 J^2 < x^2 / D^2 > + k < N / D^2 >
    V_c = k (1 - r)^2 < x / D >               V_p = k r (1 - r) < 1 / D > / C

K = 1 is static masks, K -> infinity fresh ones (`masks`). The average over z and the zeta_k has
(C - 1) (n + 1) dimensions: quasi Monte Carlo.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
Derived here, by the cavity method, from the equations of that paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pottsattn.theory.equations.kernels_finite_masks import N_AVERAGES, sweep_copies
from pottsattn.theory.equations.solver import TINY, Equations, StudentSolver
from pottsattn.theory.equations.student import Student

Array = NDArray[np.float64]

LOG_NODES = (7, 12)  # log2 of the nodes of one scrambling of the coarse and of the fine rule
N_SCRAMBLINGS = 4
CONFIDENCE = 3.18  # standard errors of a mean of four that hold 95 % of Student's t
LEAST_LOG_NODES = 4  # of a rare number of copies
NEGLIGIBLE_SHARE = 1e-9  # of the sequences, for a number of copies


def counted_share(mask_fraction: float, n_masks: int) -> float:
    """Return 1 - (1 - r)^K, the fraction of sequences in which some pattern hides a site."""
    return -math.expm1(n_masks * math.log1p(-mask_fraction))


@dataclass(frozen=True, eq=False)
class CopyNodes:
    """Quadrature nodes for z, the number of copies and their zeta_k.

    Attributes
    ----------
    weights : ndarray, shape (n_nodes,)
        They sum to `counted_share`.
    common : ndarray, shape (n_nodes, n_states)
        P z, with entry 0 that of the color y.
    private : ndarray, shape (n_copies, n_states)
        P zeta_k of the copies of all nodes, one node after another.
    ends : ndarray, shape (n_nodes,)
        Where the copies of each node end.
    """

    weights: Array
    common: Array
    private: Array
    ends: NDArray[np.int64]


@lru_cache(maxsize=16)
def copy_nodes(
    n_states: int, mask_fraction: float, n_masks: int, log_nodes: int, scrambling: int
) -> CopyNodes:
    """Return about 2^`log_nodes` Sobol nodes, divided among the numbers of copies.

    Each `scrambling` (a seed) is a rule of its own, always the same.
    """
    from scipy.special import ndtri
    from scipy.stats import binom, qmc

    basis = np.linalg.svd(np.eye(n_states) - 1.0 / n_states)[0][:, : n_states - 1]
    weights, common, private, copies = [], [], [], []
    shares = binom.pmf(np.arange(n_masks + 1), n_masks, mask_fraction)
    for n in range(1, n_masks + 1):
        if shares[n] < NEGLIGIBLE_SHARE:
            continue
        size = max(LEAST_LOG_NODES, math.ceil(log_nodes + math.log2(shares[n])))
        dimension = (n + 1) * (n_states - 1)
        uniform = qmc.Sobol(dimension, rng=scrambling).random_base2(size)
        normal = ndtri(uniform).reshape(-1, n + 1, n_states - 1) @ basis.T
        weights.append(np.full(2**size, shares[n] / 2**size))
        common.append(normal[:, 0])
        private.append(normal[:, 1:].reshape(-1, n_states))
        copies.append(np.full(2**size, n))
    return CopyNodes(
        np.concatenate(weights),
        np.concatenate(common),
        np.concatenate(private),
        np.cumsum(np.concatenate(copies)),
    )


class CopyAverages(NamedTuple):
    """Averages over the copies of one site, per sequence.

    E |sum_k f_k|^2, E sum_k |f_k|^2, E sum_kl tr M_kl, E sum_k tr M_kk, E sum_k f_k,y, and the mean
    loss of a copy in nats.
    """

    common_noise: float
    private_noise: float
    common_response: float
    private_response: float
    signal: float
    train_loss: float


class FiniteMaskRule:
    """The averages of `CopyAverages` on fixed nodes, each solve started from the previous one.

    Parameters
    ----------
    nodes : sequence of CopyNodes
        Independent scramblings.
    mask_fraction, n_masks : float, int
        r and K.

    Attributes
    ----------
    norm_error : float
        Largest relative error of an average of the last call: 95 % confidence by Student's t, from
        the spread of the scramblings.
    """

    def __init__(self, nodes: Sequence[CopyNodes], mask_fraction: float, n_masks: int) -> None:
        self.nodes = nodes
        self.n_copies = mask_fraction * n_masks
        self.copy_weight = counted_share(mask_fraction, n_masks) / self.n_copies
        self.norm_error = math.nan
        self.fitted_fields = [np.zeros_like(each.private) for each in nodes]
        self._is_warm = False

    def __call__(
        self, m: float, Q_common: float, Q_private: float, V_common: float, V_private: float
    ) -> CopyAverages:
        """Return the averages at the order parameters of the masked fields."""
        averages = np.zeros((len(self.nodes), N_AVERAGES))
        for each, fitted, row in zip(self.nodes, self.fitted_fields, averages, strict=True):
            sweep_copies(
                each.weights,
                each.common,
                each.private,
                each.ends,
                m,
                math.sqrt(Q_common),
                math.sqrt(Q_private),
                V_common,
                V_private,
                self.copy_weight,
                self._is_warm,
                fitted,
                row,
            )
        self._is_warm = True
        averages[:, -1] /= self.n_copies
        mean = averages.mean(axis=0)
        errors = averages.std(axis=0) / math.sqrt(max(len(averages) - 1, 1))
        self.norm_error = CONFIDENCE * float((errors / np.maximum(mean, TINY)).max())
        return CopyAverages(*mean.tolist())


class FiniteMaskSolver(StudentSolver):
    """Solves students whose sequences come with K mask patterns each.

    Parameters
    ----------
    student : Student
        The student without masks.
    mask_fraction : float
        r, above 0 and below 1.
    n_masks : int
        K, at least 1.
    """

    unresolved = 1e-2  # nodes that are random to a degree: the error of the loss tells the rest

    def __init__(self, student: Student, mask_fraction: float, n_masks: int) -> None:
        self.student = student
        self.mask_fraction = mask_fraction
        self.n_masks = n_masks
        self.rules = [
            FiniteMaskRule(
                [
                    copy_nodes(student.n_states, mask_fraction, n_masks, size, scrambling)
                    for scrambling in range(N_SCRAMBLINGS)
                ],
                mask_fraction,
                n_masks,
            )
            for size in LOG_NODES
        ]
        self.forget()

    def equations(self, alpha: float, ridge: float) -> Equations:
        """Return the equations at alpha and ridge, still without a rule."""
        student = replace(self.student, alpha=alpha, ridge=ridge)
        return FiniteMaskEquations(student, self.mask_fraction, self.n_masks)


class FiniteMaskEquations(Equations):
    """(m, q, V_c, p, V_p) -> the same of one student."""

    def __init__(self, student: Student, mask_fraction: float, n_masks: int) -> None:
        super().__init__(student)
        self._context = 1.0 - mask_fraction
        self._hidden = mask_fraction * self._context * student.mean_covariance
        self._share = counted_share(mask_fraction, n_masks)

    def __call__(self, values: Array) -> Array:
        m, q, V_common, power, V_private = values.tolist()
        context = self._context
        self._found = self.rule(
            context * m, context**2 * q, self._hidden * power, V_common, V_private
        )
        return self._overlaps(self._found)

    def _overlaps(self, found: CopyAverages) -> Array:
        student = self.student
        x, weights = student.test_covariance, student.trace_weights
        scale, k = student.alpha / student.multiplicity, student.multiplicity
        seen = self._context**2 * x
        inverse = 1.0 / (
            student.ridge_scale * student.ridge
            + scale * (found.common_response * seen + found.private_response * self._hidden)
        )
        signal = scale * found.signal * self._context * student.test_signal * inverse
        noise = scale * (found.common_noise * seen + found.private_noise * self._hidden)
        noise = k * weights * noise * inverse**2
        missed = signal - student.teacher
        self._squared_error = float(missed @ missed + noise.sum())
        overlaps = [
            signal @ student.test_signal,
            signal @ (x * signal) + noise @ x,
            k * (weights @ (seen * inverse)),
            signal @ signal + noise.sum(),
            k * self._hidden * (weights @ inverse),
        ]
        self.overlaps = np.maximum(np.array(overlaps), TINY)
        return self.overlaps

    def test_overlaps(self) -> tuple[float, float]:
        """Return (m, q) of the fields in the full context."""
        return float(self.overlaps[0]), float(self.overlaps[1])

    def cold_start(self) -> Array:
        """Return the order parameters from the conjugates of a student that predicts uniformly."""
        miss = self._share * (1.0 - 1.0 / self.student.n_states)
        return self._overlaps(CopyAverages(miss, miss, miss, miss, miss, 0.0))

    def train_loss(self) -> float:
        """Return the training loss, without penalty."""
        return self._found.train_loss

    def coupling_error(self) -> float:
        """Return |J - J*|^2 / |J*|^2."""
        teacher = float(self.student.teacher @ self.student.teacher)
        return self._squared_error / teacher if teacher > 0.0 else math.nan
