"""One attention layer on handwritten digits: masked autoencoding against contrastive learning.

    python benchmarks/spatial_images.py [--seeds N] [--out DIR]

Every row is a mean over seeds with its standard error; a seed draws test images, start, batches and
masks. The best linear prediction from the visible pixels, by the covariance of the training images,
says how much of the error could go. A control trains the contrastive layer on synthetic areas
(K = 2, P = 36, areas of 18 and 3, latents in [0.9, 1.1]) from zero and from a random start. Exits
with 1 unless masked autoencoding of pixels is local and better than the mean image, contrastive
learning is neither, and the control collapses to the global area from both starts.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch

import numpy as np
import torch
from numpy.typing import NDArray

from pottsattn.data.images import digits, to_patches
from pottsattn.figures.images import figure_image_attention
from pottsattn.figures.style import save_figure
from pottsattn.spatial.image_training import ImageAttention, train_on_images
from pottsattn.spatial.layer import (
    SpatialAttention,
    contrastive_loss,
    draw_visible,
    synthetic_embeddings,
)
from pottsattn.spatial.measures import diversity
from pottsattn.spatial.recipe import ImageRecipe

Array = NDArray[np.float64]
RANDOM = 0.03
CASES = {  # patch size, objective, query, start
    "pixels, masked": (1, "mae", "position", 0.0),
    "pixels, contrastive": (1, "contrastive", "position", 0.0),
    "pixels, contrastive, random start": (1, "contrastive", "position", RANDOM),
    "pixels, contrastive, content in query": (1, "contrastive", "content", 0.0),
    "2 x 2, masked": (2, "mae", "position", 0.0),
    "2 x 2, contrastive": (2, "contrastive", "position", 0.0),
    "2 x 2, contrastive, random start": (2, "contrastive", "position", RANDOM),
}
DRAWN = {
    "masked\nreconstruction": "pixels, masked",
    "contrastive,\nfrom zero": "pixels, contrastive",
    "contrastive,\nrandom start": "pixels, contrastive, random start",
}
COLUMNS = ("error", "distance", "neighbors", "itself", "diversity", "of mean map", "loss")


def measures(found: ImageAttention) -> list[float]:
    """Return the numbers of a row; the loss is relative to that of knowing nothing."""
    last = found.losses[-len(found.losses) // 5 :].mean()
    size, temperature = found.config["batch_size"], found.config["temperature"]
    blind = math.nan if temperature is None else temperature * math.log(size)
    return [
        found.reconstruction_error,
        found.attention_distance / found.uniform_distance,
        found.neighbor_attention,
        float(np.trace(found.attention)) / len(found.attention),
        found.diversity,
        found.map_diversity,
        last / blind,
    ]


def linear_error(pixels: Array, mask_fraction: float, rng: np.random.Generator) -> float:
    """Return the error of masked pixels by the best linear prediction, over the mean image's."""
    order = rng.permutation(len(pixels))
    n_test = int(0.3 * len(pixels))
    train, test = pixels[order[n_test:]], pixels[order[:n_test]]
    mean = train.mean(axis=0)
    covariance = np.cov(train.T) + 1e-4 * np.eye(train.shape[1])  # some pixels never change
    squared = of_mean = 0.0
    for image in test - mean:
        masked = rng.permutation(len(image)) < round(mask_fraction * len(image))
        among = covariance[np.ix_(~masked, ~masked)]
        guess = covariance[np.ix_(masked, ~masked)] @ np.linalg.solve(among, image[~masked])
        squared += float(((guess - image[masked]) ** 2).sum())
        of_mean += float((image[masked] ** 2).sum())
    return squared / of_mean


def correlation(images: Array, shift: int, axis: int) -> float:
    """Return the correlation of pixels `shift` apart, centered on the mean image; axis 1: down."""
    centered = images - images.mean(axis=0)
    n_pixels = images.shape[axis]
    one = np.take(centered, range(shift, n_pixels), axis)
    other = np.take(centered, range(n_pixels - shift), axis)
    return float((one * other).sum() / math.sqrt((one**2).sum() * (other**2).sum()))


