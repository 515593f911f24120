"""Penalties and objectives of other pseudo-likelihood programs, in ours and back.

Every program minimizes the sum over sites of the same loss under plain squares; what differs is the
scale of the data and what a penalty counts. With K = M_eff where the data term is a weighted sum
over sequences and K = 1 where it is the weighted mean, the objective is

    K sum_i mean_m[-log P(s_i | s_-i)] + c lambda_J sum_{i != j} |J_ij|^2_F
                                       + d lambda_h sum_i |h_i|^2,

where a joint fit has one block per pair of sites, so that c = 1/2 counts each block once. Ours has
K = c = d = 1, hence couplings_l2 = c lambda_J / K and fields_l2 = d lambda_h / K.

References: the sources of plmc 18c9e55, CCMpred 2919b9c, pydca 2ce3953 and PlmDCA.jl 22f80bf.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import (
    InputError,
    check_array,
    check_at_least,
    check_choice,
    check_kind,
    check_nonnegative,
    check_positive,
)
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.losses import site_losses
from pottsattn.fitting.penalty import DEFAULT_RIDGE, FIELDS_L2, Penalty
from pottsattn.model.couplings import Couplings, zero_sum_projector

Array = NDArray[np.float64]
SYMMETRY_TOLERANCE = 1e-6  # of the largest coupling


@dataclass(frozen=True)
class _Convention:
    """What a program's numbers mean, in the symbols of the module."""

    sums_sequences: bool  # K = M_eff
    is_joint: bool  # c = 1/2
    fields_factor: float  # d
    defaults: Callable[[int], tuple[float, float]]  # of (couplings, fields), from the length

    def data_scale(self, effective_size: float) -> float:
        return effective_size if self.sums_sequences else 1.0

    @property
    def couplings_factor(self) -> float:
        return 0.5 if self.is_joint else 1.0


_TABLE = {
    "pottsattn": _Convention(False, False, 1.0, lambda _: (np.nan, FIELDS_L2)),
    "ridge": _Convention(False, False, 1.0, lambda _: (DEFAULT_RIDGE, FIELDS_L2)),
    "plmc": _Convention(True, True, 1.0, lambda _: (100.0, 0.01)),
    "ccmpred": _Convention(True, True, 1.0, lambda length: (0.2 * (length - 1), 0.01)),
    "pydca": _Convention(True, True, 1.0, lambda length: (0.2 * (length - 1),) * 2),
    "plmdca": _Convention(False, False, 2.0, lambda _: (0.01, 0.01)),
}
CONVENTIONS = tuple(_TABLE)


def penalty_from(
    convention: str, couplings: float, fields: float, *, length: int, effective_size: float
) -> Penalty:
    """Return our penalty that equals another program's.

    Parameters
    ----------
    convention
        "plmc" (`-le`, `-lh`), "ccmpred" (pair, single), "pydca" (lambda_J, lambda_h) or "plmdca"
        (PlmDCA.jl, asymmetric: lambdaJ, lambdaH); "ridge" (the theory's ridge, fields_l2);
        "pottsattn" (couplings_l2, fields_l2).
    couplings, fields
        The strengths in that program.
    length, effective_size
        L and M_eff of the data: the sum of the weights, by the rule of that program.

    Raises
    ------
    InputError
        An unknown convention or a negative number.

    Examples
    --------
    >>> penalty_from("plmc", 10.0, 10.0, length=50, effective_size=2000.0)
    Penalty(couplings_l2=0.0025, fields_l2=0.005)
    """
    couplings_unit, fields_unit = _units(convention, length, effective_size)
    return Penalty(
        check_nonnegative(f"couplings of {convention}", couplings) * couplings_unit,
        check_nonnegative(f"fields of {convention}", fields) * fields_unit,
    )


def penalty_to(
    convention: str, penalty: Penalty, *, length: int, effective_size: float
) -> tuple[float, float]:
    """Return the strengths (couplings, fields) of a program that equal our penalty.

    The inverse of `penalty_from`, with the same conventions.

    Examples
    --------
    >>> penalty_to("plmc", Penalty(0.0025, 0.005), length=50, effective_size=2000.0)
    (10.0, 10.0)
    """
    couplings_unit, fields_unit = _units(convention, length, effective_size)
    return penalty.couplings_l2 / couplings_unit, penalty.fields_l2 / fields_unit


def default_strengths(convention: str, length: int) -> tuple[float, float]:
    """Return the strengths (couplings, fields) a program uses when told nothing.

    The couplings of "pottsattn" are NaN: its default is a ridge, see "ridge".
    """
    check_choice("convention", convention, CONVENTIONS)
    return _TABLE[convention].defaults(check_at_least("length", length, 2))


