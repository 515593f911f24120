"""How a layer is trained on patches; some defaults depend on the objective."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_choice,
    check_nonnegative,
    check_positive,
)
from pottsattn.spatial.areas import PatchAreas
from pottsattn.spatial.inputs import InputLaw

OBJECTIVES = ("mae", "contrastive")
MASKS = ("sampled", "mean-field")
QUERIES = ("position", "content")
LATENTS = {"mae": (0.5, 1.5), "contrastive": (0.9, 1.1)}


@dataclass(frozen=True)
class _PatchRecipe:
    """What is said of every training on patches; None takes the default of the objective."""

    objective: str = "mae"
    max_steps: int = 300
    learning_rate: float | None = None
    batch_size: int | None = None
    mask_fraction: float = 0.5
    temperature: float = 0.5
    start_scale: float = 0.0

    # The loss is a mean over patches.
    RATES_PER_PATCH: ClassVar[dict[str, float]]
    BATCHES: ClassVar[dict[str, int]]
    SMALLEST_BATCH: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_choice("objective", self.objective, OBJECTIVES)
        check_at_least("max_steps", self.max_steps, 1)
        if self.learning_rate is not None:
            check_positive("learning_rate", self.learning_rate)
        if self.batch_size is not None:
            check_at_least("batch_size", self.batch_size, self.SMALLEST_BATCH)
        check_positive("mask_fraction", self.mask_fraction)
        check_positive("temperature", self.temperature)
        check_nonnegative("start_scale", self.start_scale)

    def rate(self, n_patches: int) -> float:
        """Return the learning rate."""
        if self.learning_rate is not None:
            return self.learning_rate
        return self.RATES_PER_PATCH[self.objective] * n_patches

    @property
    def inputs_per_step(self) -> int:
        """Inputs of a step (of every cluster, where there are clusters)."""
        return self.batch_size or self.BATCHES[self.objective]


@dataclass(frozen=True)
class SpatialRecipe(_PatchRecipe):
    """How a layer is trained on patches in areas; None takes the default of the objective.

    Parameters
    ----------
    objective
        "mae": reconstruct hidden patches. "contrastive": tell the other view of the same input
        from the views of other inputs.
    max_steps
        Steps of gradient descent.
    learning_rate
        Default 0.2 P for "mae", 20 P for "contrastive".
    batch_size
        Inputs per cluster and step, new ones in every step; default 24 and 48.
    mask_fraction
        Share of hidden patches, 0 to 1.
    temperature
        Of the contrastive loss.
    start_scale
        Standard deviation of Phi and Upsilon at the start. From 0 all queries of contrastive
        learning stay alike for good, since its loss does not tell them apart; a random start
        breaks that symmetry.
    latent_range
        Lowest and highest strength of a feature; default (0.5, 1.5) and (0.9, 1.1). Contrastive
        learning stays with the global area only if latents are narrow (docs/spatial.md).
    masks
        "sampled", or "mean-field": the average over masks, without noise and quicker, with an error
        of one over the area (`pottsattn.spatial.mean_field`); for "mae" alone.
    train_positions
        False keeps Upsilon at 0.
    record_every
        Steps between two entries of the history; default a hundredth of the steps.

    Raises
    ------
    InputError
        A value outside its range, or "mean-field" for contrastive learning.
    """

    latent_range: tuple[float, float] | None = None
    masks: str = "sampled"
    train_positions: bool = True
    record_every: int | None = None

    # Contrastive features are means over P queries: their gradient is P times smaller again.
    RATES_PER_PATCH: ClassVar[dict[str, float]] = {"mae": 0.2, "contrastive": 20.0}
    BATCHES: ClassVar[dict[str, int]] = {"mae": 24, "contrastive": 48}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("masks", self.masks, MASKS)
        if self.record_every is not None:
            check_at_least("record_every", self.record_every, 1)
        if self.masks == "mean-field" and self.objective != "mae":
            raise InputError(
                "the mean field replaces the masks of reconstruction, objective mae; contrastive "
                "learning needs sampled masks"
            )

    def law(self, areas: PatchAreas) -> InputLaw:
        """Return the law of the inputs; InputError if masks or latents do not fit the areas.

        Likewise if a contrastive batch holds a single input, which has no negatives.
        """
        if self.objective == "contrastive" and areas.n_clusters * self.inputs_per_step < 2:
            raise InputError(
                "contrastive learning compares inputs; expected a `batch_size` of at least 2 with "
                "a single cluster, got 1"
            )
        return InputLaw(areas, self.latent_range or LATENTS[self.objective], self.mask_fraction)

    @property
    def recorded_every(self) -> int:
        """Steps between two entries of the history."""
        return self.record_every or max(1, self.max_steps // 100)

    def to_dict(self, areas: PatchAreas) -> dict[str, Any]:
        """Return every choice with its value on these areas."""
        return {
            **asdict(self),
            "learning_rate": self.rate(areas.n_patches),
            "batch_size": self.inputs_per_step,
            "latent_range": list(self.law(areas).latent_range),
            "record_every": self.recorded_every,
        }


@dataclass(frozen=True)
class ImageRecipe(_PatchRecipe):
    """How a layer is trained on images; None takes the default of the objective.

    Parameters
    ----------
    objective
        "mae" (masked autoencoding) or "contrastive".
    max_steps, batch_size
        Steps, and images drawn for each; default 64.
    learning_rate
        Default 0.05 n_patches for "mae", 3 n_patches for "contrastive".
    mask_fraction
        Of patches, in training and in testing.
    temperature
        tau of the contrastive loss.
    start_scale
        Standard deviation of the entries of Q at the start.
    patch_size
        Side of the patches in pixels.
    query
        "position": e_p. "content": M(X)_p + e_p.

    Raises
    ------
    InputError
        A value outside its range.
    """

    max_steps: int = 400
    temperature: float = 0.1
    patch_size: int = 1
    query: str = "position"

    RATES_PER_PATCH: ClassVar[dict[str, float]] = {"mae": 0.05, "contrastive": 3.0}
    BATCHES: ClassVar[dict[str, int]] = {"mae": 64, "contrastive": 64}
    SMALLEST_BATCH: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("patch_size", self.patch_size, 1)
        check_choice("query", self.query, QUERIES)

    def to_dict(self, n_patches: int) -> dict[str, Any]:
        """Return every choice with its value on images of so many patches."""
        return {
            **asdict(self),
            "learning_rate": self.rate(n_patches),
            "batch_size": self.inputs_per_step,
            "temperature": None if self.objective == "mae" else self.temperature,
        }
