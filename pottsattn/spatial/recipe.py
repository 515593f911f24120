"""How a layer is trained on patches in areas; some defaults depend on the objective."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_choice,
    check_nonnegative,
    check_positive,
)
from pottsattn.spatial.areas import PatchAreas
from pottsattn.spatial.inputs import InputLaw

__all__ = ["MASKS", "OBJECTIVES", "SpatialRecipe"]

OBJECTIVES = ("mae", "contrastive")
MASKS = ("sampled", "mean-field")
# Contrastive features are means over P queries, so that their gradient is P times smaller again.
RATES_PER_PATCH = {"mae": 0.2, "contrastive": 20.0}
LATENTS = {"mae": (0.5, 1.5), "contrastive": (0.9, 1.1)}
BATCHES = {"mae": 24, "contrastive": 48}


@dataclass(frozen=True)
class SpatialRecipe:
    """How a layer is trained on patches in areas; None takes the default of the objective.

    Parameters
    ----------
    objective
        "mae": reconstruct hidden patches. "contrastive": tell the other view of the same input
        from the views of other inputs.
    n_steps
        Steps of gradient descent.
    learning_rate
        Default 0.2 P for "mae", 20 P for "contrastive".
    batch_size
        Inputs per cluster and step, new ones in every step; default 24 and 48.
    mask_ratio
        Share of hidden patches, 0 to 1.
    latent_range
        Lowest and highest strength of a feature; default (0.5, 1.5) and (0.9, 1.1). Contrastive
        learning stays with the global area only if latents are narrow (docs/spatial.md).
    temperature
        Of the contrastive loss.
    masks
        "sampled", or "mean-field": the average over masks, without noise and quicker, with an error
        of one over the area (`pottsattn.spatial.mean_field`); for "mae" alone.
    train_positions
        False keeps Upsilon at 0.
    start_scale
        Standard deviation of Phi and Upsilon at the start. From 0 all queries of contrastive
        learning stay alike for good, since its loss does not tell them apart; a random start
        breaks that symmetry.
    record_every
        Steps between two entries of the history; default a hundredth of the steps.

    Raises
    ------
    InputError
        A value outside its range, or "mean-field" for contrastive learning.
    """

    objective: str = "mae"
    n_steps: int = 300
    learning_rate: float | None = None
    batch_size: int | None = None
    mask_ratio: float = 0.5
    latent_range: tuple[float, float] | None = None
    temperature: float = 0.5
    masks: str = "sampled"
    train_positions: bool = True
    start_scale: float = 0.0
    record_every: int | None = None

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, OBJECTIVES)
        check_choice("masks", self.masks, MASKS)
        check_at_least("n_steps", self.n_steps, 1)
        for name in ("batch_size", "record_every"):
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), 1)
        if self.learning_rate is not None:
            check_positive("learning_rate", self.learning_rate)
        check_positive("temperature", self.temperature)
        check_nonnegative("start_scale", self.start_scale)
        if self.masks == "mean-field" and self.objective != "mae":
            raise InputError(
                "the mean field replaces the masks of reconstruction, objective mae; contrastive "
                "learning needs sampled masks"
            )

    def law(self, areas: PatchAreas) -> InputLaw:
        """Return the law of the inputs; InputError if masks or latents do not fit the areas.

        Likewise if a contrastive batch holds a single input, which has no negatives.
        """
        if self.objective == "contrastive" and areas.n_clusters * self.inputs_per_cluster < 2:
            raise InputError(
                "contrastive learning compares inputs; expected a batch_size of at least 2 with a "
                "single cluster, got 1"
            )
        return InputLaw(areas, self.latent_range or LATENTS[self.objective], self.mask_ratio)

    def rate(self, areas: PatchAreas) -> float:
        """Return the learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return RATES_PER_PATCH[self.objective] * areas.n_patches

    @property
    def inputs_per_cluster(self) -> int:
        """Inputs of every cluster in a step."""
        return self.batch_size or BATCHES[self.objective]

    @property
    def recorded_every(self) -> int:
        """Steps between two entries of the history."""
        return self.record_every or max(1, self.n_steps // 100)

    def to_dict(self, areas: PatchAreas) -> dict[str, Any]:
        """Return every choice with its value on these areas."""
        return {
            **asdict(self),
            "learning_rate": self.rate(areas),
            "batch_size": self.inputs_per_cluster,
            "latent_range": list(self.law(areas).latent_range),
            "record_every": self.recorded_every,
        }
