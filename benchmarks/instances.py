"""What extreme masking teaches: table, curves, digits and cost of docs/instances.md.

    python benchmarks/instances.py [--out DIR] [--parts table,curves,digits,cost] [--workers N]

Encoders are trained on a field mixture (table, curves) and on handwritten digits; three seeds,
which change mixture, sequences, starting values, batches and masks. Every finished task is a file
under DIR/tasks, so a killed run goes on; runs lie in DIR/runs for `pottsattn plot`. "cost" times
steps with one, two and five masks in turns; with "curves" it gives DIR/curves.png its seconds.
Every part checks what the page says of it; the script exits with 1 if something does not hold.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: trainings run side by side
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from pottsattn import __version__
from pottsattn._core.storage import to_json
from pottsattn._core.whole_files import write_whole
from pottsattn.figures.instances import figure_training_lengths
from pottsattn.figures.style import save_figure
from pottsattn.instances.data import InstanceData, digit_data, mixture_data
from pottsattn.instances.encoder import Encoder, encode
from pottsattn.instances.probes import evaluate
from pottsattn.instances.references import random_encoder, train_masked_tokens, train_supervised
from pottsattn.instances.result import InstanceRun
from pottsattn.instances.run import encoder_config_for, run_instances
from pottsattn.instances.settings import HeadConfig, PretrainConfig, TrainingConfig
from pottsattn.instances.training import as_inputs, pretrain

STEPS, SUPERVISED_STEPS = 800, 400
CURVE_STEPS = (100, 200, 400)  # and STEPS, of the table
REPEATS, TIMED_STEPS = 6, 40
COST_RATIO = 2.5  # of a step with five masks to one with one mask, at most
COLUMNS = ("linear_probe", "knn", "token_linear_probe", "field_r2", "feature_std")
COLUMN_NAMES = ("linear", "knn", "token", "field R2", "std")
Task = tuple[str, str, int, int]  # data, row, steps, seed
Scores = dict[str, Any]

BYOL = ("0x1", ".25x1", ".5x1", ".65x1", ".8x1", ".9x1", ".8x2", ".8x5", ".5x2")
TABLE = (
    "raw",
    "random",
    *(f"byol {one}" for one in BYOL),
    *(f"layer {one}" for one in (".8x1", ".8x5")),
    *(f"infonce {one}" for one in ("0x1", ".5x1", ".8x1", ".9x1", ".8x5")),
    *("masked .15", "masked .5", "supervised"),
)
CURVES = ("byol .8x1", "byol .8x5", "byol .5x2")
DIGITS = (
    "raw",
    "random",
    *(f"byol {one}" for one in ("0x1", ".25x1", ".5x1", ".75x1", ".5x2", ".75x4")),
    *(f"infonce {one}" for one in ("0x1", ".5x1", ".5x2", ".75x4")),
    *("masked .5", "supervised"),
)


def main() -> int:
    """Run what is not done yet, print and check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("instances"), metavar="DIR")
    parser.add_argument("--parts", default="table,curves,digits,cost", metavar="NAMES")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    arguments = parser.parse_args()
    parts, seeds = arguments.parts.split(","), range(arguments.seeds)
    tasks: list[Task] = []
    if "table" in parts:
        tasks += [("fields", row, STEPS, seed) for seed in seeds for row in TABLE]
    if "curves" in parts:
        lengths = (*CURVE_STEPS, STEPS)
        tasks += [("fields", row, n, seed) for seed in seeds for row in CURVES for n in lengths]
    if "digits" in parts:
        tasks += [("digits", row, STEPS, seed) for seed in seeds for row in DIGITS]
    done = run_tasks(list(dict.fromkeys(tasks)), arguments.out, arguments.workers)
    print(f"pottsattn {__version__}; mean ± standard error of {len(seeds)} seeds")
    held = []
    if "table" in parts:
        held += report_table(done, seeds)
    if "curves" in parts:
        held += report_curves(done, seeds)
    if "digits" in parts:
        held += report_digits(done, seeds)
    if "cost" in parts:
        costs = step_costs()
        held += report_cost(costs)
        if "curves" in parts:
            draw_curves(arguments.out, seeds, costs)
    return 0 if all(held) else 1