def control(start_scale: float, seed: int) -> tuple[float, float]:
    """Return the attention to the global area and the diversity of synthetic contrastive learning.

    Attention is a mean over all queries, 300 steps of 96 samples at learning rate 20 P, tau 0.5.
    """
    n_clusters, n_patches, n_areas, n_samples = 2, 36, 7, 96
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([18] + [3] * 6)
    labels = torch.arange(n_areas).repeat_interleave(sizes)
    areas = torch.stack(
        [labels[torch.randperm(n_patches, generator=generator)] for _ in range(n_clusters)]
    )
    embeddings = synthetic_embeddings(n_clusters, n_areas, n_patches)
    layer = SpatialAttention(n_patches, embeddings.positions.shape[1])
    random = torch.randn(layer.weights.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        layer.weights.copy_(start_scale * random)

    def draw() -> tuple[torch.Tensor, torch.Tensor]:
        cluster = torch.randint(n_clusters, (n_samples,), generator=generator)
        uniform = torch.rand((n_samples, n_areas), generator=generator, dtype=torch.float64)
        return embeddings.patches(cluster, areas, 0.9 + 0.2 * uniform), areas[cluster]

    for _ in range(300):
        patches, _ = draw()
        first, second = (draw_visible(n_samples, n_patches, 0.5, generator) for _ in range(2))
        loss = contrastive_loss(layer(patches, first)[0], layer(patches, second)[0], 0.5)
        (gradient,) = torch.autograd.grad(loss, layer.weights)
        with torch.no_grad():
            layer.weights.sub_(20.0 * n_patches * gradient)
    patches, of_patch = draw()
    visible = draw_visible(n_samples, n_patches, 0.5, generator)
    with torch.no_grad():
        attention = layer(patches, visible)[1]
    is_global = (of_patch == 0) & visible
    to_global = (attention * is_global[:, None]).sum(dim=-1).mean()
    return float(to_global), diversity(attention.numpy())


def show(name: str, values: Array, *more: str) -> None:
    """Print the means of values (seeds, columns) and their standard errors, and more cells."""
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    texts = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
    cells = " | ".join([*texts, *more])
    print(f"| {name} | {cells} |".replace("nan ± nan", "-").replace("-0.000", "0.000"), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="at least 2; default 3")
    parser.add_argument("--out", type=Path, help="write the figure to this folder")
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    torch.set_num_threads(1)
    images, _ = digits()
    print(f"| | {' | '.join(COLUMNS)} | converged |\n|{'---|' * (len(COLUMNS) + 2)}")
    values: dict[str, Array] = {}
    first: dict[str, ImageAttention] = {}
    visible_mean: dict[int, list[float]] = {1: [], 2: []}
    for name, (patch_size, objective, query, start) in CASES.items():
        rows, n_converged = [], 0
        for seed in seeds:
            recipe = ImageRecipe(objective, patch_size=patch_size, query=query, start_scale=start)
            found = train_on_images(images, recipe, rng=seed)
            n_converged += found.converged
            first.setdefault(name, found)
            rows.append(measures(found))
            visible_mean[patch_size].append(found.visible_mean_error)
        values[name] = np.array(rows)
        show(name, values[name], f"{n_converged} of {len(seeds)}")
    for size, errors in visible_mean.items():
        print(f"mean visible patch, side {size}: error {np.mean(errors):.3f}")
    pixels = to_patches(images, 1)[..., 0]
    linear = np.array([linear_error(pixels, 0.5, np.random.default_rng(seed)) for seed in seeds])
    print(f"best linear prediction: error {linear.mean():.3f} ± {linear.std(ddof=1):.3f} (spread)")
    for shift in (1, 2):
        down, across = (correlation(images, shift, axis) for axis in (1, 2))
        print(f"correlation of pixels {shift} apart: {down:.2f} down, {across:.2f} across")
    print("| synthetic control, start | attention to the global area | diversity |\n|---|---|---|")
    controls = {
        start: np.array([control(start, seed) for seed in seeds]) for start in (0.0, RANDOM)
    }
    for start, found in controls.items():
        show(f"{start:g}", found)

    masked, coarse = values["pixels, masked"], values["2 x 2, masked"]
    contrastive = [rows for name, rows in values.items() if name.startswith("pixels, contrastive")]
    checks = {
        "masked pixels beat the mean image": (masked[:, 0] < 0.8).all(),
        "but not the best linear prediction": masked[:, 0].min() > linear.max(),
        "masked pixels look at neighbors": (masked[:, 2] > 0.4).all(),
        "masked maps differ between places": (masked[:, 5] > 0.6).all(),
        "2 x 2 patches gain little": (coarse[:, 0] > 0.95).all(),
        "contrastive is no reconstruction": all((rows[:, 0] > 1.0).all() for rows in contrastive),
        "contrastive is not local": all((rows[:, 1] > 0.9).all() for rows in contrastive),
        "contrastive from zero is symmetric": (contrastive[0][:, 4] < 1e-9).all(),
        "a random start breaks the symmetry": (contrastive[1][:, 4] > 0.3).all(),
        "but mean maps stay similar": (contrastive[1][:, 5] < 0.3).all(),
        "the control collapses": all((rows[:, 0] > 0.98).all() for rows in controls.values()),
    }
    for text, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {text}")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        axes = figure_image_attention({name: first[case] for name, case in DRAWN.items()})
        save_figure(axes[0], arguments.out / "digits.png")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
