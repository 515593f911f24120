"""Areas in a Potts model: masked factored attention beside a masked autoencoder; an experiment.

    python benchmarks/spatial_potts.py [--out DIR]

On the same areas, three seeds each: Potts sequences with A_ij = g / (n - 1) in areas of n sites,
free and softmax attention trained on them with one-site masks and with half of the sites masked,
and the layer of `pottsattn.spatial` trained to reconstruct hidden patches. Tables: own-area shares
at the end, shares against the number of sequences, and what a local site learns first under plain
gradient descent. The script checks what docs/spatial_potts.md says, exits with 1 if it does not
hold, and writes spatial_potts.png. Values are means with their standard errors over seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pottsattn import FactoredAttention, Schedule, SequenceDataset, sample
from pottsattn.figures.areas import plot_area_map, plot_area_shares
from pottsattn.figures.style import new_figure, save_figure
from pottsattn.fitting.masked.masking import BoundMasking
from pottsattn.fitting.masked.objective import Objective
from pottsattn.fitting.masked.settings import Masking
from pottsattn.fitting.penalty import Penalty
from pottsattn.spatial.areas import PatchAreas, random_areas
from pottsattn.spatial.potts_areas import (
    area_correlation,
    area_model,
    ordering_coupling,
    own_area_share,
)
from pottsattn.spatial.potts_training import PottsAreaTraining, train_potts_areas
from pottsattn.spatial.recipe import SpatialRecipe
from pottsattn.spatial.training import train_areas
from pottsattn.training.recipe import Recipe

CASES = ((36, 18, 3), (36, 8, 7), (100, 60, 5), (100, 20, 10))  # sites, global, local area
SEEDS = (0, 1, 2)
N_STATES, COUPLING = 3, 2.0
ORDERED = 4.0  # g of the ordered control
N_SEQUENCES, BATCH, N_STEPS = 8000, 500, 300
LARGE = 50  # sites, from which on U is not learned, for the time that it takes
SIZES = (500, 2000, N_SEQUENCES, 32000)
SIZES_CASE = (100, 60, 5)
KINDS = {  # attention, color similarity, mask fraction
    "free, one site": ("free", "identity", None),
    "free, half": ("free", "identity", 0.5),
    "softmax, one site": ("softmax", "true", None),
    "softmax, half": ("softmax", "true", 0.5),
    "softmax, one site, U learned": ("softmax", "learned", None),
}
N_LEARNED_STEPS = 1000  # with a learned U; after 300 some seeds are still far from the end
SIZES_KINDS = ("free, one site", "softmax, one site")
DESCENTS = {"entries": (20.0, 100), "areas": (0.5, 300)}  # learning rate and steps
Z_LIMIT = 4.0  # standard errors
LEAST = 0.5  # change of a score that counts as learned


@dataclass(frozen=True)
class Order:
    """What local sites learn first, in steps; NaN if not at all. Gradients are those at S = 0."""

    ratio_entries: float  # |push from the global area| / pull to the own one, of a score
    ratio_areas: float  # the same of the scores of an area together
    decoupled: float  # step at which the mean score with the global area falls below -1/2
    grown: float  # step at which the mean score with the own area rises above 1/2
    own_share: float  # in the end


def draw(labels: NDArray[np.int64], g: float, n_sequences: int, seed: int) -> SequenceDataset:
    """Return sequences that are far from each other in their chains."""
    move = "heat-bath" if g < ordering_coupling(N_STATES) else "swendsen-wang"
    schedule = Schedule(n_chains=250, n_warmup=200, thin_by=10, move=move)
    model = area_model(labels, g, N_STATES)
    return sample(model, n_sequences, schedule=schedule, rng=seed, n_threads=1).dataset


def correlations(dataset: SequenceDataset, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the correlation inside the areas, by sequence, shape (n_sequences, n_areas).

    (C P(s_i = s_j) - 1) / (C - 1), from the number of sites of an area in every state.
    """
    found = []
    for area in range(labels.max() + 1):
        counts = np.eye(N_STATES)[dataset.sequences[:, labels == area]].sum(axis=1)  # (M, C)
        n = counts[0].sum()
        agreement = (counts * (counts - 1.0)).sum(axis=1) / (n * (n - 1.0))
        found.append((N_STATES * agreement - 1.0) / (N_STATES - 1.0))
    return np.stack(found, axis=1)


