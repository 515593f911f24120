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

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pottsattn._core.display import Progress
from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_choice,
    check_generator,
    check_nonnegative,
    check_positive,
)
from pottsattn.data.images import to_patches
from pottsattn.spatial.layer import (
    QUERIES,
    SpatialAttention,
    contrastive_loss,
    draw_visible,
    reconstruction_loss,
)
from pottsattn.spatial.measures import diversity
from pottsattn.spatial.recipe import OBJECTIVES
from pottsattn.training.steps import take_steps
from pottsattn.training.workers import choose_device

__all__ = ["ImageAttention", "train_on_images"]

Array = NDArray[np.float64]
RATES_PER_PATCH = {"mae": 0.05, "contrastive": 3.0}  # f(X) is a mean over patches
TEST_SHARE = 0.3
TEST_BATCH = 256
STILL_FALLS = 0.01  # of the loss, between the last fifth of the steps and the one before


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
    losses : ndarray, shape (n_steps,)
        Of the batch before every step.
    config : dict
        How it was trained.
    converged : bool
        The mean loss changed by at most 1 % from the fourth to the last fifth of the steps.
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
    *,
    objective: str = "mae",
    patch_size: int = 1,
    mask_ratio: float = 0.5,
    n_steps: int = 400,
    batch_size: int = 64,
    learning_rate: float | None = None,
    temperature: float = 0.1,
    query: str = "position",
    start_scale: float = 0.0,
    rng: np.random.Generator | int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ImageAttention:
    """Return the attention that one layer learns from images by plain gradient descent.

    Parameters
    ----------
    images : ndarray, shape (n_images, height, width) or (n_images, height, width, n_channels)
        As `images.digits` and `images.read_images` give them. A random 30 % of them are for
        testing.
    objective
        "mae" (masked autoencoding) or "contrastive".
    patch_size
        Side of the patches in pixels.
    mask_ratio
        Of patches, in training and in testing.
    n_steps, batch_size
        Steps, and images drawn for each.
    learning_rate
        0.05 n_patches for "mae" and 3 n_patches for "contrastive" if left out.
    temperature
        tau of the contrastive loss.
    query
        "position": e_p. "content": M(X)_p + e_p.
    start_scale
        Standard deviation of the entries of Q at the start.
    rng
        Generator or seed of the test images, the start, batches and masks.
    device
        "cpu", "cuda" or "auto".
    progress
        Called with the steps done and to do. Ctrl-C ends the training; what is done is returned.

    Raises
    ------
    InputError
        An unknown option, images that are all alike, too few of them, or patches that do not fit.
    """
    check_choice("objective", objective, OBJECTIVES)
    check_choice("query", query, QUERIES)
    check_at_least("n_steps", n_steps, 1)
    check_at_least("batch_size", batch_size, 2)
    check_positive("temperature", temperature)
    check_nonnegative("start_scale", start_scale)
    patches = to_patches(images, patch_size)
    n_images, n_patches, _ = patches.shape
    if n_patches < 2:
        raise InputError("images must have at least 2 patches, got 1; use a smaller patch_size")
    if learning_rate is None:
        learning_rate = RATES_PER_PATCH[objective] * n_patches
    check_positive("learning_rate", learning_rate)
    config = {
        "patch_size": patch_size,
        "mask_ratio": mask_ratio,
        "n_steps": n_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "temperature": None if objective == "mae" else temperature,
        "query": query,
        "start_scale": start_scale,
    }
    where = choose_device(device)
    rng = check_generator(rng)
    train, test = _standardized(patches, rng.permutation(n_images))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    layer = SpatialAttention(n_patches, train.shape[-1], query=query, device=where)
    start = torch.randn(layer.weights.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        layer.weights.copy_(start_scale * start)
    train, test = train.to(where), test.to(where)
    training = _Training(layer, train, generator, config)
    take_steps(training, progress=progress)
    losses = np.array(training.losses)
    attention, judged = _judge(layer, test, mask_ratio, generator)
    converged, message = _verdict(losses, n_steps)
    rows, columns = (size // patch_size for size in np.shape(images)[1:3])
    return ImageAttention(
        objective=objective,
        grid=(rows, columns),
        weights=layer.weights.detach().cpu().numpy(),
        attention=attention,
        diversity=judged[0],
        reconstruction_error=judged[1],
        visible_mean_error=judged[2],
        losses=losses,
        config=config,
        converged=converged,
        message=message,
    )


class _Training:
    """The `pottsattn.training.steps.Steps` of a layer on images."""

    def __init__(
        self,
        layer: SpatialAttention,
        images: Tensor,
        generator: torch.Generator,
        config: dict[str, Any],
    ) -> None:
        self._layer, self._images, self._generator = layer, images, generator
        self._config, self.max_steps = config, config["n_steps"]
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
        size, share = self._config["batch_size"], self._config["mask_ratio"]
        chosen = torch.randint(len(self._images), (size,), generator=self._generator)
        batch = self._images[chosen.to(where)]
        first, second = (
            draw_visible(size, batch.shape[1], share, self._generator).to(where) for _ in range(2)
        )
        loss = self._loss(batch, first, second)
        (gradient,) = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights.sub_(self._config["learning_rate"] * gradient)
        self.losses.append(loss.item())

    def _loss(self, batch: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the loss of masked autoencoding, or with a temperature that of two views."""
        output, _ = self._layer(batch, first)
        if self._config["temperature"] is None:
            return reconstruction_loss(output, batch, first)
        with torch.no_grad():
            other, _ = self._layer(batch, second)
        return contrastive_loss(output, other, self._config["temperature"])

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
    layer: SpatialAttention, test: Tensor, mask_ratio: float, generator: torch.Generator
) -> tuple[Array, tuple[float, float, float]]:
    """Return the mean attention; diversity and the two relative errors of test images."""
    n_patches = test.shape[1]
    attention = torch.zeros((n_patches, n_patches), dtype=torch.float64, device=test.device)
    of_pairs = of_layer = of_visible = of_mean_image = 0.0
    for start in range(0, len(test), TEST_BATCH):
        patches = test[start : start + TEST_BATCH]
        visible = draw_visible(len(patches), n_patches, mask_ratio, generator).to(test.device)
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


def _verdict(losses: Array, n_steps: int) -> tuple[bool, str]:
    if not math.isfinite(losses[-1]):
        return False, f"diverged at step {len(losses)}; use a smaller learning_rate"
    if len(losses) < n_steps:
        return False, f"stopped after {len(losses)} of {n_steps} steps"
    fifth = n_steps // 5
    if fifth < 1:
        return False, f"{n_steps} steps are too few to judge; take at least 5"
    before, last = losses[-2 * fifth : -fifth].mean(), losses[-fifth:].mean()
    change = float((last - before) / abs(before))
    if abs(change) > STILL_FALLS:
        return False, f"the loss changed by {100 * change:+.1f} % over the last {fifth} steps"
    return True, f"the loss changed by {100 * change:+.2f} % over the last {fifth} steps"


def _distances(grid: tuple[int, int]) -> Array:
    """Return distances between patches on the grid, shape (n_patches, n_patches)."""
    place = np.stack(np.divmod(np.arange(grid[0] * grid[1]), grid[1]), axis=1)
    return np.linalg.norm(place[:, None] - place[None], axis=-1)
