"""Factored attention trained on sequences with areas, and its concentration on them by the step.

The layer is that of `pottsattn.fitting.masked.attention`, with one head and without fields. Softmax
attention starts from S = 0, uniform attention, as the spatial layer starts from Q = 0. With
A_ij = g / (n - 1) in an area of n sites all rows of A have the sum g, so softmax attention with
U = g I is the true model when every row is uniform over its own area. Free attention starts from
A = 0 with U = I.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.display import Progress
from pottsattn._core.validate import InputError, check_generator
from pottsattn._core.verdict import stated
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.fit import DEFAULTS, train_masked
from pottsattn.fitting.result import FitResult
from pottsattn.spatial.potts_areas import AreaShare, check_areas, own_area_share
from pottsattn.training.recipe import Recipe

Array = NDArray[np.float64]
ENTRIES = 40  # of the trace, evenly spaced in the logarithm of the step


@dataclass(frozen=True, eq=False, repr=False)
class PottsAreaTraining:
    """A layer trained on sequences with areas.

    Attributes
    ----------
    fit : FitResult
        With `converged` and `message`.
    areas : integer array, shape (length,)
        The area of every site: 0 is the global one.
    interactions : array, shape (length, length)
        A_ij learned, or attention a_ij; zero diagonal.
    share : AreaShare
        Of `interactions`.
    steps : integer array, shape (n,)
        From 0; fewer than asked for if the training was interrupted.
    global_shares, local_shares : arrays, shape (n,)
        Means of the own-area share after these steps; NaN before the first step of free attention,
        where A = 0.
    """

    fit: FitResult
    areas: NDArray[np.int64]
    interactions: Array
    share: AreaShare
    steps: NDArray[np.int64]
    global_shares: Array
    local_shares: Array

    @property
    def converged(self) -> bool:
        """Whether the training converged."""
        return self.fit.converged

    @property
    def message(self) -> str:
        """How the training ended."""
        return self.fit.message

    def __repr__(self) -> str:
        state = stated(self.converged, self.message)
        return f"PottsAreaTraining({self.share!r}, {self.steps[-1]} steps, {state})"


def train_potts_areas(
    dataset: SequenceDataset,
    areas: ArrayLike,
    *,
    attention: str = "free",
    color_similarity: str | ArrayLike = "identity",
    recipe: Recipe | None = None,
    rng: np.random.Generator | int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> PottsAreaTraining:
    """Return one head of factored attention trained by masking, with its shares by the step.

    Parameters
    ----------
    dataset
        Sequences, such as those of `potts_areas.area_model`; fields are not learned.
    areas : integers, shape (length,)
        The area of every site, by which the shares are measured; the training does not see it.
    attention
        "free" or "softmax".
    color_similarity : str or array, shape (1, n_states, n_states)
        U, as in `FactoredAttention`.
    recipe, rng, progress, **options
        As in `train_masked`; without checkpoints.

    Raises
    ------
    InputError
        A wrong option, or areas of another number of sites.

    Warns
    -----
    ConvergenceWarning
        The training objective was still changing.
    """
    labels = check_areas(areas)
    if len(labels) != dataset.length:
        raise InputError(f"areas has {len(labels)} sites, the sequences {dataset.length}")
    recipe = (recipe or Recipe("adam")).completed(**DEFAULTS["attention"])
    seed = int(check_generator(rng).integers(2**63))
    generator = torch.Generator().manual_seed(seed)
    layer = FactoredAttention(
        dataset.length,
        dataset.n_states,
        attention=attention,
        color_similarity=color_similarity,
        fields="none",
        generator=generator,
    )
    with torch.no_grad():
        if attention == "softmax":
            layer.scores.zero_()
    recorded = set(np.geomspace(1, recipe.max_steps, ENTRIES).round().astype(int).tolist())
    trace = [(0, own_area_share(_attention(layer), labels))]

    def record(done: int, total: int) -> None:
        if done in recorded or done == total:
            trace.append((done, own_area_share(_attention(layer), labels)))
        if progress is not None:
            progress(done, total)

    fit = train_masked(dataset, layer, recipe=recipe, rng=seed, progress=record, **options)
    learned = _attention(layer)
    trace[-1] = (trace[-1][0], own_area_share(learned, labels))  # of the weights that are returned
    return PottsAreaTraining(
        fit=fit,
        areas=labels,
        interactions=learned,
        share=own_area_share(learned, labels),
        steps=np.array([step for step, _ in trace]),
        global_shares=np.array([share.global_share for _, share in trace]),
        local_shares=np.array([share.local_share for _, share in trace]),
    )


@torch.no_grad()
def _attention(layer: FactoredAttention) -> Array:
    weights: Array = layer.attention_weights()[0].double().cpu().numpy()
    return weights
