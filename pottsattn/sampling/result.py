"""What a sampling run gives back: the data or their file, and how far to trust them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pottsattn._core.display import html_table
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import InputError
from pottsattn._core.verdict import stated
from pottsattn.data.dataset import SequenceDataset
from pottsattn.sampling.diagnostics import Diagnosis, TwoStartCheck, WarmupSuggestion
from pottsattn.sampling.symmetry import ColorCheck
from pottsattn.sampling.tempering import TemperingReport


@dataclass(frozen=True, eq=False, repr=False)
class SampleResult:
    """Sampled sequences with the diagnostics of their chains.

    Attributes
    ----------
    n_sequences : int
        M.
    dataset : SequenceDataset
        Sequences ordered by time, then chain, with the true model; read from the file at every
        look if they are in one.
    path : str or None
        The file, if they are in one; `SequenceFile` reads it in parts.
    diagnoses : dict of Diagnosis
        Of "energy" and "overlap" (with a fixed sequence), see `diagnostics`.
    ess : float
        Effective number of independent sequences, the smaller of the two; NaN if chains are too
        short.
    split_r_hat, autocorrelation_time : float
        The larger of the two. The time is 1 + 2 sum rho, in sweeps, and no less than `thin_by`,
        below which nothing is seen. NaN if chains are too short.
    warmup : WarmupSuggestion
        How long the warm-up should have been, by the energy of the chains since their start.
    two_start : TwoStartCheck or None
        Whether random and ordered (or planted) starts met, if the schedule asked for both.
    tempering : TemperingReport or None
        Swap rates and round trips.
    colors : ColorCheck or None
        Whether the overlap is 1 / C, where no color is preferred.
    thin_by : int
        Sweeps between kept sequences, after all doublings.
    converged : bool
        Whether no check fails: that chains move and agree (split-R-hat), that the overlap is 1 / C
        where it must be, and what was asked for: `min_ess`, and that two kinds of start meet.
        Chains with fewer than 4 sequences are not judged; the message says so.
    message : str
        How it ended, in words.
    phase_zone : str or None
        "safe", "caution" or "invalid" for sk-potts models (`theory.ensemble.phase_zone`).
    kernel : str
        Move and kernel that ran, such as "heat-bath/lanes".
    updates_per_second, seconds : float
        Single-site updates per second of wall time, and wall time, both of this call.
    resumed_from : int or None
        Sequences that were there already when a killed run was continued.
    interrupted : bool
        Ended by Ctrl-C: what was drawn so far.
    """

    n_sequences: int
    diagnoses: dict[str, Diagnosis]
    warmup: WarmupSuggestion
    two_start: TwoStartCheck | None
    tempering: TemperingReport | None
    colors: ColorCheck | None
    thin_by: int
    converged: bool
    message: str
    phase_zone: str | None
    kernel: str
    updates_per_second: float
    seconds: float
    resumed_from: int | None = None
    interrupted: bool = False
    path: str | None = None
    in_memory: SequenceDataset | None = None

    @property
    def dataset(self) -> SequenceDataset:
        """The sequences with the true model."""
        if self.in_memory is not None:
            return self.in_memory
        if self.path is None:
            raise InputError("this result holds no data: it was made without a data set or file")
        return SequenceDataset.load(self.path)

    @property
    def ess(self) -> float:
        """Smallest effective sample size."""
        return -_largest(-one.ess for one in self.diagnoses.values())

    @property
    def is_lower_bound(self) -> bool:
        """Whether `autocorrelation_time` may be longer than it is said, and `ess` smaller."""
        return any(one.is_lower_bound for one in self.diagnoses.values())

    @property
    def split_r_hat(self) -> float:
        """Largest split-R-hat."""
        return _largest(one.split_r_hat for one in self.diagnoses.values())

    @property
    def autocorrelation_time(self) -> float:
        """Longest autocorrelation time, in sweeps."""
        return _largest(one.autocorrelation_time for one in self.diagnoses.values())

    def with_dataset(self, dataset: SequenceDataset) -> SampleResult:
        """Return the result with its data."""
        return replace(self, in_memory=dataset)

    def with_path(self, path: str | os.PathLike[str]) -> SampleResult:
        """Return the result with the file that holds its data."""
        return replace(self, path=os.fspath(path))

    def attributes(self) -> dict[str, Any]:
        """Return what marks the data in their file."""
        marks: dict[str, Any] = {
            "ess": self.ess,
            "split_r_hat": self.split_r_hat,
            "autocorrelation_time": self.autocorrelation_time,
            "converged": self.converged,
            "message": self.message,
        }
        if self.phase_zone is not None:
            marks["phase_zone"] = self.phase_zone
        return marks

    def marks(self) -> dict[str, Any]:
        """Return what marks the data in their provenance."""
        return {
            "thin_by": self.thin_by,
            "converged": self.converged,
            "message": self.message,
            "diagnostics": self._diagnostics(),
        }

    def _diagnostics(self) -> dict[str, Any]:
        facts: dict[str, Any] = {name: one.to_dict() for name, one in self.diagnoses.items()}
        facts["suggested_warmup"] = self.warmup.n_sweeps
        facts["warmup_criterion"] = self.warmup.criterion
        facts["two_start_z"] = None if self.two_start is None else self.two_start.z
        facts["colors"] = None if self.colors is None else self.colors.to_dict()
        facts["tempering"] = None if self.tempering is None else self.tempering.to_dict()
        return facts

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnostics, without the data."""
        return {
            "n_sequences": self.n_sequences,
            "ess": self.ess,
            "split_r_hat": self.split_r_hat,
            "autocorrelation_time": self.autocorrelation_time,
            "phase_zone": self.phase_zone,
            "kernel": self.kernel,
            "updates_per_second": self.updates_per_second,
            "resumed_from": self.resumed_from,
            "seconds": self.seconds,
            "converged": self.converged,
            "message": self.message,
            "interrupted": self.interrupted,
            "thin_by": self.thin_by,
            "diagnostics": self._diagnostics(),
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the diagnostics as one row."""
        row = {name: value for name, value in self.to_dict().items() if name != "diagnostics"}
        write_csv(path, list(row), [list(row.values())])

    def _repr_html_(self) -> str:
        rows = {name: value for name, value in self.to_dict().items() if name != "diagnostics"}
        return html_table("SampleResult", rows)

    def __repr__(self) -> str:
        state = "" if self.converged else f", {stated(False, self.message)}"
        return (
            f"SampleResult({self.n_sequences} sequences, ess={self.ess:.0f}, "
            f"split_r_hat={self.split_r_hat:.3f}, "
            f"tau{'>' * self.is_lower_bound}={self.autocorrelation_time:.3g} sweeps{state})"
        )


def _largest(values: Iterable[float]) -> float:
    """Return the largest value that is not NaN: a constant observable says nothing."""
    known = [value for value in values if not np.isnan(value)]
    return max(known) if known else float("nan")