def objective_in(
    convention: str,
    fields: ArrayLike,
    couplings: Couplings | ArrayLike,
    dataset: SequenceDataset,
    strengths: tuple[float, float],
) -> float:
    """Return the value a program's objective has at given parameters, in float64, nats.

    Parameters
    ----------
    convention
        As in `penalty_from`. PlmDCA.jl reports one value per site: this is their sum.
    fields : shape (length, n_states)
        h. CCMpred's have the gap at 0.
    couplings : Couplings, or array of shape (length, length, n_states, n_states)
        J with zero diagonal blocks; symmetric for plmc, CCMpred and pydca, which hold one block
        per pair. In "pottsattn" and "ridge" a factored J has the penalty of a factored fit,
        couplings_l2 / (C - 1) |P J_ij P|^2.
    dataset
        Its weights count; those of the program must be made by its own rule.
    strengths
        The penalties (couplings, fields) of that program.

    Raises
    ------
    InputError
        Parameters that do not fit the data or that the program cannot hold.
    """
    check_kind(
        "dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, n_states)"
    )
    check_choice("convention", convention, CONVENTIONS)
    rule = _TABLE[convention]
    penalty = penalty_from(
        convention, *strengths, length=dataset.length, effective_size=dataset.effective_size
    )
    h = check_array("fields", fields, (dataset.length, dataset.n_states))
    blocks = _check_couplings(couplings, dataset)
    if rule.is_joint:
        _check_symmetric(convention, blocks)
    gap = dataset.gap_index
    if convention == "ccmpred" and gap is not None and np.any(h[:, gap] != 0.0):
        raise InputError(
            "CCMpred fixes the field of the gap at 0: give fields - fields[:, [gap_index]], which "
            "is the same model"
        )
    is_factored_fit = convention in ("pottsattn", "ridge") and blocks.is_factored
    squares = _squares_of_factored(blocks) if is_factored_fit else _squares(blocks)
    per_sequence = float(site_losses(h, blocks, dataset).sum())
    per_sequence += penalty.couplings_l2 * squares + penalty.fields_l2 * float((h**2).sum())
    return rule.data_scale(dataset.effective_size) * per_sequence


def _units(convention: str, length: int, effective_size: float) -> tuple[float, float]:
    """Return our couplings_l2 and fields_l2 for strengths of 1."""
    rule = _TABLE[check_choice("convention", convention, CONVENTIONS)]
    check_at_least("length", length, 2)
    check_positive("effective_size", effective_size)
    scale = rule.data_scale(effective_size)
    couplings_unit = rule.couplings_factor / scale
    if convention == "ridge":
        couplings_unit = length / (2.0 * effective_size)
    return couplings_unit, rule.fields_factor / scale


def _check_couplings(couplings: Couplings | ArrayLike, dataset: SequenceDataset) -> Couplings:
    if not isinstance(couplings, Couplings):
        shape = (dataset.length,) * 2 + (dataset.n_states,) * 2
        couplings = Couplings(dense=check_array("couplings", couplings, shape))
    if (couplings.length, couplings.n_states) != (dataset.length, dataset.n_states):
        raise InputError(
            f"couplings have length {couplings.length} and {couplings.n_states} states, the data "
            f"{dataset.length} and {dataset.n_states}"
        )
    if np.any(couplings.diagonal() != 0.0):
        raise InputError("couplings of a site with itself must be 0; clear the diagonal")
    return couplings


def _check_symmetric(convention: str, couplings: Couplings) -> None:
    other = couplings.transposed()
    gap, largest = 0.0, 0.0
    for row, seen_back in zip(couplings.rows(), other.rows(), strict=True):
        gap = max(gap, float(np.abs(row - seen_back).max()))
        largest = max(largest, float(np.abs(row).max()))
    if gap > SYMMETRY_TOLERANCE * largest:
        raise InputError(
            f"{convention} holds one block per pair, but J_ij and J_ji differ by {gap:.3g}; give "
            "couplings.symmetrized()"
        )


def _squares(couplings: Couplings) -> float:
    """Return sum_{i != j} |J_ij|^2_F over ordered pairs."""
    return sum(float(np.vdot(row, row)) for row in couplings.rows())


def _squares_of_factored(couplings: Couplings) -> float:
    """Return sum_{i != j} |P J_ij P|^2_F / (C - 1), that of a factored fit."""
    interactions, color_similarity = couplings.factors()
    projector = zero_sum_projector(couplings.n_states)
    projected = projector @ color_similarity @ projector
    gram = np.einsum("hab,gab->hg", projected, projected)
    products = np.einsum("hij,gij->hg", interactions, interactions)
    return float((gram * products).sum()) / (couplings.n_states - 1)
