"""Mean-field DCA: couplings from the inverse of the connected correlations.

With a share p of pseudocount, f_i(a) -> (1 - p) f_i(a) + p / C and, for i != j,
f_ij(a, b) -> (1 - p) f_ij(a, b) + p / C^2, the connected correlations without the last state

    Corr_ij(a, b) = f_ij(a, b) - f_i(a) f_j(b),    a, b < C - 1,  f_ii(a, b) = f_i(a) [a = b],

give, in the gauge in which the last state has zero fields and couplings,

    J_ij(a, b) = -(Corr^-1)_ij(a, b),
    h_i(a) = log(f_i(a) / f_i(C - 1)) - sum_{j != i, b} J_ij(a, b) f_j(b).

Which state is left out does not matter: in the zero-sum gauge the answer is the same.

Reference: Morcos et al., Proc. Natl. Acad. Sci. USA 108, E1293 (2011).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpocon, dpotrf, dpotri
from threadpoolctl import threadpool_limits

from pottsattn._core.stopwatch import Stopwatch
from pottsattn._core.validate import InputError, check_kind, check_nonnegative
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.losses import site_losses
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.training_record import TrainingRecord
from pottsattn.model.couplings import Couplings

Array = NDArray[np.float64]
DEFAULT_PSEUDOCOUNT = 0.5


def fit_mean_field(
    dataset: SequenceDataset, *, pseudocount: float = DEFAULT_PSEUDOCOUNT
) -> FitResult:
    """Return the mean-field couplings and fields of a data set.

    Parameters
    ----------
    dataset
        Weighted sequences; the true model, if any, is not looked at.
    pseudocount
        Share p of uniform statistics mixed into the frequencies, 0 <= p < 1. Morcos et al. use 0.5.

    Returns
    -------
    FitResult
        Method "mf", symmetric, zero for the last state. Nothing is minimized: `train_loss` and
        `objective` are the pseudo-likelihood at these parameters, without penalty;
        `gradient_norm` and `optimality_gap` are NaN.

    Raises
    ------
    InputError
        A pseudocount out of range, or correlations that cannot be inverted.
    """
    check_kind(
        "dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, n_states)"
    )
    if check_nonnegative("pseudocount", pseudocount) >= 1.0:
        raise InputError(f"pseudocount must be below 1, got {pseudocount}: it is a share")
    watch = Stopwatch()
    # One thread of BLAS: the same bits everywhere, and on a busy machine 50 times faster.
    with threadpool_limits(limits=1, user_api="blas"):
        fields, couplings = _solve(dataset, pseudocount)
        losses = site_losses(fields, couplings, dataset)
    length, kept = dataset.length, dataset.n_states - 1
    return FitResult(
        method="mf",
        fields=fields,
        couplings=couplings,
        n_sequences=dataset.n_sequences,
        effective_size=dataset.effective_size,
        objective=float(losses.sum()),
        train_loss=float(losses.mean()) / dataset.observed_share,
        penalty=Penalty(0.0, 0.0),
        gradient_norm=np.nan,
        optimality_gap=np.nan,
        n_evaluations=1,
        n_parameters=length * kept + length * (length - 1) // 2 * kept**2,
        seconds=watch.seconds,
        compile_seconds=watch.compile_seconds,
        converged=True,
        message=f"mean-field equations solved, pseudocount {pseudocount:g}",
        symmetric=True,
        gauge="lattice gas: zero for the last state",
        alphabet=dataset.alphabet,
        gap_index=dataset.gap_index,
        columns=dataset.columns,
        numbering=dataset.numbering,
        gap_policy=dataset.gap_policy,
        training=TrainingRecord.of(dataset),
        config={"fields": "learned", "pseudocount": pseudocount},
        origin={"data": dataset.origin},
    )


def _solve(dataset: SequenceDataset, pseudocount: float) -> tuple[Array, Couplings]:
    """Return (fields, couplings), zero for the last state."""
    length, n_states = dataset.length, dataset.n_states
    frequencies = (1.0 - pseudocount) * dataset.site_frequencies() + pseudocount / n_states
    inverse = _inverse(_connected_correlations(dataset, frequencies, pseudocount), pseudocount)
    kept = n_states - 1
    dense = np.zeros((length, length, n_states, n_states))
    dense[:, :, :kept, :kept] = -inverse.reshape(length, kept, length, kept).transpose(0, 2, 1, 3)
    sites = np.arange(length)
    dense[sites, sites] = 0.0
    couplings = Couplings(dense=dense)
    fields = np.log(frequencies / frequencies[:, -1:])
    fields -= np.stack([np.einsum("jab,jb->a", row, frequencies) for row in couplings.rows()])
    return fields, couplings


def solving_bytes(length: int, n_states: int) -> int:
    """Return the bytes of the solution: correlations, which become their inverse, and a copy.

    The couplings are there too, their zeros not yet written while there is a second copy.
    """
    return 8 * (2 * (length * (n_states - 1)) ** 2 + (length * n_states) ** 2)


def _connected_correlations(
    dataset: SequenceDataset, frequencies: Array, pseudocount: float
) -> Array:
    """Return the lower triangle of Corr, shape (L (C - 1), L (C - 1)), Fortran order."""
    length, n_states = frequencies.shape
    kept = n_states - 1
    size = length * kept
    correlations = np.zeros((size, size), order="F")
    for i in range(length):
        pairs = dataset.pair_frequencies(i, first=i + 1)[:, :kept, :kept]  # (L - i - 1, a, b)
        pairs = (1.0 - pseudocount) * pairs + pseudocount / n_states**2
        pairs -= frequencies[i, :kept, None] * frequencies[i + 1 :, None, :kept]
        columns = slice(i * kept, (i + 1) * kept)
        correlations[(i + 1) * kept :, columns] = pairs.transpose(0, 2, 1).reshape(-1, kept)
        own = frequencies[i, :kept]
        correlations[columns, columns] = np.diag(own) - np.outer(own, own)
    return correlations


def _inverse(correlations: Array, pseudocount: float) -> Array:
    """Return the inverse of a symmetric matrix given by its lower triangle, which is overwritten.

    Raises
    ------
    InputError
        It is not positive definite within rounding.
    """
    size = len(correlations)
    sizes = np.abs(correlations)
    norm = float((sizes.sum(axis=0) + sizes.sum(axis=1) - sizes.diagonal()).max())
    factor, info = dpotrf(correlations, lower=1, clean=0, overwrite_a=1)
    if info == 0:
        reciprocal_condition, _ = dpocon(factor, norm, uplo="L")
    if info != 0 or reciprocal_condition < size * np.finfo(np.float64).eps:
        raise InputError(
            "the correlations cannot be inverted (states that never occur, or too few sequences); "
            f"raise pseudocount above {pseudocount:g}"
        )
    inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
    inverse += np.tril(inverse, -1).T  # the upper triangle was zero all along
    return inverse