def train(dataset: SequenceDataset, labels: NDArray, kind: str, seed: int) -> PottsAreaTraining:
    """Return the layer of a kind trained on a data set."""
    attention, similarity, fraction = KINDS[kind]
    value = COUPLING * np.eye(N_STATES)[None] if similarity == "true" else similarity
    n_steps = N_STEPS if similarity != "learned" else N_LEARNED_STEPS
    # Free attention with one-site masks is a convex problem, which can be solved to its end.
    is_convex = kind == "free, one site"
    cosine = Recipe("adam", n_steps, batch_size=BATCH, schedule="cosine")
    recipe = Recipe("lbfgs", 200) if is_convex else cosine
    return train_potts_areas(
        dataset,
        labels,
        attention=attention,
        color_similarity=value,
        masking=Masking(mask_fraction=fraction),
        recipe=recipe,
        rng=seed,
        n_threads=1,
    )


def descend(labels: NDArray[np.int64], g: float, by: str, seed: int) -> Order:
    """Follow the scores S of softmax attention, U = g I, under plain gradient descent from S = 0.

    By "entries" every S_ij moves alone; by "areas" S_ij = Phi_i,a for all j in area a, as if sites
    showed which area they are in. Half of the sites are masked, new sequences in every step.
    """
    length = len(labels)
    data = draw(labels, g, 4000, seed)
    masking = BoundMasking(mask_fraction=0.5, length=length, n_states=N_STATES, seed=seed)
    layer = FactoredAttention(
        length, N_STATES, attention="softmax", fields="none", color_similarity=g * np.eye(3)[None]
    )
    torch.nn.init.zeros_(layer.scores)
    objective = Objective(layer, Penalty(0.0, 0.0), 1)
    member = torch.from_numpy(np.eye(labels.max() + 1, dtype=np.float32)[labels])  # (L, N)
    own = member @ member.T - torch.eye(length)
    local = torch.from_numpy(labels > 0)
    to_global = local[:, None] & ~local

    def force(numbers: NDArray[np.int64], visit: int) -> torch.Tensor:
        weights = torch.full((len(numbers),), 2.0 / len(numbers) / length)
        batch = masking.batch(numbers, data.sequences[numbers], weights, visit)
        layer.zero_grad()
        (objective.loss(batch) * length).backward()
        assert layer.scores.grad is not None
        return -layer.scores.grad[0]

    def means(matrix: torch.Tensor) -> tuple[float, float]:
        mine = (matrix * own).sum(dim=1)[local] / own.sum(dim=1)[local]
        return float(matrix[to_global].mean()), float(mine.mean())

    start = force(np.arange(data.n_sequences), 0)
    push, pull = means(start)
    n_global, n_own = int((~local).sum()), float(own.sum(dim=1)[local].mean())
    decoupled = grown = np.nan
    rate, n_steps = DESCENTS[by]
    rng = np.random.default_rng(seed)
    for step in range(1, n_steps + 1):
        change = force(rng.choice(data.n_sequences, 250, replace=False), step)
        if by == "areas":
            change = change.fill_diagonal_(0.0) @ member @ member.T
        layer.scores.data[0] += rate * change
        away, near = means(layer.scores.detach()[0])
        decoupled = step if np.isnan(decoupled) and away < -LEAST else decoupled
        grown = step if np.isnan(grown) and near > LEAST else grown
    share = own_area_share(layer.attention_weights()[0].detach().double().numpy(), labels)
    ratio = -push / pull
    return Order(ratio, ratio * n_global / n_own, decoupled, grown, share.local_share)


def show(values: list[float], digits: int = 3) -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.{digits}f} ± {error:.{digits}f}"


def show_steps(steps: list[float]) -> str:
    return ", ".join("never" if np.isnan(step) else f"{step:.0f}" for step in steps)


def print_row(cells: list) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def labels_of(case: tuple[int, int, int], seed: int) -> PatchAreas:
    return random_areas(*case, n_clusters=1, rng=seed)


