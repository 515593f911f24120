"""Gradient descent on the spatial system: steps, traces, attention maps, checkpoints.

Step t draws its inputs from the seed and t alone, so that the correlations, t and the traces are
all that a killed run needs to go on to the same bits.

Reference: Huang, Wen, Chi, Liang, arXiv:2403.02233; the project's own choices are named in
docs/spatial.md.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.checkpoint import CheckpointLike
from pottsattn._core.display import Progress
from pottsattn._core.validate import check_seed
from pottsattn.spatial.areas import PatchAreas
from pottsattn.spatial.mean_field import MeanField
from pottsattn.spatial.measures import mean_correlations, measure, rate_ratio
from pottsattn.spatial.objectives import (
    AreaLayer,
    attend,
    contrastive_step,
    reconstruction_step,
)
from pottsattn.spatial.recipe import SpatialRecipe
from pottsattn.spatial.run import AttentionMaps, SpatialHistory, SpatialRun
from pottsattn.training.steps import take_steps

TRAINING, EVALUATION, RATES, STRATA, START = range(5)  # streams of a seed
EVALUATION_INPUTS = 64  # per cluster
N_LOCAL_MAPS = 3
MAP_INPUTS = 256
MAP_TIMES = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the steps


def train_areas(
    areas: PatchAreas,
    recipe: SpatialRecipe | None = None,
    *,
    rng: np.random.Generator | int | None = 0,
    checkpoint: CheckpointLike | None = None,
    progress: Progress | None = None,
) -> SpatialRun:
    """Return a layer trained by gradient descent. Ctrl-C returns what is done.

    Parameters
    ----------
    areas
        The clusters and their areas.
    recipe
        How to train; default masked reconstruction.
    rng
        Generator or seed of inputs and masks.
    checkpoint
        File that the run will be saved to, or a `CheckpointFile`; the state is kept in
        FILE.partial, from which a killed run goes on. The caller saves the run.
    progress
        Called with (steps done, steps).

    Raises
    ------
    InputError
        Masks that hide all patches or none, or a FILE.partial of another run.

    Examples
    --------
    >>> from pottsattn.spatial.areas import random_areas
    >>> run = train_areas(random_areas(12, 6, 3, rng=0), SpatialRecipe(max_steps=50))
    >>> run.n_steps
    50
    """
    recipe = recipe or SpatialRecipe()
    seed = check_seed(rng)
    started = time.monotonic()
    training = _Training(areas, recipe, seed)
    config = {
        **recipe.to_dict(areas),
        "seed": seed,
        "areas": hashlib.sha256(areas.labels.tobytes()).hexdigest(),
    }
    ended = take_steps(training, checkpoint, config, progress=progress)
    return SpatialRun(
        objective=recipe.objective,
        areas=areas,
        layer=training.layer,
        history=training.history(),
        maps=training.attention_maps(),
        rate_ratio=training.rate_ratio(),
        config=config,
        n_steps=training.done,
        interrupted=ended.interrupted,
        seconds=ended.earlier_seconds + time.monotonic() - started,
        resumed_from=ended.resumed_from,
    )


class _Training:
    """The `pottsattn.training.steps.Steps` of a layer."""

    def __init__(self, areas: PatchAreas, recipe: SpatialRecipe, seed: int) -> None:
        self._areas, self._recipe, self._seed = areas, recipe, seed
        self._law = recipe.law(areas)
        self._rate = recipe.rate(areas.n_patches)
        self._evaluation = self._law.draw(self._rng(EVALUATION), EVALUATION_INPUTS)
        self._mean_field = MeanField.of(self._law, self._rng(STRATA))
        self._queries = _watched(areas)
        self._map_steps = {round(share * recipe.max_steps) for share in MAP_TIMES}
        self.layer = self._start()
        self.done, self.max_steps = 0, recipe.max_steps
        self._rows: list[dict[str, float]] = []
        self._maps: list[tuple[int, NDArray[np.float64]]] = []

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *stream])

    def _start(self) -> AreaLayer:
        zero, scale, rng = AreaLayer.zero(self._areas), self._recipe.start_scale, self._rng(START)
        exists = (self._areas.sizes > 0)[:, None, :]
        phi = scale * exists * rng.standard_normal(zero.phi.shape)
        trained = scale if self._recipe.train_positions else 0.0
        return AreaLayer(phi, trained * rng.standard_normal(zero.upsilon.shape))

    @property
    def is_over(self) -> bool:
        """Whether numbers have left the finite ones."""
        return not np.isfinite(self.layer.phi).all()

    def advance(self) -> None:
        """Take a step; before it, record where it is time to."""
        loss, gradient = self._step()
        if self.done % self._recipe.recorded_every == 0:
            self._record(loss)
        if self.done in self._map_steps:
            self._draw_map()
        layer = self.layer.moved(gradient, self._rate)
        if not self._recipe.train_positions:
            layer = AreaLayer(layer.phi, self.layer.upsilon)
        self.layer, self.done = layer, self.done + 1

    def finish(self) -> None:
        """Record the end."""
        if not self._rows or self._rows[-1]["step"] != self.done:
            self._record(self._step()[0])
        if not self._maps or self._maps[-1][0] != self.done:
            self._draw_map()

    def _step(self) -> tuple[float, AreaLayer]:
        law, recipe = self._law, self._recipe
        if recipe.masks == "mean-field":
            return self._mean_field.step(self.layer)
        rng = self._rng(TRAINING, self.done)
        if recipe.objective == "mae":
            batch = law.draw(rng, recipe.inputs_per_step)
            return reconstruction_step(self.layer, batch, self._areas.labels)
        latents = law.draw_latents(rng, recipe.inputs_per_step)
        view, other_view = law.mask(rng, latents), law.mask(rng, latents)
        return contrastive_step(self.layer, view, other_view, recipe.temperature)

    def _record(self, loss: float) -> None:
        measures = measure(self.layer, self._law, self._evaluation, self._recipe.objective)
        means = asdict(mean_correlations(self.layer, self._areas))
        of_positions = ("same_local", "unrelated")
        named = {
            f"{'upsilon' if name in of_positions else 'phi'}_{name}": value
            for name, value in means.items()
        }
        self._rows.append({"step": self.done, "loss": loss, **asdict(measures), **named})

    def _draw_map(self) -> None:
        rng = self._rng(EVALUATION, 1)
        batch = self._law.draw(rng, MAP_INPUTS)[:MAP_INPUTS]  # those of cluster 0
        attention = attend(self.layer, batch).to_patches(self._queries)  # (B, Q, P)
        hidden = batch.hidden[:, self._queries, None]
        total, n_inputs = np.sum(attention * hidden, axis=0), hidden.sum(axis=0)
        mean = np.divide(total, n_inputs, out=np.full_like(total, np.nan), where=n_inputs > 0)
        self._maps.append((self.done, mean))

    def history(self) -> SpatialHistory:
        """Return the traces."""
        columns = {name: np.array([row[name] for row in self._rows]) for name in self._rows[0]}
        return SpatialHistory(**{**columns, "step": columns["step"].astype(np.int64)})

    def attention_maps(self) -> AttentionMaps:
        """Return the maps of the chosen queries."""
        steps, maps = zip(*self._maps, strict=True)
        return AttentionMaps(np.array(steps), self._queries, np.array(maps))

    def rate_ratio(self) -> float:
        """Return the ratio of rates at Q = 0, NaN for contrastive learning."""
        if self._recipe.objective != "mae":
            return float("nan")
        return rate_ratio(self._law, self._rng(RATES))

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "done": self.done,
            "phi": self.layer.phi,
            "upsilon": self.layer.upsilon,
            "rows": self._rows,
            "maps": self._maps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take the training up where `state` left it."""
        self.layer = AreaLayer(state["phi"], state["upsilon"])
        self.done, self._rows, self._maps = state["done"], state["rows"], state["maps"]


def _watched(areas: PatchAreas) -> NDArray[np.int64]:
    """Return the first patch of the global area of cluster 0 and of its first local ones."""
    labels = areas.labels[0]
    kinds = range(min(labels.max(), N_LOCAL_MAPS) + 1)
    return np.array([int(np.argmax(labels == kind)) for kind in kinds])
