"""The spatial attention layer on patches of real images, by masked or by contrastive learning.

Patches are centered on the mean image of the training part and divided by one number, so that
predicting zero is predicting the mean image and the mean squared pixel is 1. Patch p is the vector
of its pixels, followed by n_patches zeros where the positions e_p live. Q starts from zero or from
small random numbers and follows plain gradient descent, with fresh images and masks at each step.

With W_V = I the layer moves pixels from where it looks, unchanged and with weights that are not
negative and sum to 1. It can average; it cannot sharpen, extrapolate or move within a patch.
Attention to masked patches, whose value is zero, pulls the prediction to the mean image.

The contrastive loss does not change when queries e_p change places. From Q = 0 all rows e_p^T Q
hence stay the same for ever: every query looks at the same place, whatever the images. Whether
that is where training leads, a small random start tells.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pottsattn._core.checkpoint import CheckpointLike
from pottsattn._core.display import Progress, one_line
from pottsattn._core.validate import InputError, check_generator
from pottsattn._core.verdict import interrupted_at, judge_losses
from pottsattn.data.images import to_patches
from pottsattn.spatial.layer import (
    SpatialAttention,
    contrastive_loss,
    draw_visible,
    reconstruction_loss,
)
from pottsattn.spatial.measures import diversity
from pottsattn.spatial.recipe import ImageRecipe
from pottsattn.training.steps import take_steps
from pottsattn.training.workers import choose_device

Array = NDArray[np.float64]
TEST_SHARE = 0.3
TEST_BATCH = 256


@one_line
@dataclass(frozen=True)
class ImageAttention:
    """What one layer has learned from images; test images and fresh masks judge it.

    Attributes
    ----------
    objective : str
        "mae" (masked autoencoding) or "contrastive".
    grid : tuple of int
        Rows and columns of patches.
    weights : ndarray, shape (dim, dim)
        Q, with dim = patch_dim + n_patches.
    attention : ndarray, shape (n_patches, n_patches)
        a_{p->q}, mean over test images.
    diversity : float
        1 - mean over p != p' of cos(a_p, a_p'), mean over test images; 0 if all queries look at
        the same place.
    reconstruction_error : float
        Squared error of masked patches over that of the mean image.
    visible_mean_error : float
        The same for the mean visible patch.
    losses : ndarray, shape (max_steps,)
        Of the batch before every step.
    config : dict
        How it was trained.
    converged : bool
        The loss fell, and by at most 1 % of that, noise included, over the last fifth of the steps.
    message : str
    """

    objective: str
    grid: tuple[int, int]
    weights: Array = field(repr=False)
    attention: Array = field(repr=False)
    diversity: float
    reconstruction_error: float
    visible_mean_error: float
    losses: Array = field(repr=False)
    config: dict[str, object] = field(repr=False)
    converged: bool
    message: str

    @property
    def attention_distance(self) -> float:
        """Mean distance from a query to where it looks, in patches."""
        return float((self.attention * _distances(self.grid)).sum(axis=1).mean())

    @property
    def uniform_distance(self) -> float:
        """The distance of uniform attention."""
        return float(_distances(self.grid).mean())

    @property
    def map_diversity(self) -> float:
        """The diversity of the mean attention: 0 if places do not matter, whatever images do."""
        return diversity(self.attention[None])

    @property
    def neighbor_attention(self) -> float:
        """Mean share of attention on the up to eight patches around the query."""
        distances = _distances(self.grid)
        near = (distances > 0.0) & (distances < 1.5)
        return float((self.attention * near).sum(axis=1).mean())


def train_on_images(
    images: Array,
    recipe: ImageRecipe | None = None,
    *,
    rng: np.random.Generator | int | None = None,
    checkpoint: CheckpointLike | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ImageAttention:
    """Return the attention that one layer learns from images by plain gradient descent.

    Parameters
    ----------
    images : ndarray, shape (n_images, height, width) or (n_images, height, width, n_channels)
        As `images.digits` and `images.read_images` give them. A random 30 % of them are for
        testing.
    recipe
        How to train; default masked autoencoding of pixels.
    rng
        Generator or seed of the test images, the start, batches and masks.
    checkpoint
        A file name, or a `CheckpointFile`; the state is kept in FILE.partial, from which a killed
        training of the same seed goes on.
    device
        "cpu", "cuda" or "auto".
    progress
        Called with (steps done, steps). Ctrl-C ends the training; what is done is returned.

    Raises
    ------
    InputError
        Images that are all alike, too few of them, patches that do not fit, or a FILE.partial of
        another training.
    """
    recipe = recipe or ImageRecipe()
    patches = to_patches(images, recipe.patch_size)
    n_images, n_patches, _ = patches.shape
    if n_patches < 2:
        raise InputError("images must have at least 2 patches, got 1; use a smaller patch_size")
    where = choose_device(device)
    rng = check_generator(rng)
    train, test = _standardized(patches, rng.permutation(n_images))
    seed = int(rng.integers(2**63))
    config = recipe.to_dict(n_patches)
    facts = {"seed": seed, "data": hashlib.sha256(train.numpy().tobytes()).hexdigest(), **config}
    generator = torch.Generator().manual_seed(seed)
    layer = SpatialAttention(n_patches, train.shape[-1], query=recipe.query, device=where)
    start = torch.randn(layer.weights.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        layer.weights.copy_(recipe.start_scale * start)
    training = _Training(layer, train.to(where), recipe, generator)
    ended = take_steps(training, checkpoint, facts, progress=progress)
    attention, judged = _judge(layer, test.to(where), recipe.mask_fraction, generator)
    losses = np.array(training.losses)
    if ended.interrupted:
        verdict = interrupted_at(training.done, recipe.max_steps)
    else:
        verdict = judge_losses(losses, training.done)
    rows, columns = (size // recipe.patch_size for size in np.shape(images)[1:3])
    return ImageAttention(
        objective=recipe.objective,
        grid=(rows, columns),
        weights=layer.weights.detach().cpu().numpy(),
        attention=attention,
        diversity=judged[0],
        reconstruction_error=judged[1],
        visible_mean_error=judged[2],
        losses=losses,
        config=config,
        converged=verdict.converged,
        message=verdict.message,
    )


class _Training:
    """The `pottsattn.training.steps.Steps` of a layer on images."""

    def __init__(
        self,
        layer: SpatialAttention,
        images: Tensor,
        recipe: ImageRecipe,
        generator: torch.Generator,
    ) -> None:
        self._layer, self._images, self._recipe = layer, images, recipe
        self._generator, self.max_steps = generator, recipe.max_steps
        self.losses: list[float] = []

    @property
    def done(self) -> int:
        """Steps taken."""
        return len(self.losses)

    @property
    def is_over(self) -> bool:
        """Whether the loss has become infinite, which no further step undoes."""
        return bool(self.losses) and not math.isfinite(self.losses[-1])

    def advance(self) -> None:
        """Take a step."""
        weights, where = self._layer.weights, self._images.device
        size, share = self._recipe.inputs_per_step, self._recipe.mask_fraction
        chosen = torch.randint(len(self._images), (size,), generator=self._generator)
        batch = self._images[chosen.to(where)]
        first, second = (
            draw_visible(size, batch.shape[1], share, self._generator).to(where) for _ in range(2)
        )
        loss = self._loss(batch, first, second)
        (gradient,) = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights.sub_(self._recipe.rate(batch.shape[1]) * gradient)
        self.losses.append(loss.item())

    def _loss(self, batch: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss of masked autoencoding, or that of two views."""
        output, _ = self._layer(batch, first)
        if self._recipe.objective == "mae":
            return reconstruction_loss(output, batch, first)
        with torch.no_grad():
            other, _ = self._layer(batch, second)
        return contrastive_loss(output, other, self._recipe.temperature)

    def finish(self) -> None:
        """Do nothing more: the losses are the record."""

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "losses": self.losses,
            "weights": self._layer.weights,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take the training up where `state` left it."""
        self.losses = state["losses"]
        self._generator.set_state(state["generator"])
        with torch.no_grad():
            self._layer.weights.copy_(state["weights"])


def _standardized(patches: Array, order: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return training and test patches, centered, scaled, with room for the positions."""
    n_test = int(TEST_SHARE * len(order))
    if n_test < 1 or len(order) - n_test < 2:
        raise InputError(f"at least 4 images are needed to train and to test, got {len(order)}")
    train, test = patches[order[n_test:]], patches[order[:n_test]]
    mean = train.mean(axis=0)
    scale = math.sqrt(((train - mean) ** 2).mean())
    if not 0.0 < scale < math.inf:
        raise InputError(
            "images must be finite and differ from one another; nothing can be learned"
        )
    room = ((0, 0), (0, 0), (0, patches.shape[1]))
    train, test = (np.pad((part - mean) / scale, room) for part in (train, test))
    return torch.from_numpy(train), torch.from_numpy(test)


