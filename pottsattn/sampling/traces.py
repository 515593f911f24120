"""Traces of the chains behind a data set: energy and overlap after every round, from the file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.storage import open_hdf5
from pottsattn._core.validate import InputError
from pottsattn.sampling.agreement import MIN_SAMPLES
from pottsattn.sampling.diagnostics import WINDOW, autocorrelation_function
from pottsattn.sampling.recording import Traces

MOST_CHAINS = 64
MOST_VALUES = 1 << 20  # per observable


@one_line
@dataclass(frozen=True, eq=False)
class Autocorrelation:
    """The autocorrelation function of an observable, and how its sum is cut.

    Attributes
    ----------
    lags : float64, shape (n,)
        In sweeps, from 0 to half of the trace.
    rho : float64, shape (n,)
    time : float
        1 + 2 sum rho up to `window`, in sweeps, and no less than the spacing.
    window : float
        Sokal's window, in sweeps.
    is_closed : bool
        Whether the window closes within half of the trace; else the time is only a lower bound.
    """

    lags: NDArray[np.float64]
    rho: NDArray[np.float64]
    time: float
    window: float
    is_closed: bool


@dataclass(frozen=True, eq=False)
class StoredTraces(Traces):
    """Traces with what is needed to read them.

    Attributes
    ----------
    n_chains : int
        Of the run, also those that are not here.
    n_rounds : int
        Of the run.
    thin_by : int
        Sweeps between the rounds here.
    n_warmup : int
        Sweeps before the first round.
    length : int
        L.
    start : str
        `Schedule.start`.
    """

    n_chains: int
    n_rounds: int
    thin_by: int
    n_warmup: int
    length: int
    start: str

    def autocorrelations(self) -> dict[str, Autocorrelation]:
        """Return the autocorrelation of each observable that varies and is long enough."""
        found = {}
        for name, (_, trace) in self.by_name().items():
            rho = autocorrelation_function(trace)[: len(trace) // 2 + 1]
            if len(trace) < MIN_SAMPLES or np.isnan(rho).any():
                continue
            times = 2.0 * np.cumsum(rho) - 1.0
            is_inside = np.arange(len(rho)) >= WINDOW * times
            is_closed = bool(is_inside.any())
            window = int(np.argmax(is_inside)) if is_closed else len(rho) - 1
            found[name] = Autocorrelation(
                self.thin_by * np.arange(float(len(rho))),
                rho,
                self.thin_by * max(1.0, float(times[window])),
                float(self.thin_by * window),
                is_closed,
            )
        return found


def has_traces(path: str | os.PathLike[str]) -> bool:
    """Return whether a data set holds the traces of its chains."""
    with open_hdf5(path, "sequences") as file:
        return "trace/energy" in file


def read_traces(path: str | os.PathLike[str]) -> StoredTraces:
    """Return the traces in a data set that `sample` wrote.

    At most 64 chains are read, evenly chosen, and about 2^20 values of each observable: fewer
    chains of long runs, and of a single chain too long every second, third, ... round.

    Raises
    ------
    InputError
        The data set holds no traces, or cannot be read.
    """
    with open_hdf5(path, "sequences") as file:
        if "trace/energy" not in file:
            raise InputError(
                f"{path} holds no traces of chains: it was not written by `pottsattn sample` or "
                "`sample_to_file`, or by an older version; sample it again to have them"
            )
        made_by = json.loads(file.attrs["provenance"])
        schedule = made_by["schedule"]
        n_rounds, n_chains = file["trace/energy"].shape
        n_most = min(MOST_CHAINS, max(1, MOST_VALUES // max(1, n_rounds)))
        every = -(-n_chains // n_most)
        each = -(-n_rounds // MOST_VALUES) if n_rounds else 1
        # Backwards in time, so that the last round stays.
        kept = slice((n_rounds - 1) % each, None, each), slice(None, None, every)
        return StoredTraces(
            chains=np.arange(0, n_chains, every),
            energy=file["trace/energy"][kept],
            overlap=file["trace/overlap"][kept],
            n_chains=n_chains,
            n_rounds=n_rounds,
            thin_by=each * int(made_by.get("thin_by", schedule["thin_by"])),
            n_warmup=int(schedule["n_warmup"]),
            length=int(file["sequences"].shape[1]),
            start=str(schedule.get("start", "random")),
        )
