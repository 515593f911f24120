"""Potts models of areas, and how far learned interactions stay inside them.

The sites are divided into areas, and only sites of one area interact:

    A_ij = g / (n - 1)    for i != j in one area of n sites,    A_ij = 0 between areas,    U = I,

so that sum_j A_ij = g at every site of every area. Each area is a Potts model on a complete graph.
In the limit of many sites it orders at once at

    g_c = 2 (C - 1) / (C - 2) log(C - 1),    g_c = 2 for C = 2,

and its paramagnet, at least as a metastable state, ends at g = C. In the paramagnet the correlation
of two sites of an area falls as 1 / n, and the sum of them over an area stays of order one; in the
ordered phase the correlation itself does.

References: Wu, Rev. Mod. Phys. 54, 235 (1982), the mean-field theory; Ellis, Wang, Stoch. Proc.
Appl. 35, 59 (1990), the transition of the complete graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp

from pottsattn._core.validate import (
    InputError,
    check_array,
    check_at_least,
    check_choice,
    check_generator,
    check_n_states,
    check_nonnegative,
)
from pottsattn.model.couplings import Couplings
from pottsattn.model.potts import PottsModel
from pottsattn.spatial.areas import GLOBAL

Array = NDArray[np.float64]
INTERACTIONS = ("equal", "gaussian")


@dataclass(frozen=True, eq=False)
class AreaShare:
    """The share of a row of interactions that lies in the own area of its site.

    Attributes
    ----------
    sites : array, shape (length,)
        sum_{j in own area} |A_ij| / sum_{j != i} |A_ij|, summed over heads; NaN for a row of zeros.
    global_share, local_share : float
        Means over the sites of the global and of the local areas; NaN if there are none, or for a
        row of zeros among them.
    global_chance, local_chance : float
        The same means where all |A_ij| are equal: (n - 1) / (length - 1) in an area of n sites.
    """

    sites: Array
    global_share: float
    local_share: float
    global_chance: float
    local_chance: float

    def __repr__(self) -> str:
        return (
            f"AreaShare(global {self.global_share:.3f} (chance {self.global_chance:.3f}), "
            f"local {self.local_share:.3f} (chance {self.local_chance:.3f}))"
        )


def check_areas(areas: ArrayLike) -> NDArray[np.int64]:
    """Return the area of every site, shape (length,), as integers; every area has two sites.

    Raises
    ------
    InputError
        Another shape or kind, a negative number, or an area of one site, which has no neighbors.
    """
    array = np.asarray(areas)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) < 2:
        raise InputError(
            f"areas must be a 1-d array of integers, one for each of at least 2 sites, got shape "
            f"{array.shape}, dtype {array.dtype}"
        )
    labels, counts = np.unique(array, return_counts=True)
    if labels[0] < 0:
        raise InputError(f"areas must be numbered from 0, the global area; found {labels[0]}")
    if counts.min() < 2:
        alone = labels[np.argmin(counts)]
        raise InputError(f"area {alone} has one site, which nothing interacts with; merge areas")
    return array.astype(np.int64)


def area_model(
    areas: ArrayLike,
    coupling: float,
    n_states: int,
    *,
    interactions: str = "equal",
    rng: np.random.Generator | int | None = None,
) -> PottsModel:
    """Return the Potts model whose sites interact within their area only.

    Parameters
    ----------
    areas : integers, shape (length,)
        The area of every site: 0 is the global one, 1, 2, ... are local.
    coupling
        g >= 0, in units of k_B T, the same for all areas; see `ordering_coupling`.
    n_states
        C.
    interactions
        "equal": A_ij = g / (n - 1) in an area of n sites. "gaussian": A_ij = A_ji of either sign,
        Normal(0, g^2 / (n - 1)), in each area an SK-Potts model.
    rng
        Generator or seed of Gaussian interactions.

    Raises
    ------
    InputError
        A wrong option, or an area of one site.

    Examples
    --------
    >>> area_model([0, 0, 0, 1, 1], 1.0, n_states=3)
    PottsModel(areas, length=5, n_states=3, factored, heads=1)
    """
    labels = check_areas(areas)
    g = check_nonnegative("coupling", coupling)
    check_n_states(n_states)
    check_choice("interactions", interactions, INTERACTIONS)
    neighbors = np.bincount(labels)[labels] - 1.0  # (L,)
    inside = labels[:, None] == labels
    np.fill_diagonal(inside, False)
    if interactions == "equal":
        a = np.where(inside, g / neighbors[:, None], 0.0)
    else:
        normal = np.triu(check_generator(rng).normal(size=inside.shape), 1)
        a = np.where(inside, (normal + normal.T) * (g / np.sqrt(neighbors[:, None])), 0.0)
    return PottsModel(
        np.zeros((len(labels), n_states)),
        Couplings(a[None], np.eye(n_states)[None]),
        ensemble="areas",
        coupling_scale=g,
    )


def ordering_coupling(n_states: int) -> float:
    """Return g_c, at which an area of many sites orders, in units of k_B T.

    Continuously for two states, at once for more.
    """
    if check_n_states(n_states) == 2:
        return 2.0
    return 2.0 * (n_states - 1) / (n_states - 2) * math.log(n_states - 1)


def area_correlation(n_sites: int, coupling: float, n_states: int) -> float:
    """Return the exact correlation of two sites of one area with equal interactions.

    The correlation is (C P(s_i = s_j) - 1) / (C - 1): 0 if independent, 1 if always equal. With
    n_a sites in state a the energy is -sum_a J n_a (n_a - 1) / 2, J = g / (n - 1), so that Z is a
    convolution over states, and P(s_i = s_j) = d log Z / dJ / (n (n - 1) / 2).
    """
    n = check_at_least("n_sites", n_sites, 2)
    j = check_nonnegative("coupling", coupling) / (n - 1)
    counts = np.arange(n + 1)
    pairs = counts * (counts - 1) / 2.0
    weights = j * pairs - gammaln(counts + 1.0)  # of a sites in one state, log
    log_z = np.where(counts == 0, 0.0, -np.inf)  # of m sites in the states so far
    mean_pairs = np.zeros(n + 1)
    for _ in range(check_n_states(n_states)):
        terms = [log_z[m::-1] + weights[: m + 1] for m in counts]
        found = np.array([logsumexp(each) for each in terms])
        mean_pairs = np.array(
            [
                np.exp(each - norm) @ (mean_pairs[m::-1] + pairs[: m + 1])
                for m, (each, norm) in enumerate(zip(terms, found, strict=True))
            ]
        )
        log_z = found
    agreement = mean_pairs[n] / pairs[n]
    return float((n_states * agreement - 1.0) / (n_states - 1.0))


def own_area_share(weights: ArrayLike, areas: ArrayLike) -> AreaShare:
    """Return the share of every row of interactions that lies in the own area of its site.

    Parameters
    ----------
    weights : shape (length, length) or (n_heads, length, length)
        A_ij, free or softmax; the diagonal is not looked at.
    areas : integers, shape (length,)
        The area of every site: 0 is the global one.

    Raises
    ------
    InputError
        Wrong shapes, or an area of one site.
    """
    labels = check_areas(areas)
    length = len(labels)
    array = np.asarray(weights, dtype=np.float64)
    array = array[None] if array.ndim == 2 else array
    sizes = np.abs(check_array("weights", array, (None, length, length))).sum(axis=0)  # (L, L)
    np.fill_diagonal(sizes, 0.0)
    own = np.where(labels[:, None] == labels, sizes, 0.0).sum(axis=1)
    total = sizes.sum(axis=1)
    shares = np.divide(own, total, out=np.full(length, np.nan), where=total > 0.0)
    chance = (np.bincount(labels)[labels] - 1.0) / (length - 1.0)
    means = [
        float(values[sites].mean()) if sites.any() else math.nan
        for values in (shares, chance)
        for sites in (labels == GLOBAL, labels != GLOBAL)
    ]
    return AreaShare(shares, *means)