def run_tasks(tasks: Sequence[Task], out: Path, n_workers: int) -> dict[Task, Scores]:
    """Return the scores of every task."""
    for folder in ("tasks", "runs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    paths = {task: out / "tasks" / f"{name_of(task)}.json" for task in tasks}
    waiting = [task for task in tasks if not paths[task].exists()]
    started = time.perf_counter()
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run_task, task, out): task for task in waiting}
        for number, future in enumerate(as_completed(futures), start=1):
            task = futures[future]
            with write_whole(paths[task]) as temporary:
                temporary.write_text(to_json(future.result()), encoding="utf-8")
            elapsed = time.perf_counter() - started
            print(f"{number}/{len(waiting)} {name_of(task)}: {elapsed:.0f} s", flush=True)
    return {task: json.loads(paths[task].read_text(encoding="utf-8")) for task in tasks}


def name_of(task: Task) -> str:
    """Return the name of the files of a task."""
    return "_".join(map(str, task)).replace(" ", "_")


@lru_cache(maxsize=1)
def data_of(name: str, seed: int) -> InstanceData:
    """Return the instances of a seed."""
    if name == "digits":
        return digit_data(2, rng=seed)
    return mixture_data("fields", 8, 32, 6, rng=seed, n_threads=1)


def settings_of(row: str, steps: int) -> tuple[HeadConfig, PretrainConfig]:
    """Return the settings of a row "loss ratio x masks"; layer: byol with layer norms."""
    loss, masks = row.split()
    fraction, number = masks.split("x")
    config = PretrainConfig(
        loss="infonce" if loss == "infonce" else "byol",
        mask_fraction=float(fraction),
        masks=int(number),
        max_steps=steps,
    )
    return HeadConfig(norm="layer" if loss == "layer" else "batch"), config


def run_task(task: Task, out: Path) -> Scores:
    """Train one encoder and return what it knows."""
    name, row, steps, seed = task
    data = data_of(name, seed)
    if "x" not in row:
        return reference(data, row, seed)
    heads, config = settings_of(row, steps)
    others = ("random",) if row == "byol .5x1" else ()  # once, for the figure
    run = run_instances(data, None, heads, config, references=others, rng=seed, n_threads=1)
    run.save(out / "runs" / f"{name_of(task)}.h5", seed=seed)
    return {
        **run.to_dict(),
        "step_seconds": float(run.history.seconds[-1]) / steps,
        "config": run.config,
    }


def reference(data: InstanceData, row: str, seed: int) -> Scores:
    """Return the scores of an encoder that is not trained by extreme masking."""
    sizes, (kind, *ratio) = encoder_config_for(data), row.split()
    if kind == "raw":
        assert data.labels is not None
        scores = evaluate(raw_input(data), data.labels, data.n_probe_train).to_dict()
    elif kind == "random":
        scores = judge(random_encoder(sizes, seed), data)
    elif kind == "supervised":
        config = TrainingConfig(max_steps=SUPERVISED_STEPS)
        labels = data.train_labels
        assert labels is not None
        trained = train_supervised(data.train, labels, sizes, config, rng=seed, n_threads=1)
        scores = judge(trained.encoder, data)
    else:
        share, config = float(ratio[0]), TrainingConfig(max_steps=STEPS)
        trained = train_masked_tokens(
            data.train, sizes, config, mask_fraction=share, rng=seed, n_threads=1
        )
        scores = judge(trained.encoder, data, from_tokens=True)
    return scores


def raw_input(data: InstanceData) -> np.ndarray:
    """Return the probed instances as they are: states one-hot, or the numbers of the patches."""
    values = data.probed
    if data.n_states is not None:
        values = np.eye(data.n_states)[values]
    return values.reshape(len(values), -1)


