"""The spatial system on three seeds: what reconstruction and contrast learn, and what a step costs.

    python benchmarks/spatial.py [PART]

PART is "reconstruction", "contrastive", "caveats", "starts", "phases", "positions", "mean-field",
"cost" or "all". Seeds change partitions, masks and latents. Numbers are lowest - highest of the
seeds. Every part checks what docs/spatial.md says of it; the script exits with 1 if something does
not hold.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from pottsattn.spatial.areas import PatchAreas, random_areas
from pottsattn.spatial.inputs import InputLaw
from pottsattn.spatial.layer import SpatialAttention, reconstruction_loss, synthetic_embeddings
from pottsattn.spatial.mean_field import MeanField
from pottsattn.spatial.objectives import AreaLayer, reconstruction_step
from pottsattn.spatial.recipe import SpatialRecipe
from pottsattn.spatial.run import SpatialRun
from pottsattn.spatial.training import train_areas

SEEDS = (0, 1, 2)
COST_RATIO = 3.0  # of the autograd module over the closed form, at least
Case = tuple[int, int, int, int, SpatialRecipe]  # P, C1, Cs, K and how to train


def run_case(task: tuple[Case, int]) -> SpatialRun:
    """Train one case on one seed."""
    (n_patches, global_area, local_area, n_clusters, recipe), seed = task
    areas = random_areas(n_patches, global_area, local_area, n_clusters=n_clusters, rng=seed)
    return train_areas(areas, recipe, rng=seed)


def run_cases(cases: Sequence[Case]) -> list[list[SpatialRun]]:
    """Return the runs of every case on every seed."""
    tasks = [(case, seed) for case in cases for seed in SEEDS]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = list(pool.map(run_case, tasks))
    return [runs[at : at + len(SEEDS)] for at in range(0, len(runs), len(SEEDS))]


def shown(runs: Sequence[SpatialRun], name: str, digits: int = 3) -> str:
    """Return the range of a measure over seeds."""
    values = [run.to_dict()[name] for run in runs]
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low}-{high}"


def every(runs: Sequence[SpatialRun], name: str) -> np.ndarray:
    """Return a measure of all seeds."""
    return np.array([run.to_dict()[name] for run in runs])


def verdicts(runs: Sequence[SpatialRun]) -> str:
    """Return how many seeds converged."""
    return f"{sum(run.converged for run in runs)} of {len(runs)}"


def sizes(case: Case) -> str:
    return ",".join(map(str, case[:3]))


def reconstruction() -> bool:
    """Own-area attention, excess loss, rates and diversity of masked reconstruction."""
    cases: list[Case] = [
        (36, 18, 3, 2, SpatialRecipe()),
        (36, 12, 6, 2, SpatialRecipe()),
        (36, 8, 7, 2, SpatialRecipe()),
        (100, 60, 5, 3, SpatialRecipe()),
        (100, 20, 10, 3, SpatialRecipe()),
        (144, 108, 4, 3, SpatialRecipe(max_steps=200)),
        (144, 24, 12, 3, SpatialRecipe(max_steps=200)),
    ]
    print("masked reconstruction, 300 steps (P = 144: 200)")
    print(
        "P,C1,Cs      gap    own global   own local    excess global  local    rate ratio   div"
        "        converged"
    )
    good = True
    for case, runs in zip(cases, run_cases(cases), strict=True):
        gap = runs[0].areas.information_gap
        print(
            f"{sizes(case):11}  {gap:+.2f}  {shown(runs, 'own_attention_global'):11}  "
            f"{shown(runs, 'own_attention_local'):11}  "
            f"{shown(runs, 'excess_loss_ratio_global', 4):13}  "
            f"{shown(runs, 'excess_loss_ratio_local', 4):13}  {shown(runs, 'rate_ratio', 2):10}  "
            f"{shown(runs, 'diversity', 2):9}  {verdicts(runs)}"
        )
        good &= bool((every(runs, "own_attention_global") > 0.92).all())
        good &= bool((every(runs, "own_attention_local") > 0.92).all())
        good &= bool((every(runs, "excess_loss_ratio") < 0.01).all())
        good &= bool((every(runs, "diversity") > 0.5).all())
        if abs(gap) > 0.15:
            good &= bool(((every(runs, "rate_ratio") > 1.0) == (gap > 0)).all())
    return good


def contrastive() -> bool:
    """The collapse onto the global area under narrow latents."""
    recipe = SpatialRecipe("contrastive")
    cases: list[Case] = [(36, *pair, 2, recipe) for pair in ((18, 3), (12, 4), (12, 6), (8, 7))]
    cases += [(100, *pair, 3, recipe) for pair in ((60, 5), (20, 10), (12, 11))]
    print("contrastive, z in [.9, 1.1], temperature .5, 300 steps")
    print(
        "P,C1,Cs      gap    local to global  own, global   own, local   div            converged"
    )
    good = True
    for case, runs in zip(cases, run_cases(cases), strict=True):
        print(
            f"{sizes(case):11}  {runs[0].areas.information_gap:+.2f}  "
            f"{shown(runs, 'attention_to_global'):15}  {shown(runs, 'own_attention_global'):12}  "
            f"{shown(runs, 'own_attention_local', 4):12} {shown(runs, 'diversity', 4):13}  "
            f"{verdicts(runs)}"
        )
        good &= bool((every(runs, "attention_to_global") > 0.98).all())
        good &= bool((every(runs, "own_attention_local") < 0.01).all())
        good &= bool((every(runs, "diversity") < 0.01).all())
    return good


def caveats() -> bool:
    """Where contrastive learning does not collapse onto the global area, or not for good."""
    wide = {"objective": "contrastive", "latent_range": (0.5, 1.5)}
    rows: list[tuple[str, Case, Callable[[np.ndarray], bool]]] = [
        ("wide z", (100, 60, 5, 3, SpatialRecipe(**wide)), lambda x: (x > 0.9).all()),
        ("wide z", (100, 20, 10, 3, SpatialRecipe(**wide)), lambda x: (x > 0.8).all()),
        (
            "wide z",
            (100, 20, 10, 3, SpatialRecipe(max_steps=1500, **wide)),
            lambda x: x.max() < 0.8,
        ),
        (
            "wide z",
            (100, 12, 11, 3, SpatialRecipe(max_steps=120, **wide)),
            lambda x: x.min() > 0.85,
        ),
        ("wide z", (100, 12, 11, 3, SpatialRecipe(**wide)), lambda x: x.max() < 0.85),
        (
            "wide z, tau 2",
            (100, 20, 10, 3, SpatialRecipe(temperature=2.0, **wide)),
            lambda x: (x > 0.98).all(),
        ),
        (
            "wide z, tau .1",
            (100, 20, 10, 3, SpatialRecipe(temperature=0.1, **wide)),
            lambda x: (x < 0.5).all(),
        ),
        ("wide z, equal", (100, 10, 10, 3, SpatialRecipe(**wide)), lambda x: (x < 0.5).all()),
        ("equal areas", (36, 9, 9, 2, SpatialRecipe("contrastive")), lambda x: x.min() < 0.5),
    ]
    print("contrastive where it does not stay with the global area")
    print(
        "what            P,C1,Cs      steps  local to global  own, local    div          converged"
    )
    good = True
    for (name, case, holds), runs in zip(rows, run_cases([row[1] for row in rows]), strict=True):
        print(
            f"{name:14}  {sizes(case):11}  {case[4].max_steps:5}  "
            f"{shown(runs, 'attention_to_global'):15}  {shown(runs, 'own_attention_local'):12}  "
            f"{shown(runs, 'diversity'):11}  {verdicts(runs)}"
        )
        good &= bool(holds(every(runs, "attention_to_global")))
    return good


def starts() -> bool:
    """Contrastive learning from random starts, which break the symmetry of its queries."""
    print("contrastive from random Phi and Upsilon, z in [.9, 1.1], 300 steps, P = 36")
    print("C1,Cs   start  local to global  own, local    div at start  at end       converged")
    cases: list[Case] = [
        (36, *pair, 2, SpatialRecipe("contrastive", start_scale=scale))
        for pair in ((18, 3), (12, 6), (8, 7))
        for scale in (0.03, 0.3, 1.0)
    ]
    good = True
    for case, runs in zip(cases, run_cases(cases), strict=True):
        first = [run.history.diversity[0] for run in runs]
        print(
            f"{sizes(case)[3:]:6}  {case[4].start_scale:5}  "
            f"{shown(runs, 'attention_to_global'):15}  {shown(runs, 'own_attention_local'):12}  "
            f"{min(first):.2f}-{max(first):.2f}     {shown(runs, 'diversity'):11}  "
            f"{verdicts(runs)}"
        )
        if case[4].start_scale < 1.0:
            good &= bool((every(runs, "attention_to_global") > 0.98).all())
    return good


def phases() -> bool:
    """Which comes first for a local query, leaving the global area or finding its own."""
    recipe = SpatialRecipe(learning_rate=2.0, max_steps=240, record_every=4)
    cases: list[Case] = [(100, 60, 5, 3, recipe), (100, 20, 10, 3, recipe)]
    print("phases of a local query, small steps (learning rate .02 P)")
    print(
        "P,C1,Cs      gap    leaves global at  finds own at  attends own at  global query "
        "at  converged"
    )
    good = True
    for case, runs in zip(cases, run_cases(cases), strict=True):
        times = [run.phase_times for run in runs]
        columns = [
            "-".join(f"{f(getattr(t, name) for t in times):.0f}" for f in (min, max))
            for name in ("decoupled", "grown", "attends_own", "global_attends_own")
        ]
        gap = runs[0].areas.information_gap
        print(
            f"{sizes(case):11}  {gap:+.2f}  "
            + "  ".join(f"{text:14}" for text in [*columns, verdicts(runs)])
        )
        good &= all((t.decoupled < t.grown) == (gap > 0) for t in times)
    return good


def positions() -> bool:
    """Final correlations, the share of Upsilon, and what freezing it changes."""
    cases: list[Case] = [
        (36, 18, 3, 2, SpatialRecipe()),
        (36, 12, 6, 2, SpatialRecipe()),
        (100, 60, 5, 3, SpatialRecipe()),
        (100, 20, 10, 3, SpatialRecipe()),
    ]
    names = ("phi_own_global", "phi_own_local", "phi_local_to_global", "phi_local_to_local")
    print("mean correlations at the end (means over seeds), reconstruction")
    print("P,C1,Cs      own g  own l  l->g   l->l   Upsilon/Phi  times (Cs - 1)  converged")
    good = True
    for case, runs in zip(cases, run_cases(cases), strict=True):
        means = [np.mean([getattr(run.history, name)[-1] for run in runs]) for name in names]
        ratios = np.array(
            [run.history.upsilon_same_local[-1] / run.history.phi_own_local[-1] for run in runs]
        )
        print(
            f"{sizes(case):11}  "
            + "  ".join(f"{mean:5.2f}" for mean in means)
            + f"  {ratios.mean():10.3f}  {ratios.mean() * (case[2] - 1):8.2f}"
            + f"         {verdicts(runs)}"
        )
        good &= 0.5 < ratios.mean() * (case[2] - 1) < 1.1
    frozen: list[Case] = [
        (100, 60, 5, 3, SpatialRecipe(max_steps=n, train_positions=train))
        for train in (True, False)
        for n in (60, 120)
    ]
    own = [every(runs, "own_attention_local").mean() for runs in run_cases(frozen)]
    print(f"own attention, local, at 60 and 120 steps: {own[0]:.3f}, {own[1]:.3f}; "
          f"Upsilon frozen: {own[2]:.3f}, {own[3]:.3f}")  # fmt: skip
    return good and own[3] > 0.8


def mean_field() -> bool:
    """How far the mean field is from sampled masks, along the way.

    Two patches that share a local area in more than one cluster have an Upsilon as large as Phi;
    the mean field does not see which patches of an area are visible, and is further off there.
    """
    print("mean field against sampled masks, batch 48: |Phi - Phi'| / |Phi'|, three seeds;")
    print("in brackets, queries that share a local area with a patch in several clusters left out")
    good = True
    for n_patches, *pair, n_clusters in ((36, 18, 3, 2), (36, 8, 7, 2), (100, 60, 5, 3)):
        texts = []
        for max_steps in (20, 60, 300):
            found, without = [], []
            for seed in SEEDS:
                areas = random_areas(n_patches, *pair, n_clusters=n_clusters, rng=seed)
                sampled = SpatialRecipe(max_steps=max_steps, batch_size=48)
                averaged = SpatialRecipe(max_steps=max_steps, masks="mean-field")
                exact = train_areas(areas, sampled, rng=seed).layer.phi
                difference = train_areas(areas, averaged, rng=seed).layer.phi - exact
                found.append(np.linalg.norm(difference) / np.linalg.norm(exact))
                alone = ~_shares_several(areas)
                without.append(
                    np.linalg.norm(difference[:, alone]) / np.linalg.norm(exact[:, alone])
                )
            texts.append(
                f"{min(found):.3f}-{max(found):.3f} ({min(without):.3f}-{max(without):.3f}) "
                f"at {max_steps} steps"
            )
            good &= max(without if pair == [18, 3] else found) < 0.08
        print(f"{n_patches},{pair[0]},{pair[1]}: {', '.join(texts)}")
    return good


def _shares_several(areas: PatchAreas) -> np.ndarray:
    """Return which patches share a local area with another one in two clusters or more."""
    shared = areas.labels[:, :, None] == areas.labels[:, None, :]
    local = shared & ~areas.is_global[:, :, None]
    return ((local.sum(axis=0) > 1) & ~np.eye(areas.n_patches, dtype=bool)).any(axis=1)


def cost() -> bool:
    """Seconds of one step: closed form, mean field, and the same step by autograd."""
    areas = random_areas(100, 60, 5, n_clusters=3, rng=0)
    law, labels = InputLaw(areas), areas.labels
    rng = np.random.default_rng(0)
    batch = law.draw(rng, 24)
    layer = AreaLayer(rng.normal(size=(3, 100, 9)), 0.1 * rng.normal(size=(100, 100)))
    embeddings = synthetic_embeddings(3, 9, 100)
    module = SpatialAttention(100, 127, positions=embeddings.positions)
    phi = torch.from_numpy(layer.phi).movedim(1, 0).flatten(1)
    keys = phi @ embeddings.features.flatten(0, 1)
    keys = keys + torch.from_numpy(layer.upsilon) @ embeddings.positions
    module.weights.data.copy_(embeddings.positions.T @ keys)
    tensors = [torch.from_numpy(array) for array in (batch.clusters, labels, batch.latents)]
    patches, visible = embeddings.patches(*tensors), torch.from_numpy(~batch.hidden)

    def by_autograd() -> None:
        module.weights.grad = None
        output, _ = module(patches, visible)
        reconstruction_loss(output, patches, visible).backward()

    _, gradient = reconstruction_step(layer, batch, labels)
    by_autograd()
    expected, _ = embeddings.correlations(module.weights.grad)
    error = float(np.abs(gradient.phi - expected.numpy()).max())
    averaged = MeanField.of(law, rng)
    steps = {
        "autograd module": by_autograd,
        "closed form": lambda: reconstruction_step(layer, batch, labels),
        "mean field": lambda: averaged.step(layer),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(30):  # in turns
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    print(f"P = 100, batch 24 per cluster, K = 3, one thread; gradients differ by {error:.1e}")
    for name, seconds in medians.items():
        ratio = medians["autograd module"] / seconds
        print(f"{name:16} {1e3 * seconds:7.2f} ms per step, {ratio:5.1f} times the module")
    ratio = medians["autograd module"] / medians["closed form"]
    return error < 1e-12 and ratio > COST_RATIO


PARTS = {
    "cost": cost,
    "reconstruction": reconstruction,
    "contrastive": contrastive,
    "caveats": caveats,
    "starts": starts,
    "phases": phases,
    "positions": positions,
    "mean-field": mean_field,
}


def main() -> None:
    """Run the parts named on the command line."""
    torch.set_num_threads(1)
    name = sys.argv[1] if len(sys.argv) > 1 else "all"
    failed = []
    for part in PARTS if name == "all" else [name]:
        start = time.perf_counter()
        if not PARTS[part]():
            failed.append(part)
        print(f"[{part}: {time.perf_counter() - start:.0f} s]\n", flush=True)
    if failed:
        raise SystemExit(f"does not hold: {', '.join(failed)}")


if __name__ == "__main__":
    main()
