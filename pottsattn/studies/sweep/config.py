"""The file that describes a sweep, and the fits that it asks for.

A configuration is TOML. Its keys are lists whose product is the grid; `[[grid]]` tables stand for
several grids, each with the keys above it as defaults, whose union is made. A fit that several ask
for is made once.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice, product
from typing import Any

import numpy as np

from pottsattn._core.foreign import text_lines
from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_choice,
    check_n_states,
    check_positive,
    did_you_mean,
)
from pottsattn.sampling.schedule import Schedule
from pottsattn.studies.sweep.tasks import ESTIMATOR_OF, METHODS, FitTask, Instance
from pottsattn.theory.masks import MASK_MODES
from pottsattn.theory.optimum import optimal_ridge

OPTIMAL = "optimal"
MOST_LINES = 10_000  # of a configuration
MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Grid:
    """Lists whose product is made."""

    n_states: tuple[int, ...]
    coupling_scales: tuple[float, ...]
    lengths: tuple[int, ...]
    seeds: dict[int, tuple[int, ...]]  # of the instances of each length
    alphas: tuple[float, ...]
    ridges: tuple[float | str, ...]
    methods: tuple[str, ...]
    mask_fractions: tuple[float, ...] = ()
    mask_mode: str = "static"
    masks: int = 1
    max_steps: int = 20_000


@dataclass(frozen=True)
class SweepConfig:
    """A sweep: grids, the size of the test sets, how to sample."""

    grids: tuple[Grid, ...]
    n_test: int
    schedule: Schedule

    @classmethod
    def from_dict(cls, entries: dict[str, Any], *, first_seed: int = 0) -> SweepConfig:
        """Return the sweep that the entries of a configuration describe.

        Parameters
        ----------
        entries
            As in the file; see docs/sweep.md.
        first_seed
            Of the instances, where the configuration gives only their number.

        Raises
        ------
        InputError
            An unknown or missing key, or a wrong value.
        """
        shared = dict(entries)
        parts = shared.pop("grid", [{}])
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise InputError("grid must be tables, each under a line [[grid]]")
        n_test = _take("n_test", shared.pop("n_test", 4000), _at_least(1))
        schedule = _schedule(shared.pop("sampling", {}))
        grids = tuple(_grid({**shared, **part}, first_seed) for part in parts)
        return cls(grids, n_test, schedule)

    def facts(self) -> dict[str, Any]:
        """Return what decides the result, for FILE.partial and the provenance."""
        grids: dict[str, Any] = {"grid": asdict(self.grids[0])}
        if len(self.grids) > 1:
            grids = {f"grid {k}": asdict(grid) for k, grid in enumerate(self.grids, start=1)}
        return {**grids, "n_test": self.n_test, "sampling": asdict(self.schedule)}

    def tasks(self) -> list[FitTask]:
        """Return the fits, each once, instance by instance.

        Raises
        ------
        InputError
            An optimal ridge was asked for where there is none, or alpha L is no whole number.
        """
        best = _BestRidges()
        found: dict[Instance, dict[FitTask, None]] = {}
        for grid in self.grids:
            for instance in self._instances(grid):
                tasks = found.setdefault(instance, {})
                for fit in _fits(grid):
                    tasks[_finish(FitTask(instance, *fit, max_steps=grid.max_steps), best)] = None
        every: list[FitTask] = []
        for instance, tasks in found.items():
            n_train = max(task.n_sequences for task in tasks)
            whole = replace(instance, n_train=n_train)
            every += [replace(task, instance=whole) for task in tasks]
        return every

    def _instances(self, grid: Grid) -> Iterator[Instance]:
        for length, n_states, scale in product(grid.lengths, grid.n_states, grid.coupling_scales):
            for seed in grid.seeds[length]:
                yield Instance(n_states, scale, length, seed, 0, self.n_test, self.schedule)


def read_config(path: str | os.PathLike[str], *, first_seed: int = 0) -> SweepConfig:
    """Return the sweep that a TOML file describes.

    Raises
    ------
    InputError
        The file cannot be read, is no TOML, or has a wrong entry; the message names the key.
    """
    lines = list(islice(text_lines(path), MOST_LINES + 1))
    if len(lines) > MOST_LINES:
        raise InputError(f"{path} has more than {MOST_LINES} lines; expected a short TOML file")
    try:
        return SweepConfig.from_dict(tomllib.loads("\n".join(lines)), first_seed=first_seed)
    except (RecursionError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _fits(grid: Grid) -> Iterator[tuple[str, float, str, float]]:
    """Yield (method, alpha, kind of ridge, ridge, mask fraction, mode, masks) of one instance."""
    for alpha, ridge, method in product(grid.alphas, grid.ridges, grid.methods):
        value = np.nan if isinstance(ridge, str) else ridge
        head: Any = (method, alpha, OPTIMAL if isinstance(ridge, str) else "fixed", value)
        if method == "attention" and grid.mask_fractions:
            for fraction in grid.mask_fractions:
                yield (*head, fraction, grid.mask_mode, grid.masks)
        else:
            yield head


class _BestRidges(dict[tuple[Any, ...], float]):
    """The best ridges of the theory, each computed once."""

    def __missing__(self, key: tuple[Any, ...]) -> float:
        n_states, scale, alpha, estimator, fraction, mode = key
        curve = optimal_ridge(
            n_states,
            scale,
            [alpha],
            estimator=estimator,
            mask_fraction=fraction,
            mask_mode=mode or "fresh",
        )
        if not curve.converged[0]:
            raise InputError(
                f"there is no optimal ridge at C {n_states}, J {scale:g}, alpha {alpha:g} "
                f"({estimator}): {curve.message}; give ridges as numbers there"
            )
        self[key] = float(curve.ridge[0])
        return self[key]


def _finish(task: FitTask, best: _BestRidges) -> FitTask:
    """Return the task with the value of its ridge, its sizes checked."""
    instance = task.instance
    size = task.alpha * instance.length
    if abs(size - round(size)) > 1e-9 * size or round(size) < 1:
        raise InputError(
            f"alphas times lengths must be whole numbers of sequences, got {task.alpha:g} times "
            f"{instance.length} = {size:g}"
        )
    if task.ridge_kind == "fixed":
        return task
    if task.masks not in (None, 1) and task.mask_mode == "static":
        raise InputError(
            f"ridges 'optimal' needs masks = 1 with static masks, got masks = {task.masks}: the "
            "theory is for one pattern per sequence; give ridges as numbers"
        )
    estimator = ESTIMATOR_OF[task.method]
    key = (instance.n_states, instance.coupling_scale, task.alpha, estimator)
    return replace(task, ridge=best[(*key, task.mask_fraction, task.mask_mode)])


def _at_least(minimum: int) -> Callable[[str, Any], int]:
    return lambda name, value: check_at_least(name, value, minimum)


def _length(name: str, value: Any) -> int:
    return check_at_least(name, value, 2)


def _ridge(name: str, value: Any) -> float | str:
    if value == OPTIMAL:
        return OPTIMAL
    if isinstance(value, str):
        raise InputError(f"{name} must be numbers above 0 or {OPTIMAL!r}, got {value!r}")
    return check_positive(name, value)


def _fraction(name: str, value: Any) -> float:
    if check_positive(name, value) >= 1.0:
        raise InputError(f"{name} must be above 0 and below 1, got {value}")
    return float(value)


LISTS: dict[str, Callable[[str, Any], Any]] = {
    "n_states": lambda name, value: check_n_states(value),
    "coupling_scales": check_positive,
    "lengths": _length,
    "alphas": check_positive,
    "ridges": _ridge,
    "methods": lambda name, value: check_choice(name, value, METHODS),
    "mask_fractions": _fraction,
}
SINGLE: dict[str, Callable[[str, Any], Any]] = {
    "mask_mode": lambda name, value: check_choice(name, value, MASK_MODES),
    "masks": _at_least(1),
    "max_steps": _at_least(1),
}
OPTIONAL = ("mask_fractions", *SINGLE)
KEYS = (*LISTS, "instances", *SINGLE)
EXAMPLES = {"instances": "8", "methods": '["factored", "plm"]', "lengths": "[100]"}


def _grid(entries: dict[str, Any], first_seed: int) -> Grid:
    for key in entries:
        if key not in KEYS:
            names = (*KEYS, "n_test", "sampling", "grid")
            raise InputError(
                f"unknown key {key!r}{did_you_mean(key, names)}; the keys are {', '.join(names)}"
            )
    for key in KEYS:
        if key not in entries and key not in OPTIONAL:
            example = EXAMPLES.get(key, "[2]")
            raise InputError(f"the key {key} is missing; add a line such as {key} = {example}")
    values: dict[str, Any] = {
        key: _take_list(key, entries[key], check) for key, check in LISTS.items() if key in entries
    }
    values |= {
        key: _take(key, entries[key], check) for key, check in SINGLE.items() if key in entries
    }
    grid = Grid(seeds=_seeds(entries["instances"], values["lengths"], first_seed), **values)
    if grid.mask_fractions and "attention" not in grid.methods:
        raise InputError(
            f"mask_fractions are for the method attention, got methods {', '.join(grid.methods)}; "
            "add it or leave mask_fractions out"
        )
    return grid


def _seeds(value: Any, lengths: tuple[int, ...], first_seed: int) -> dict[int, tuple[int, ...]]:
    """Return the seeds of every length, from a number, a list, or a table of these by length."""
    if not isinstance(value, dict):
        return dict.fromkeys(lengths, _seed_list(value, first_seed))
    for length in lengths:
        if str(length) not in value:
            raise InputError(
                f"instances have no entry for length {length}; add a line such as {length} = 8"
            )
    return {length: _seed_list(value[str(length)], first_seed) for length in lengths}


def _seed_list(value: Any, first_seed: int) -> tuple[int, ...]:
    if isinstance(value, list):
        seeds = _take_list("instances", value, _at_least(0))
    else:
        number = _take("instances", value, _at_least(1))
        seeds = tuple(range(first_seed, first_seed + number))
    check_at_least("seed", max(seeds), 0, MOST_SEED)  # they are a column of the table
    return seeds


def _take(name: str, value: Any, check: Callable[[str, Any], Any]) -> Any:
    """Return a checked value; TOML has its own types, so a wrong one is a wrong entry."""
    try:
        return check(name, value)
    except TypeError as error:
        raise InputError(str(error)) from error


def _take_list(name: str, value: Any, check: Callable[[str, Any], Any]) -> tuple[Any, ...]:
    """Return a tuple of different checked values; a single one stands for a list of it."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InputError(f"{name} is empty: at least one value is needed")
    return tuple(dict.fromkeys(_take(name, item, check) for item in values))


def _schedule(entries: Any) -> Schedule:
    names = tuple(asdict(Schedule()))
    if not isinstance(entries, dict):
        raise InputError(f"sampling must be a table under a line [sampling], got {entries!r}")
    for key in entries:
        if key not in names:
            raise InputError(
                f"unknown key {key!r} in [sampling]{did_you_mean(key, names)}; the keys are "
                f"{', '.join(names)}"
            )
    try:
        return Schedule(**entries)
    except (InputError, TypeError) as error:
        raise InputError(f"[sampling]: {error}") from error
