"""A sweep: all its fits, in any order and by any workers, each on disk once, into one table."""

from __future__ import annotations

import json
import os
import time
import warnings
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from pottsattn._core.display import Progress
from pottsattn._core.executors import LocalProcesses, run_tasks
from pottsattn._core.partial import PartialFile
from pottsattn._core.storage import to_json
from pottsattn._core.validate import ConvergenceWarning
from pottsattn._core.whole_files import check_writable
from pottsattn.studies.sweep.config import SweepConfig
from pottsattn.studies.sweep.one_fit import run_task
from pottsattn.studies.sweep.table import SweepRow, SweepTable
from pottsattn.studies.sweep.tasks import FitTask
from pottsattn.theory.ensemble import warn_outside_safe_zone


@dataclass(frozen=True, eq=False)
class SweepResult:
    """The table of a sweep, and how it was made."""

    file: str
    table: SweepTable
    resumed_from: int | None  # fits that an earlier, killed run had made
    seconds: float

    @property
    def converged(self) -> bool:
        """Whether every fit and every sample converged."""
        return self.table.converged

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `pottsattn sweep`: counts, and the mean at every point."""
        rows = self.table.rows
        return {
            "file": self.file,
            "n_fits": len(rows),
            "n_instances": len({row.instance for row in rows}),
            "converged": self.converged,
            "message": self.table.message,
            "n_not_converged": sum(not row.converged for row in rows),
            "n_samples_not_converged": len(
                {row.instance for row in rows if not row.sample_converged}
            ),
            "resumed_from": self.resumed_from,
            "seconds": self.seconds,
            "points": [mean.to_dict() for mean in self.table.means()],
        }


def run_sweep(
    config: SweepConfig,
    path: str | os.PathLike[str],
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Return the table of a sweep, and write it to `path` (`pottsattn.sweep/1`).

    Every finished fit is kept in PATH.partial at once. A run that was killed goes on from there
    when it is called again with the same configuration, with any executor. The file is the same,
    to the bit, for any number of workers of one kind of machine.

    Parameters
    ----------
    config
        From `read_config`, or `SweepConfig.from_dict`.
    path
        File to write.
    executor
        Where the fits are made; processes of this machine, one per core, if left out. These are
        started afresh: call from a script under `if __name__ == "__main__":`.
    progress
        Called with (fits done, fits).

    Raises
    ------
    InputError
        PATH cannot be written, the disk is full, PATH.partial is of another sweep, or a fit has
        lost its worker three times. What is done is kept.
    KeyboardInterrupt
        Ctrl-C; PATH.partial holds what is done.

    Warns
    -----
    ConvergenceWarning
        Some fits or samples did not converge; their rows say so.
    UserWarning
        A coupling scale outside the safe zone of the phase diagram.
    """
    started = time.perf_counter()
    target = check_writable(path)
    tasks = config.tasks()
    models = {(task.instance.n_states, task.instance.coupling_scale) for task in tasks}
    for n_states, scale in sorted(models):
        warn_outside_safe_zone(n_states, scale, stacklevel=2)
    partial = PartialFile(
        target.with_name(f"{target.name}.partial"), {"command": "sweep", **config.facts()}
    )
    try:
        rows = {int(record["task"]): _read_row(record["row"]) for record in partial.records()}
        n_found = len(rows)
        _run(tasks, rows, partial, executor, progress or (lambda done, total: None))
        table = SweepTable(
            tuple(rows[at] for at in range(len(tasks))), origin={"configuration": config.facts()}
        )
        table.save(path)
        partial.close(remove=True)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"after {len(rows)} of {len(tasks)} fits; {partial.path} holds what is done: repeat "
            "the command to go on"
        ) from error
    finally:
        partial.close()
    seconds = time.perf_counter() - started
    result = SweepResult(os.fspath(path), table, n_found or None, seconds)
    if not table.converged:
        warnings.warn(table.message, ConvergenceWarning, stacklevel=2)
    return result


def _run(
    tasks: list[FitTask],
    rows: dict[int, SweepRow],
    partial: PartialFile,
    executor: Executor | None,
    progress: Progress,
) -> None:
    """Make the fits that `rows` lacks."""
    missing = [at for at in range(len(tasks)) if at not in rows]
    progress(len(rows), len(tasks))

    def keep(which: int, row: SweepRow) -> None:
        at = missing[which]
        text = to_json(asdict(row)).encode()
        partial.append({"task": np.array(at), "row": np.frombuffer(text, np.uint8)})
        rows[at] = row
        progress(len(rows), len(tasks))

    if not missing:
        return
    if executor is not None:
        run_tasks(executor, run_task, [tasks[at] for at in missing], keep)
        return
    with LocalProcesses() as processes:
        run_tasks(processes, run_task, [tasks[at] for at in missing], keep)


def _read_row(record: np.ndarray[Any, Any]) -> SweepRow:
    entries = json.loads(record.tobytes())
    numbers = [item.name for item in fields(SweepRow) if item.type == "float"]
    undefined = {name: np.nan for name in numbers if entries[name] is None}
    return SweepRow(**{**entries, **undefined})
