"""Contacts from couplings: rank pairs of columns, compare with measured distances.

Score: Frobenius norm of the symmetrized blocks in the zero-sum gauge without the gap state, then
the average product correction, APC (Ekeberg et al., Phys. Rev. E 87, 012707, 2013; Dunn et al.,
Bioinformatics 24, 333, 2008).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import InputError, check_at_least, check_positive
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import average_product_correction, frobenius_score

Array = NDArray[np.float64]


@one_line
@dataclass(frozen=True, eq=False)
class Precision:
    """How many of the best-ranked pairs are contacts; NaN where there are too few pairs."""

    at: dict[str, float]  # "L/2", "L", "2L"
    area: float  # mean precision over ranks 1..2L
    n_pairs: int  # ranked pairs of known distance
    n_contacts: int
    curve: Array  # (n_pairs,), precision of the first 1, 2, ... pairs

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `pottsattn contacts`."""
        return {
            "precision": self.at,
            "area": self.area,
            "n_pairs": self.n_pairs,
            "n_contacts": self.n_contacts,
        }


@one_line
@dataclass(frozen=True, eq=False)
class ContactRanking:
    """Pairs of columns, best first. `first` < `second` are original column numbers."""

    first: NDArray[np.int32]  # (n_pairs,)
    second: NDArray[np.int32]  # (n_pairs,)
    score: Array  # (n_pairs,), Frobenius norm after APC, unless ranked without it
    frobenius: Array  # (n_pairs,), before
    length: int

    def distances(self, known: dict[tuple[int, int], float]) -> Array:
        """Return the distance of every pair, NaN where unknown."""
        pairs = zip(self.first.tolist(), self.second.tolist(), strict=True)
        return np.array([known.get(pair, np.nan) for pair in pairs])

    def precision(self, known: dict[tuple[int, int], float], cutoff: float = 8.0) -> Precision:
        """Return the precision against distances; pairs of unknown distance are left out.

        Parameters
        ----------
        known
            As returned by `read_distances`.
        cutoff
            A pair is a contact if its distance is below it; same unit, usually Angstrom.

        Raises
        ------
        InputError
            Not one of the pairs has a known distance.
        """
        check_positive("cutoff", cutoff)
        distance = self.distances(known)
        is_contact = distance[np.isfinite(distance)] < cutoff
        n_pairs = len(is_contact)
        if n_pairs == 0:
            raise InputError(
                f"no ranked pair (columns {self.first.min()}-{self.second.max()}) is among the "
                f"known distances (columns {_span(known)}); they must be numbered alike, from 1"
            )
        curve = np.cumsum(is_contact) / np.arange(1, n_pairs + 1)
        ranks = {"L/2": self.length // 2, "L": self.length, "2L": 2 * self.length}
        return Precision(
            at={
                name: float(curve[rank - 1]) if 0 < rank <= n_pairs else float("nan")
                for name, rank in ranks.items()
            },
            area=float(curve[: ranks["2L"]].mean()) if n_pairs >= ranks["2L"] else float("nan"),
            n_pairs=n_pairs,
            n_contacts=int(is_contact.sum()),
            curve=curve,
        )

    def to_csv(
        self,
        path: str | os.PathLike[str],
        known: dict[tuple[int, int], float] | None = None,
        null_pairs: Array | None = None,
    ) -> None:
        """Write rank, i, j, score, frobenius and, if given, distance (empty where unknown).

        `null_pairs`, as from `NullScores.n_expected`, is a column before the distance.
        """
        columns: dict[str, Any] = {
            "rank": range(1, len(self.score) + 1),
            "i": self.first,
            "j": self.second,
            "score": self.score,
            "frobenius": self.frobenius,
        }
        if null_pairs is not None:
            columns["null_pairs"] = null_pairs
        if known is not None:
            columns["distance"] = self.distances(known)
        write_csv(path, list(columns), zip(*columns.values(), strict=True))


def _span(known: dict[tuple[int, int], float]) -> str:
    numbers = [number for pair in known for number in pair]
    return f"{min(numbers)}-{max(numbers)}" if numbers else "none"


def score_map(fit: FitResult, *, apc: bool = True, with_gap: bool = False) -> Array:
    """Return the score of every pair, shape (length, length), zero diagonal."""
    score = frobenius_score(fit.couplings, gap_index=None if with_gap else fit.gap_index)
    return average_product_correction(score) if apc else score


def rank_contacts(
    fit: FitResult, *, min_separation: int = 6, apc: bool = True, with_gap: bool = False
) -> ContactRanking:
    """Return the pairs of columns at least `min_separation` apart, highest score first.

    Parameters
    ----------
    fit
        A fit with couplings, of any method.
    min_separation
        Least j - i in original column numbers.
    apc
        Rank after the average product correction, which takes all pairs; otherwise by the norm.
    with_gap
        Keep the gap state in the norm.

    Raises
    ------
    InputError
        No pair is that far apart.
    """
    check_at_least("min_separation", min_separation, 1)
    frobenius = score_map(fit, apc=False, with_gap=with_gap)
    score = average_product_correction(frobenius) if apc else frobenius
    columns = np.arange(1, fit.length + 1) if fit.columns is None else fit.columns
    i, j = np.triu_indices(fit.length, 1)
    far = columns[j] - columns[i] >= min_separation
    i, j = i[far], j[far]
    if len(i) == 0:
        raise InputError(f"no pair of columns is {min_separation} apart; lower min_separation")
    order = np.argsort(-score[i, j], kind="stable")
    i, j = i[order], j[order]
    return ContactRanking(
        columns[i].astype(np.int32),
        columns[j].astype(np.int32),
        score[i, j],
        frobenius[i, j],
        fit.length,
    )


def missing_columns(fit: FitResult) -> list[int]:
    """Return original column numbers between the first and the last that the fit does not have."""
    if fit.columns is None:
        return []
    kept = set(fit.columns.tolist())
    return [column for column in range(min(kept), max(kept)) if column not in kept]
