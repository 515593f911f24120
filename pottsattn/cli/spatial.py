"""The command `spatial`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pottsattn._core.checkpoint import CheckpointFile
from pottsattn._core.validate import InputError
from pottsattn.cli._options import add_options, given
from pottsattn.cli._shell import (
    DONE,
    INTERRUPTED,
    NOT_CONVERGED,
    add_command,
    bar,
    check_output,
    say,
)
from pottsattn.spatial.recipe import SpatialRecipe

if TYPE_CHECKING:
    from pottsattn.spatial.areas import PatchAreas

NAMES = {
    "max_steps": "steps",
    "mask_fraction": "mask-ratio",
    "train_positions": "freeze-positions",
}
DATA_TEXTS = {
    "latent_range": (
        "LOW HIGH",
        "strength of the features (default: 0.5 1.5 for mae, 0.9 1.1 for contrastive)",
    ),
}
TRAINING_TEXTS = {
    "objective": ("NAME", "mae or contrastive"),
    "max_steps": ("N", "gradient steps"),
    "learning_rate": ("X", "(default: 0.2 P for mae, 20 P for contrastive)"),
    "batch_size": (
        "N",
        "new inputs per cluster and step (default: 24 for mae, 48 for contrastive)",
    ),
    "mask_fraction": ("R", "share of hidden patches"),
    "temperature": ("X", "of the contrastive loss"),
    "masks": ("NAME", "mae: sampled, or mean-field for the average over masks"),
    "train_positions": ("", "learn no position-position correlations"),
    "start_scale": (
        "X",
        "standard deviation of the correlations at the start; above 0 it breaks the symmetry of "
        "queries under contrast",
    ),
    "record_every": ("N", "steps (default: a hundredth of them)"),
}


def add_parser(commands: Any) -> None:
    """Add the command of this module."""
    spatial = add_command(
        commands,
        "spatial",
        _spatial,
        "Train one softmax-attention layer on patches that come in areas, by masked "
        "reconstruction or by contrast, and measure which areas patches attend to.",
        epilog="It runs on one thread; a killed run goes on from FILE.partial. The data and the "
        "measures are told in docs/spatial.md.",
    )
    data = spatial.add_argument_group("patches and areas")
    data.add_argument("--patches", type=int, metavar="P", help="number of patches")
    data.add_argument("--global-area", type=int, metavar="C1", help="patches of the global area")
    data.add_argument("--local-area", type=int, metavar="CS", help="patches of every local area")
    data.add_argument(
        "--clusters", type=int, metavar="K", help="clusters, each with its own areas (default: 2)"
    )
    data.add_argument(
        "--grid",
        metavar="ROWSxCOLUMNS",
        help="areas are connected pieces of an image of that many patches (default: areas are "
        "random sets of patches)",
    )
    data.add_argument(
        "--areas",
        metavar="FILE.npy",
        help="areas of your own instead: integers (clusters, patches), or labeled images "
        "(clusters, rows, columns); 0 is the global area, of images the most frequent label",
    )
    add_options(data.add_argument, (SpatialRecipe,), DATA_TEXTS)
    training = spatial.add_argument_group("training")
    add_options(training.add_argument, (SpatialRecipe,), TRAINING_TEXTS, NAMES)
    spatial.add_argument("--out", required=True, metavar="FILE", help="run to write (.h5)")


def _spatial(arguments: argparse.Namespace) -> int:
    from pottsattn.spatial.training import train_areas

    check_output(arguments.out, arguments.areas)
    recipe = SpatialRecipe(**given(SpatialRecipe, arguments))
    areas = _areas(arguments)
    with bar(recipe.objective, "step") as progress:
        run = train_areas(
            areas,
            recipe,
            rng=arguments.seed,
            checkpoint=CheckpointFile(arguments.out, keep=True),
            progress=progress,
        )
    run.save(arguments.out)
    if not run.interrupted:
        Path(f"{arguments.out}.partial").unlink(missing_ok=True)
    report = {"file": arguments.out, **run.to_dict()}
    say(arguments, report, f"{arguments.out}: {run!r}, {run.seconds:.1f} s")
    if run.interrupted:
        return INTERRUPTED
    return DONE if run.converged else NOT_CONVERGED


def _areas(arguments: argparse.Namespace) -> PatchAreas:
    from pottsattn.spatial.areas import grid_areas, random_areas

    sizes = {
        "--patches": arguments.patches,
        "--global-area": arguments.global_area,
        "--local-area": arguments.local_area,
    }
    if arguments.areas is not None:
        given = [name for name, value in sizes.items() if value is not None]
        given += ["--clusters"] if arguments.clusters is not None else []
        given += ["--grid"] if arguments.grid is not None else []
        if given:
            raise InputError(f"--areas says all about the areas; leave out {', '.join(given)}")
        return _read_areas(arguments.areas)
    missing = [name for name, value in sizes.items() if value is None]
    if missing:
        raise InputError(f"spatial needs {', '.join(missing)} (or --areas FILE.npy)")
    areas = (arguments.global_area, arguments.local_area)
    options = {
        "n_clusters": 2 if arguments.clusters is None else arguments.clusters,
        "rng": arguments.seed,
    }
    if arguments.grid is None:
        return random_areas(arguments.patches, *areas, **options)
    rows, columns = _grid(arguments.grid)
    if rows * columns != arguments.patches:
        raise InputError(
            f"a grid of {arguments.grid} has {rows * columns} patches, --patches says "
            f"{arguments.patches}"
        )
    return grid_areas(rows, columns, *areas, **options)


def _grid(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--grid is written as ROWSxCOLUMNS such as 6x8, got {text!r}")
    return int(parts[0]), int(parts[1])


def _read_areas(path: str) -> PatchAreas:
    from pottsattn._core.foreign import read_npy
    from pottsattn.spatial.areas import PatchAreas

    array = read_npy(path)
    try:
        return PatchAreas.from_images(array) if array.ndim == 3 else PatchAreas(array)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