def judge(encoder: Encoder, data: InstanceData, *, from_tokens: bool = False) -> Scores:
    """Return the scores of the instance vector, or of the mean token."""
    assert data.labels is not None
    vectors, tokens = encode(encoder, as_inputs(data.probed, encoder.config))
    fields = None if data.mixture is None else data.mixture.local_fields(data.probed, data.labels)
    return evaluate(
        tokens.mean(axis=1) if from_tokens else vectors,
        data.labels,
        data.n_probe_train,
        tokens=tokens,
        local_fields=fields,
    ).to_dict()


class Means:
    """Means over seeds, with standard errors, of the tasks of one data set."""

    def __init__(self, done: dict[Task, Scores], data: str, seeds: Iterable[int]) -> None:
        self._done, self._data, self._seeds = done, data, list(seeds)

    def values(self, row: str, column: str = "linear_probe", steps: int = STEPS) -> np.ndarray:
        """Return the values of all seeds; NaN for what is not defined."""
        found = [self._done[self._data, row, steps, seed].get(column) for seed in self._seeds]
        return np.array([np.nan if one is None else one for one in found], float)

    def text(self, row: str, column: str, steps: int = STEPS) -> str:
        """Return "mean ± error"."""
        values = self.values(row, column, steps)
        if np.isnan(values).any():
            return "-"
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        return f"{values.mean():.3f} ± {error:.3f}"

    def verdicts(self, row: str, steps: int = STEPS) -> str:
        """Return how many seeds converged; "-" where nothing is judged."""
        done = self.values(row, "converged", steps)
        return "-" if np.isnan(done).any() else f"{done.sum():.0f} of {len(done)}"

    def gain(self, row: str, other: str, column: str = "linear_probe") -> np.ndarray:
        """Return by how much a row is above another, per seed."""
        return self.values(row, column) - self.values(other, column)

    def table(self, rows: Iterable[str], columns: Sequence[str], names: Sequence[str]) -> None:
        """Print a Markdown table."""
        print(f"\n| encoder | {' | '.join(names)} | converged |\n|---|{'---|' * len(names)}---|")
        for row in rows:
            cells = [self.text(row, column) for column in columns]
            print(f"| {row} | {' | '.join(cells)} | {self.verdicts(row)} |")


def check(claims: dict[str, bool | np.bool_]) -> list[bool]:
    """Print which claims hold."""
    for claim, holds in claims.items():
        print(f"{'holds' if holds else 'FAILS'}: {claim}")
    return [bool(holds) for holds in claims.values()]


def report_table(done: dict[Task, Scores], seeds: Iterable[int]) -> list[bool]:
    """Print and check the table of the field mixture."""
    means = Means(done, "fields", seeds)
    means.table(TABLE, COLUMNS, COLUMN_NAMES)
    print(f"Bayes: {means.text('byol .5x1', 'bayes')}")
    alone = [row for row in TABLE if row not in ("raw", "supervised")]
    spread = {row: means.values(row, "feature_std") for row in TABLE}
    half = means.values("byol .5x1").mean()
    bayes = means.values("byol .5x1", "bayes").min()
    tokens = means.gain("byol .8x5", "random", "token_linear_probe")
    return check(
        {
            "half masked above random by 0.1": means.gain("byol .5x1", "random").min() > 0.1,
            "no mask within 0.08 of random": abs(means.gain("byol 0x1", "random").mean()) < 0.08,
            "one mask: half above 0, 25, 80 and 90 %": half
            > max(means.values(f"byol {one}x1").mean() for one in ("0", ".25", ".8", ".9")),
            "80 %: five masks above one by 0.05": means.gain("byol .8x5", "byol .8x1").min() > 0.05,
            "50 %: two masks above one": means.gain("byol .5x2", "byol .5x1").min() > 0.0,
            "80 % x 5 above 50 % x 2 by less than 0.05": means.gain("byol .8x5", "byol .5x2").mean()
            < 0.05,
            "class from one token, 80 % x 5 above random by 0.1": tokens.min() > 0.1,
            "batch norms and InfoNCE do not collapse": all(
                spread[row].min() > 0.05 for row in TABLE if row.startswith(("byol", "infonce"))
            ),
            "layer norms, 80 % x 1 collapse": spread["layer .8x1"].max() < 0.05,
            "Bayes above 0.95 and every probe": bayes
            > max(0.95, *(means.values(row).max() for row in TABLE)),
            "raw input above every encoder without labels": min(
                means.gain("raw", row).min() for row in alone
            )
            > 0.0,
        }
    )


