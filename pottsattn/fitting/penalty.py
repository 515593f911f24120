"""L2 penalties of a fit, in the one convention of the package (docs/conventions.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pottsattn._core.validate import InputError, check_nonnegative

if TYPE_CHECKING:
    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.data.sequence_file import SequenceFile

DEFAULT_RIDGE = 0.2  # on an alignment about CCMpred's 0.2 (L - 1)
FIELDS_L2 = 0.01


@dataclass(frozen=True)
class Penalty:
    """L2 penalties per sequence.

    The objective of site i is mean_m[-log P(s_i | s_-i)] + fields_l2 |h_i|^2 + R_i, with
    R_i = couplings_l2 sum_{j != i} |J_ij|^2_F for full blocks and
    R_i = couplings_l2 / (C - 1) sum_{j != i} |P J_ij P|^2_F for factored couplings.

    Raises
    ------
    InputError
        A negative penalty.
    """

    couplings_l2: float
    fields_l2: float = FIELDS_L2

    def __post_init__(self) -> None:
        check_nonnegative("couplings_l2", self.couplings_l2)
        check_nonnegative("fields_l2", self.fields_l2)

    def of(self, dataset: SequenceDataset | SequenceFile, share: float = 1.0) -> Penalty:
        """Return this penalty: it is the same for all data."""
        return self


@dataclass(frozen=True)
class Ridge:
    """The penalty on couplings in the units of the theory, which is another one for other data.

    Raises
    ------
    InputError
        A negative penalty.
    """

    ridge: float = DEFAULT_RIDGE
    fields_l2: float = FIELDS_L2

    def __post_init__(self) -> None:
        check_nonnegative("ridge", self.ridge)
        check_nonnegative("fields_l2", self.fields_l2)

    def of(self, dataset: SequenceDataset | SequenceFile, share: float = 1.0) -> Penalty:
        """Return the penalty for these data: couplings_l2 = ridge / (2 alpha share).

        `share` is that of the (sequence, site) pairs that count: not all do with static masks.
        """
        return Penalty(self.ridge / (2.0 * dataset.alpha * share), self.fields_l2)


def penalty_or_ridge(ridge: float | None, penalty: Penalty | Ridge | None) -> Penalty | Ridge:
    """Return what a fit was given: `ridge`, short for `Ridge(ridge)`, or `penalty`.

    Raises
    ------
    InputError
        Both.
    """
    if penalty is None:
        return Ridge() if ridge is None else Ridge(ridge)
    if ridge is not None:
        raise InputError("give either ridge or penalty, not both: penalty=Ridge(ridge, fields_l2)")
    return penalty