def check_shares(found: dict) -> Iterator[tuple[str, bool]]:
    """Print the first table, fill `found`, and yield what was checked."""
    setting = f"C = {N_STATES}, g = {COUPLING:g}, order at {ordering_coupling(N_STATES):.3f}"
    print(f"\nOwn-area shares: {setting}, {N_SEQUENCES} sequences, {N_STEPS} steps")
    print(
        "| sites, global, local | gap | layer, masks | global | local | chance g / l | converged |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        length, n_global, n_local = case
        kinds = [kind for kind in KINDS if length < LARGE or KINDS[kind][1] != "learned"]
        shares: dict[str, list[tuple[float, float]]] = {name: [] for name in [*kinds, "mae"]}
        inside: list[NDArray[np.float64]] = []
        for seed in SEEDS:
            areas = labels_of(case, seed)
            labels = areas.labels[0]
            data = draw(labels, COUPLING, N_SEQUENCES, seed)
            inside.append(correlations(data, labels))
            for kind in kinds:
                training = train(data, labels, kind, seed)
                found[case, kind, seed] = training
                share = training.share
                shares[kind].append((share.global_share, share.local_share))
            run = train_areas(areas, SpatialRecipe(max_steps=N_STEPS, record_every=1), rng=seed)
            found[case, "mae", seed] = run
            shares["mae"].append((run.history.own_global[-1], run.history.own_local[-1]))
        for name, values in shares.items():
            of_global, of_local = zip(*values, strict=True)
            label = "masked autoencoder, attention" if name == "mae" else name
            chance = [0.5 * n_global / length, 0.5 * n_local / length]  # visible keys, Q = 0
            if name != "mae":
                chance = [share.global_chance, share.local_chance]
            cells = [case, f"{areas.information_gap:+.2f}", label, show(of_global), show(of_local)]
            n_converged = sum(found[case, name, seed].converged for seed in SEEDS)
            cells.append(f"{chance[0]:.3f} / {chance[1]:.3f}")
            print_row([*cells, "" if name == "mae" else f"{n_converged} of {len(SEEDS)}"])
            stuck = sum(local < 3.0 * chance[1] for local in of_local)
            yield f"{case} {name}: finds areas", stuck == 0 and min(of_global) > chance[0] + 0.1
        of_sequences = np.concatenate(inside)
        for kind, n, values in (
            ("global", n_global, of_sequences[:, 0]),
            ("local", n_local, of_sequences[:, 1:].mean(axis=1)),
        ):
            mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
            exact = area_correlation(n, COUPLING, N_STATES)
            print(f"  correlation inside {kind} areas {mean:.4f} ± {error:.4f}, exact {exact:.4f}")
            yield f"{case} {kind}: correlation", abs(mean - exact) < Z_LIMIT * error


def check_sizes(found: dict) -> Iterator[tuple[str, bool]]:
    """Print the second table and yield what was checked."""
    print(f"\nOwn-area shares (global, local) against the number of sequences, {SIZES_CASE}")
    print_row(["sequences", *SIZES_KINDS])
    print("|---" * (1 + len(SIZES_KINDS)) + "|")
    means: dict[str, list[float]] = {kind: [] for kind in SIZES_KINDS}
    for n_sequences in SIZES:
        cells = []
        for kind in SIZES_KINDS:
            shares, n_converged = [], 0
            for seed in SEEDS:
                training = found.get((SIZES_CASE, kind, seed))
                if training is None or n_sequences != N_SEQUENCES:
                    labels = labels_of(SIZES_CASE, seed).labels[0]
                    training = train(draw(labels, COUPLING, n_sequences, seed), labels, kind, seed)
                shares.append((training.share.global_share, training.share.local_share))
                n_converged += training.converged
            of_global, of_local = zip(*shares, strict=True)
            means[kind].append(float(np.mean(of_local)))
            cells.append(f"{show(of_global)}, {show(of_local)} ({n_converged} converged)")
        print_row([n_sequences, *cells])
    for kind, values in means.items():
        yield f"{kind}: local share grows with sequences", bool((np.diff(values) > 0).all())
    odds = np.array(means[SIZES_KINDS[0]])
    slope = np.polyfit(np.log(SIZES), np.log((1.0 - odds) / odds), 1)[0]
    print(f"  free attention, local: (1 - share) / share falls as M^{slope:.2f}")


def check_order() -> Iterator[tuple[str, bool]]:
    """Print the third table and yield what was checked."""
    print("\nWhat a local site learns first, softmax attention, plain gradient descent")
    print("| areas | gap | scores move | g | ratio of a score | of an area | leaves global at | "
          "finds own at | own share |")  # fmt: skip
    print("|---" * 9 + "|")
    for case in CASES[2:]:
        runs = []
        for seed in SEEDS:
            areas = labels_of(case, seed)
            recipe = SpatialRecipe(max_steps=240, learning_rate=0.01 * case[0], record_every=1)
            runs.append(train_areas(areas, recipe, rng=seed))
        times = [
            [getattr(run.phase_times, name) for run in runs] for name in ("decoupled", "grown")
        ]
        cells = [case, f"{areas.information_gap:+.2f}", "masked autoencoder", "", ""]
        cells += [show([run.rate_ratio for run in runs], 2), *map(show_steps, times)]
        print_row([*cells, show([run.history.own_local[-1] for run in runs], 2)])
        is_first = areas.information_gap > 0.0
        holds = all((first < then) == is_first for first, then in zip(*times, strict=True))
        yield f"{case} autoencoder: order", holds
        for g in (COUPLING, ORDERED):
            for by in DESCENTS:
                orders = []
                for seed in SEEDS:
                    areas = labels_of(case, seed)
                    orders.append(descend(areas.labels[0], g, by, seed))
                columns = {
                    name: [getattr(order, name) for order in orders]
                    for name in Order.__dataclass_fields__
                }
                steps = [show_steps(columns[name]) for name in ("decoupled", "grown")]
                cells = [case, f"{areas.information_gap:+.2f}", by, f"{g:g}"]
                cells += [show(columns[name], 2) for name in ("ratio_entries", "ratio_areas")]
                print_row([*cells, *steps, show(columns["own_share"], 2)])
                first = [order.decoupled < order.grown for order in orders]
                is_first = by == "areas" and g == ORDERED and areas.information_gap > 0.0
                is_so = all(first) if is_first else not any(first)
                yield f"{case} {by} g = {g:g}: leaves global {'first' * is_first or 'later'}", is_so


def draw_figure(found: dict, folder: Path) -> Path:
    """Draw maps and shares of the two large cases."""
    axes = new_figure(2, n_rows=2, width=4.1, height=3.2)
    for row, case in enumerate(CASES[2:]):
        areas = labels_of(case, 0)
        softmax = found[case, "softmax, half", 0]
        ax = plot_area_map(softmax.interactions, areas.labels[0], axes[2 * row])
        ax.set_title(f"softmax attention, areas of {case[1]} and {case[2]}", fontsize=10)
        history = found[case, "mae", 0].history
        mae = (history.step, history.own_global, history.own_local)
        ax = plot_area_shares(
            {
                "softmax attention on Potts": softmax,
                "free attention on Potts": found[case, "free, half", 0],
            },
            axes[2 * row + 1],
            others={"masked autoencoder": mae},
        )
        ax.set_title(f"gap {areas.information_gap:+.2f}, half of the sites masked", fontsize=10)
    path = folder / "spatial_potts.png"
    save_figure(axes[0], path)
    with Image.open(path) as image:
        image.quantize(128).save(path, optimize=True)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--only", choices=("shares", "sizes", "order"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    started = time.perf_counter()
    found: dict = {}
    parts = {
        "shares": lambda: check_shares(found),
        "sizes": lambda: check_sizes(found),
        "order": check_order,
    }
    failed = []
    for name, part in parts.items():
        if options.only in (None, name):
            failed += [what for what, holds in part() if not holds]
            print(f"  {name}: {time.perf_counter() - started:.0f} s since the start")
    if found:
        print(f"figure: {draw_figure(found, options.out).name}")
    print(f"failed: {failed}" if failed else "everything checked holds")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