def report_curves(done: dict[Task, Scores], seeds: Iterable[int]) -> list[bool]:
    """Print probes against the length of the training, each with its own rate schedule."""
    means = Means(done, "fields", seeds)
    steps = (*CURVE_STEPS, STEPS)
    for column in ("linear_probe", "knn"):
        print(f"\n| {column} (converged) | {' | '.join(f'{n} steps' for n in steps)} |")
        print(f"|---|{'---|' * len(steps)}")
        for row in CURVES:
            cells = (f"{means.text(row, column, n)} ({means.verdicts(row, n)})" for n in steps)
            print(f"| {row} | {' | '.join(cells)} |")
    ahead = {
        column: means.values("byol .8x5", column, STEPS // 2).mean()
        - means.values("byol .8x1", column).mean()
        for column in ("linear_probe", "knn")
    }
    return check({"five masks reach one mask in half the epochs": min(ahead.values()) > 0.0})


def report_digits(done: dict[Task, Scores], seeds: Iterable[int]) -> list[bool]:
    """Print and check the table of the digits."""
    means = Means(done, "digits", seeds)
    columns = ("linear_probe", "knn", "token_linear_probe", "feature_std")
    means.table(DIGITS, columns, ("linear", "knn", "token", "std"))
    alone = [row for row in DIGITS if row not in ("raw", "supervised")]
    masked = [row for row in alone if "x" in row and " 0x" not in row]
    return check(
        {
            "digits: masks help nearest neighbors by 0.05": min(
                means.gain(row, "random", "knn").mean() for row in masked
            )
            > 0.05,
            "digits: InfoNCE, 50 % x 2 above random by 0.02": means.gain(
                "infonce .5x2", "random"
            ).min()
            > 0.02,
            "digits: raw pixels above every encoder without labels": min(
                means.gain("raw", row).min() for row in alone
            )
            > 0.0,
        }
    )


def step_costs() -> dict[str, float]:
    """Return the least time of a step in ms, of trainings that take turns."""
    data, found = data_of("fields", 0), {}
    encoder = encoder_config_for(data)
    for _ in range(REPEATS):
        for row in ("byol 0x1", "byol .5x1", "byol .5x2", "byol .8x1", "byol .8x5"):
            heads, config = settings_of(row, TIMED_STEPS)
            run = pretrain(data.train, encoder, heads, config, rng=0, n_threads=1)
            spent = 1e3 * float(run.history.seconds[-1]) / TIMED_STEPS
            found[row] = min(found.get(row, spent), spent)
    return found


def report_cost(costs: dict[str, float]) -> list[bool]:
    """Print times of steps, and check the cost of five masks."""
    print("\nms a step, least of turns: " + ", ".join(f"{r} {t:.1f}" for r, t in costs.items()))
    ratio = costs["byol .8x5"] / costs["byol .8x1"]
    return check({f"five masks cost {ratio:.2f} times one, below {COST_RATIO}": ratio < COST_RATIO})


def draw_curves(out: Path, seeds: Iterable[int], costs: dict[str, float]) -> None:
    """Draw DIR/curves.png; seconds are those of `costs`: the trainings ran beside each other."""
    runs = []
    for row in CURVES:
        for steps in (*CURVE_STEPS, STEPS):
            for seed in seeds:
                name = name_of(("fields", row, steps, seed))
                run = InstanceRun.load(out / "runs" / f"{name}.h5")
                seconds = 1e-3 * costs[row] * run.history.steps
                runs.append(replace(run, history=replace(run.history, seconds=seconds)))
    save_figure(figure_training_lengths(runs)[0], out / "curves.png")


if __name__ == "__main__":
    sys.exit(main())
