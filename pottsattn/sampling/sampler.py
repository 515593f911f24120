"""Equilibrium sequences from a Potts model: many independent chains, warm-up, thinning.

Every chain owns a random stream spawned from one seed, so a seed gives the same sequences for any
number of threads, in memory or in a file, interrupted or not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pottsattn._core.display import Progress
from pottsattn._core.interrupts import understood
from pottsattn._core.storage import provenance
from pottsattn.data.dataset import SequenceDataset
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.job import Job
from pottsattn.sampling.recording import FileRecorder, MemoryRecorder
from pottsattn.sampling.result import SampleResult
from pottsattn.sampling.schedule import Schedule, Tempering


def sample(
    model: PottsModel,
    n_sequences: int,
    *,
    schedule: Schedule | None = None,
    tempering: Tempering | None = None,
    min_ess: float | None = None,
    initial: ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> SampleResult:
    """Return `n_sequences` sequences drawn from `model` by Markov chains.

    Parameters
    ----------
    model
        Factored models never build their (L, L, C, C) tensor.
    n_sequences
        M, at least 1.
    schedule
        Chains, warm-up, thinning, moves and starts; `Schedule()` if left out.
    tempering
        Exchange replicas with a ladder of inverse temperatures, for rugged models.
    min_ess
        Sample until the effective sample size of energy and overlap is at least this and
        split-R-hat at most 1.1: the thinning is doubled, up to six times, every second sequence
        kept has been dropped and the rest drawn anew. The result says whether it was reached.
    initial : integers, shape (any, length)
        Planted starts: chain k starts from sequence k modulo their number, in place of the ordered
        start if `schedule.start` is "two", else in place of any start.
    rng
        Generator or seed; the same seed gives the same sequences for any `n_threads`.
    progress
        Called with (done, total) from worker threads.

    Warns
    -----
    ConvergenceWarning
        The chains disagree, are frozen, or share a phase of a model that prefers no color;
        `min_ess` was not reached; or the two kinds of start did not meet.
    UserWarning
        Short chains, or an sk-potts model outside the safe zone of its phase diagram: chains may
        not equilibrate.

    Notes
    -----
    Ctrl-C returns the sequences drawn so far, marked `interrupted`.

    Examples
    --------
    >>> from pottsattn.model.ensembles import chain
    >>> sample(chain(10, 3, 0.5), 200, rng=0).dataset
    SequenceDataset(n_sequences=200, length=10, n_states=3, model known)
    """
    job = Job(model, n_sequences, schedule, tempering, min_ess, initial, rng, n_threads, progress)
    recorder = MemoryRecorder(model.n_states, job.recorder_rng)
    interrupted = False
    try:
        job.run_until_enough(recorder)
    except KeyboardInterrupt:
        if recorder.n_rounds == 0:
            raise
        understood()
        interrupted = True
    result = job.result(recorder, interrupted)
    sequences = recorder.sequences()[:n_sequences]
    origin = {**job.origin(), **result.marks()}
    dataset = SequenceDataset(sequences, model.n_states, model=model, origin=origin)
    return result.with_dataset(dataset)


def sample_to_file(
    model: PottsModel,
    n_sequences: int,
    path: str | os.PathLike[str],
    *,
    schedule: Schedule | None = None,
    tempering: Tempering | None = None,
    min_ess: float | None = None,
    initial: ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    labels: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> SampleResult:
    """Write the sequences of `sample` into an HDF5 file, in memory that does not grow with M.

    What is done is kept in PATH.partial. A run that was killed or interrupted goes on from there
    when it is called again with the same arguments (`n_threads` and `progress` may differ), and
    ends with the same file.

    Parameters
    ----------
    path
        Data set to write (`pottsattn.sequences/1`), read by `SequenceFile`.
    labels
        `alphabet`, `gap_index`, `columns` and `numbering` of the file.
    facts
        Added to the provenance.

    Other parameters are those of `sample`.

    Raises
    ------
    InputError
        PATH cannot be written, the disk is full (what is done is kept), or PATH.partial belongs to
        another run or is damaged.
    KeyboardInterrupt
        Ctrl-C; PATH.partial holds what is done.
    """
    job = Job(model, n_sequences, schedule, tempering, min_ess, initial, rng, n_threads, progress)
    recorder = FileRecorder(
        path,
        {**dict(facts or {}), **job.config()},
        n_sequences=n_sequences,
        n_kept=job.n_kept,
        length=model.length,
        n_states=model.n_states,
        rng=job.recorder_rng,
        n_threads=job.n_threads,
    )
    try:
        job.run_until_enough(recorder)
        result = job.result(recorder)
        origin = {**job.origin(), **result.marks(), **dict(facts or {})}
        attributes = {
            "n_states": model.n_states,
            "alphabet": "",
            "gap_index": -1,
            "columns": np.arange(1, model.length + 1, dtype=np.int32),
            **{name: value for name, value in (labels or {}).items() if value is not None},
            **result.attributes(),
        }
        recorder.finish(n_sequences, provenance(**origin), attributes, model)
    except KeyboardInterrupt as error:
        if len(recorder.partial) == 0:
            raise
        reached = min(n_sequences, recorder.n_rounds * job.n_kept)
        raise KeyboardInterrupt(
            f"after {reached} of {n_sequences} sequences; {recorder.partial.path} holds what is "
            "done: repeat the command to go on"
        ) from error
    finally:
        recorder.close()
    return result.with_path(path)
