"""One- and two-site statistics of two data sets side by side, such as a family and its model.

Weighted f_i(a), and connected pair correlations c_ij(a, b) = f_ij(a, b) - f_i(a) f_j(b), i < j.
The difference that sampling alone explains is the root mean square of the standard errors, with

    var f_i(a) = f (1 - f) / M_eff,    var c_ij(a, b) = (E[(x - f_i)^2 (y - f_j)^2] - c^2) / M_eff

of both data sets together, x and y the indicators of a at i and b at j. Sequences are taken as
independent within their effective size.

Reference: M. Figliuzzi, P. Barrat-Charlaix, M. Weigt, How pairwise coevolutionary models capture
the collective residue variability in proteins, Mol. Biol. Evol. 35, 1018 (2018).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import InputError
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sites import on_sites_of

Array = NDArray[np.float64]
KEPT_PAIRS = 200_000  # values of c_ij(a, b) that are kept for a figure


@dataclass(frozen=True)
class Agreement:
    """How values of one data set agree with those of another; NaN where all are equal."""

    n_values: int
    pearson: float
    slope: float  # least squares, of the second data set against the first
    rms_difference: float
    expected_difference: float  # by sampling alone

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of one kind of statistics."""
        return vars(self).copy()


@one_line
@dataclass(frozen=True, eq=False)
class MomentComparison:
    """Frequencies and connected correlations of two data sets, the first the reference."""

    site: Agreement
    pair: Agreement
    site_values: tuple[Array, Array]  # f_i(a), each (L, C)
    pair_values: tuple[Array, Array]  # c_ij(a, b), each (n,), a random part if there are many
    alphabet: str
    columns: NDArray[np.int32]  # (L,)

    def to_dict(self) -> dict[str, Any]:
        """Return {"site": {...}, "pair": {...}}, the JSON of `pottsattn statistics`."""
        return {"site": self.site.to_dict(), "pair": self.pair.to_dict()}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write column, state and both frequencies, one row per f_i(a)."""
        n_states = self.site_values[0].shape[1]
        letters = list(self.alphabet) or [str(state) for state in range(n_states)]
        rows = (
            (column, letters[state], first[state], second[state])
            for column, first, second in zip(self.columns, *self.site_values, strict=True)
            for state in range(n_states)
        )
        write_csv(path, ["column", "state", "frequency", "other_frequency"], rows)

    def __str__(self) -> str:
        return "\n".join(
            f"{name}: Pearson {found.pearson:.4f}, slope {found.slope:.3f}, rms difference "
            f"{found.rms_difference:.2e} ({found.expected_difference:.2e} by sampling alone)"
            for name, found in (
                ("site frequencies", self.site),
                ("connected pair correlations", self.pair),
            )
        )


def compare_moments(first: SequenceDataset, second: SequenceDataset) -> MomentComparison:
    """Return frequencies and connected correlations of two data sets, and how they agree.

    Parameters
    ----------
    first
        The reference, such as the family.
    second
        Such as sequences sampled from a fit to the first.

    Raises
    ------
    InputError
        The data sets differ in length, number of states, alphabet or columns.
    """
    if first.alphabet and first.alphabet == second.alphabet and first.length == second.length:
        try:
            second = on_sites_of(second, first)
        except InputError as error:
            raise InputError(
                "the two data sets differ in columns; statistics need the same"
            ) from error
    for what in ("length", "n_states", "alphabet", "columns"):
        ours, theirs = getattr(first, what), getattr(second, what)
        if not np.array_equal(ours, theirs):
            found = "" if what == "columns" else f": {ours!r} and {theirs!r}"
            raise InputError(f"the two data sets differ in {what}{found}; statistics need the same")
    sizes = first.effective_size, second.effective_size
    ours, theirs = first.site_frequencies(), second.site_frequencies()
    site, pair = _Sums(), _Sums()
    mean = (ours + theirs) / 2.0
    site.add(ours, theirs, mean * (1.0 - mean))
    kept: list[tuple[Array, Array]] = []
    n_pairs = first.length * (first.length - 1) // 2
    share = min(1.0, KEPT_PAIRS / (n_pairs * first.n_states**2))
    rng = np.random.default_rng(0)
    for i in range(first.length - 1):
        joint = [data.pair_frequencies(i, first=i + 1) for data in (first, second)]
        x, y = (
            block - frequencies[i][None, :, None] * frequencies[i + 1 :, None, :]
            for block, frequencies in zip(joint, (ours, theirs), strict=True)
        )
        pair.add(x, y, _variance((joint[0] + joint[1]) / 2.0, mean[i], mean[i + 1 :]))
        chosen = slice(None) if share == 1.0 else rng.random(x.shape) < share
        kept.append((x[chosen].ravel(), y[chosen].ravel()))
    return MomentComparison(
        site=site.agreement(sizes),
        pair=pair.agreement(sizes),
        site_values=(ours, theirs),
        pair_values=tuple(np.concatenate(values) for values in zip(*kept, strict=True)),  # type: ignore[arg-type]
        alphabet=first.alphabet,
        columns=np.asarray(first.columns),
    )


def _variance(joint: Array, own: Array, others: Array) -> Array:
    """Return M var c_ij(a, b) of one site i and several j, shape (n, C, C)."""
    p, q = own[None, :, None], others[:, None, :]
    square = joint * (1.0 - 2.0 * p) * (1.0 - 2.0 * q)
    square += p * (1.0 - 2.0 * p) * q**2 + q * (1.0 - 2.0 * q) * p**2 + (p * q) ** 2
    return square - (joint - p * q) ** 2


class _Sums:
    """Running sums over values of two data sets."""

    def __init__(self) -> None:
        self.n_values = 0
        self.sums = np.zeros(7)

    def add(self, x: Array, y: Array, variance: Array) -> None:
        self.n_values += x.size
        products = (np.vdot(x, x), np.vdot(y, y), np.vdot(x, y))
        self.sums += [x.sum(), y.sum(), *products, ((x - y) ** 2).sum(), variance.sum()]

    def agreement(self, sizes: tuple[float, float]) -> Agreement:
        x, y, xx, yy, xy, square, variance = self.sums / self.n_values
        own, other, common = xx - x * x, yy - y * y, xy - x * y
        scale = math.sqrt(max(own, 0.0) * max(other, 0.0))
        return Agreement(
            n_values=self.n_values,
            pearson=float(common / scale) if scale > 0.0 else math.nan,
            slope=float(common / own) if own > 0.0 else math.nan,
            rms_difference=math.sqrt(square),
            expected_difference=math.sqrt(variance * (1.0 / sizes[0] + 1.0 / sizes[1])),
        )
