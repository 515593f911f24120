"""Spans of color matrices: when all of H dimensions are alike, and what their anisotropy costs.

For a teacher U = P and B_h orthonormal, the test loss of a student depends on its span through

    Delta = (C - 1) / H sum_h B_h B_h^T - P            (zero trace).

If Delta = 0 and P is in the span, the order parameters stay multiples of P, and exactly

    heads(H; alpha, ridge) = heads(1; alpha / H, ridge / H).

The change is of second order in Delta: a term linear in it would have to be invariant under
permutations of the colors, and the only such functional of a symmetric matrix is its trace. At
large alpha, with Delta of any size,

    test - law = v^2 ( E tr(S Delta S Delta) / 2 - 3 E kappa4[Delta, Delta] / 8 )
                 + 3 b^T A^-1 b / 2 + O(alpha^-3),        v = H / (alpha kappa),
    A_hg = E (B_h u)^T S (B_g u),        b_h = -v E (B_h u)^T kappa3[Delta] / 2.

u are the Bayes fields, kappa = E[1 - p_y]; S, kappa3 and kappa4 are the cumulants of the color
under p = softmax(u), contracted with Delta. The term in b comes from a bias A^-1 b of the
couplings; it is a few percent of the rest.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235 (the model).
Derived in docs/theory_heads.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import InputError, check_array, check_positive
from pottsattn.theory.colors.fields import MAX_COLORS, finest_nodes, zero_sum_directions
from pottsattn.theory.ensemble import check_paramagnetic

Array = NDArray[np.float64]

SPAN_TOLERANCE = 1e-9
DEPENDENT = 1e-10  # singular values below this, relative to the largest, add no dimension


def check_color_matrices(color_matrices: ArrayLike) -> Array:
    """Return color matrices as an array (H, C, C).

    Raises
    ------
    InputError
        Another shape, not 2 to `MAX_COLORS` colors, or none with a zero-sum part.
    """
    matrices = check_array("color_matrices", color_matrices, (None, None, None))
    n_heads, n_states, n_sources = matrices.shape
    if n_heads == 0 or n_states != n_sources or not 2 <= n_states <= MAX_COLORS:
        raise InputError(
            f"color_matrices must have shape (H, C, C) with C from 2 to {MAX_COLORS}, got "
            f"{matrices.shape}: products of Gaussian nodes grow too many beyond; for more colors "
            "use learning_curve and the capacity law"
        )
    if np.abs(_reduced(matrices)).max() <= 1e-12 * np.abs(matrices).max():
        raise InputError("color_matrices must have a zero-sum part, found constant rows or columns")
    return matrices


def orthogonal_basis(color_matrices: Array) -> Array:
    """Return B_h with |B_h|^2 = C - 1 that span the zero-sum parts, shape (H, C - 1, C - 1).

    H is the dimension of the span; coordinates are those of `zero_sum_directions`.
    """
    n = color_matrices.shape[-1] - 1
    flat = _reduced(color_matrices).reshape(-1, n * n)
    _, sizes, rows = np.linalg.svd(flat, full_matrices=False)
    kept: Array = rows[sizes > DEPENDENT * sizes[0]] * math.sqrt(n)
    return kept.reshape(-1, n, n)


def span_anisotropy(color_matrices: ArrayLike) -> Array:
    """Return Delta = (C - 1) / H sum_h B_h B_h^T - P of a span, shape (C, C).

    The capacity law heads(H; alpha, ridge) = heads(1; alpha / H, ridge / H) is exact where it
    vanishes and the span contains the zero-sum part of the identity.

    Parameters
    ----------
    color_matrices : array_like, shape (H, C, C)
        Matrices B_h, indexed [h, target, source]; only the span of their zero-sum parts counts.

    Raises
    ------
    InputError
        As `check_color_matrices`.

    Examples
    --------
    >>> bool(np.allclose(span_anisotropy([np.eye(3)]), 0.0))
    True
    """
    matrices = check_color_matrices(color_matrices)
    directions = zero_sum_directions(matrices.shape[-1])
    anisotropy: Array = directions @ _anisotropy(orthogonal_basis(matrices)) @ directions.T
    return anisotropy


def anisotropy_cost(color_matrices: ArrayLike, coupling_scale: float, alpha: float) -> float:
    """Return test loss minus capacity law of a span, to order alpha^-2, in nats per site.

    Parameters
    ----------
    color_matrices : array_like, shape (H, C, C)
        A span that contains the zero-sum part of the teacher U = I.
    coupling_scale : float
        J of the SK-Potts teacher, above 0 and in its paramagnetic phase.
    alpha : float
        Sequences per site, well above H.

    Returns
    -------
    float
        The formula of this module.

    Raises
    ------
    InputError
        As `check_color_matrices`; a number that is not above 0, a coupling scale that is not below
        C, or a span that leaves out the teacher.
    """
    matrices = check_color_matrices(color_matrices)
    n_states = matrices.shape[-1]
    scale = check_paramagnetic(n_states, check_positive("coupling_scale", coupling_scale))
    basis = orthogonal_basis(matrices)
    held = float((np.trace(basis, axis1=1, axis2=2) ** 2).sum()) / (n_states - 1) ** 2
    if abs(held - 1.0) > SPAN_TOLERANCE:
        raise InputError(
            f"color_matrices must span P = I - 1/C, found a fraction {held:.6f} of its square: add "
            "the identity, or use heads_curve"
        )
    rho = scale**2 / n_states
    anisotropy = _anisotropy(basis)
    directions = zero_sum_directions(n_states)
    nodes, weights = finest_nodes(n_states)
    y = np.repeat(np.arange(n_states), len(nodes))
    weights = np.tile(weights, n_states) / n_states
    u = rho * directions[y] + math.sqrt(rho) * np.tile(nodes, (n_states, 1))
    p = np.exp(u @ directions.T)
    p /= p.sum(axis=1, keepdims=True)
    steps = directions - (p @ directions)[:, None, :]  # (n_nodes, C, C - 1)
    squares = np.einsum("mai,ij,maj->ma", steps, anisotropy, steps, optimize=True)
    S = np.einsum("ma,mai,maj->mij", p, steps, steps, optimize=True)
    twisted = S @ anisotropy
    pair = np.einsum("mij,mji->m", twisted, twisted)
    kappa4 = (p * squares**2).sum(axis=1) - np.einsum("mii->m", twisted) ** 2 - 2.0 * pair
    kappa = float(weights @ np.einsum("mii->m", S))
    v = len(basis) / (check_positive("alpha", alpha) * kappa)
    spread = v**2 * float(weights @ (0.5 * pair - 0.375 * kappa4))
    kappa3 = np.einsum("ma,mai,ma->mi", p, steps, squares, optimize=True)
    seen = np.einsum("hab,mb->mha", basis, u)
    A = np.einsum("m,mha,mab,mgb->hg", weights, seen, S, seen, optimize=True)
    b = -0.5 * v * np.einsum("m,mha,ma->h", weights, seen, kappa3, optimize=True)
    return spread + 1.5 * float(b @ np.linalg.solve(A, b))


def _anisotropy(basis: Array) -> Array:
    squared: Array = np.einsum("hab,hcb->ac", basis, basis) / len(basis)
    return squared - np.eye(len(squared))


def _reduced(matrices: Array) -> Array:
    directions = zero_sum_directions(matrices.shape[-1])
    reduced: Array = directions.T @ matrices @ directions
    return reduced