def _judge(
    layer: SpatialAttention, test: Tensor, mask_fraction: float, generator: torch.Generator
) -> tuple[Array, tuple[float, float, float]]:
    """Return the mean attention; diversity and the two relative errors of test images."""
    n_patches = test.shape[1]
    attention = torch.zeros((n_patches, n_patches), dtype=torch.float64, device=test.device)
    of_pairs = of_layer = of_visible = of_mean_image = 0.0
    for start in range(0, len(test), TEST_BATCH):
        patches = test[start : start + TEST_BATCH]
        visible = draw_visible(len(patches), n_patches, mask_fraction, generator).to(test.device)
        with torch.no_grad():
            output, maps = layer(patches, visible)
        attention += maps.sum(dim=0)
        of_pairs += diversity(maps.cpu().numpy()) * len(patches)
        seen = visible.to(patches)[..., None]
        mean_visible = (patches * seen).sum(dim=1, keepdim=True) / seen.sum(dim=1, keepdim=True)
        of_layer += float(reconstruction_loss(output, patches, visible)) * len(patches)
        of_visible += float(reconstruction_loss(mean_visible, patches, visible)) * len(patches)
        nothing = torch.zeros_like(patches)
        of_mean_image += float(reconstruction_loss(nothing, patches, visible)) * len(patches)
    measures = (of_pairs / len(test), of_layer / of_mean_image, of_visible / of_mean_image)
    return (attention / len(test)).cpu().numpy(), measures


def _distances(grid: tuple[int, int]) -> Array:
    """Return distances between patches on the grid, shape (n_patches, n_patches)."""
    place = np.stack(np.divmod(np.arange(grid[0] * grid[1]), grid[1]), axis=1)
    return np.linalg.norm(place[:, None] - place[None], axis=-1)
