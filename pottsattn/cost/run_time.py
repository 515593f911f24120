"""The time that a fit will take, told roughly before it starts.

The fit itself is run on little random data, for so many steps that it is past its beginning, with
the threads that it will have, in a second once kernels are compiled. Its time is taken as

    a M L^2 + b L^2 + c L      (mean field: b L^3, the inverse of a matrix)

for M sequences of L sites, with a, b, c >= 0 from pilots of two lengths and two numbers of
sequences; other programs on this machine come on top. How many evaluations a fit takes depends on
the data and on the penalty; those of TYPICAL are for the default penalty (ridge 0.2) and lie in the
middle of what fits took:

    plm                  10 to 38 (mean over sites)   PF00014: 30
    plm, symmetric       10 to 42                     PF00014: 42
    factored, identity   6 to 25 (mean over sites)    PF00014: 25
    learned, H = 1, 4    12 to 201, 37 to 595         PF00014: 201, 595
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from pottsattn._core.display import one_line, readable_seconds, two_digits
from pottsattn._core.validate import ConvergenceWarning
from pottsattn.cost.memory import PlannedFit
from pottsattn.data.alignment.identity import sequence_weights
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.methods import TRAINED
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.pseudolikelihood.solver import Solver

TYPICAL = {"plm": 24, "symmetric": 26, "factored": 14, "heads": 200}  # heads: times the root of H
WITHIN = {"plm": 3, "symmetric": 3, "factored": 3, "heads": 8, "mf": 3}  # factors
NUMBERS, MOST_SITES = 1 << 20, 150  # couplings and sites of a pilot
PLACES, FEW, MOST = 10_000_000, 32, 20_000  # sequences times pairs of sites of a pilot; sequences
STEPS = 12  # by then L-BFGS holds all pairs of vectors it ever will
PENALTY, NEVER = 0.01, 1e-300  # a step takes one evaluation; no gap is as small
COMPARED, MOST_COMPARED = 3000, 1000  # sequences and sites


@one_line
@dataclass(frozen=True)
class RunTime:
    """The time of a fit.

    Attributes
    ----------
    stages : dict of float or None
        Seconds by stage; None where unknown.
    n_evaluations : int or None
        Of the objective of all sites, as a typical fit takes; None where there are none.
    within : int or None
        The factor by which the time is uncertain.
    """

    stages: dict[str, float | None]
    n_evaluations: int | None = None
    within: int | None = None

    @property
    def seconds(self) -> float | None:
        """The time of all stages, s; None if one is unknown."""
        known = [seconds for seconds in self.stages.values() if seconds is not None]
        return sum(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, times with two digits."""
        return {
            "seconds": two_digits(self.seconds),
            "seconds_by_stage": {name: two_digits(time) for name, time in self.stages.items()},
            "seconds_within_factor": self.within,
            "typical_evaluations": self.n_evaluations,
        }

    def __str__(self) -> str:
        if self.seconds is None:
            return "time unknown: it depends on the device"
        parts = ", ".join(
            f"{name} {readable_seconds(at)}" for name, at in self.stages.items() if at
        )
        text = f"time about {readable_seconds(self.seconds)}, within a factor of {self.within}"
        if self.n_evaluations is not None:
            text += f" at the default penalty ({self.n_evaluations} evaluations)"
        return f"{text}: {parts}"


def plan_time(fit: PlannedFit) -> RunTime:
    """Return the time that a fit will take; that of attention and transformers is unknown."""
    weights, form = "sequence weights of an alignment", fit.form
    if fit.method in TRAINED:
        return RunTime({weights: None, "fit": None})
    n_evaluations = None
    if form in TYPICAL:
        n_evaluations = round(TYPICAL[form] * (math.sqrt(fit.n_heads) if form == "heads" else 1.0))

    def pilot(n_sequences: int, length: int) -> float:
        return _pilot_seconds(fit, _random_data(n_sequences, length, fit.n_states), n_evaluations)

    # The inverse of a matrix costs the cube of its size.
    seconds = extrapolated(pilot, fit, power=3 if form == "mf" else 2)
    return RunTime({weights: _weighting_seconds(fit), "fit": seconds}, n_evaluations, WITHIN[form])


def extrapolated(pilot: Callable[[int, int], float], fit: PlannedFit, power: int) -> float:
    """Return the seconds at the sizes of a fit as they follow from `pilot(M, L)` at small ones."""
    per_pair = max(fit.n_states**2, fit.n_heads)
    long = max(2, min(fit.length, MOST_SITES, math.isqrt(NUMBERS // per_pair)))
    short = max(2, long // 3)
    many = max(10 * FEW, min(MOST, PLACES // short**2))
    sizes = np.array(
        [(FEW, short), (FEW, long), (many, short), (fit.n_sequences, fit.length)], float
    )
    n_sequences, length = sizes.T
    terms = np.stack([n_sequences * length**2, length**power, length], axis=1)
    terms /= terms[:3].max(axis=0)  # numbers near one
    pilot(FEW, short)  # what is compiled is so from here on
    times = np.array([pilot(int(size[0]), int(size[1])) for size in sizes[:3]])
    costs, _ = nnls(terms[:3] / times[:, None], np.ones(3))  # relative errors count
    return float(terms[3] @ costs)


def _pilot_seconds(fit: PlannedFit, data: SequenceDataset, n_evaluations: int | None) -> float:
    """Return the seconds that data take, if so many evaluations are needed."""
    if n_evaluations is None:
        return fit_mean_field(data).seconds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = fit_pseudolikelihood(
            data,
            fit.method,
            penalty=Penalty(PENALTY, PENALTY),
            solver=Solver(gap_tolerance=NEVER, max_steps=STEPS),
            symmetric=fit.symmetric,
            n_heads=fit.n_heads,
            color_similarity=fit.color_similarity if fit.method == "factored" else None,
            n_threads=fit.n_threads,
        )
    return found.seconds * n_evaluations / found.n_evaluations


def _weighting_seconds(fit: PlannedFit) -> float:
    sequences = _random_data(COMPARED, min(fit.length, MOST_COMPARED), fit.n_states).sequences
    sequence_weights(sequences[:2], 0.8, n_threads=1)
    started = time.perf_counter()
    sequence_weights(sequences, 0.8, n_threads=fit.n_threads)
    return (time.perf_counter() - started) * (fit.n_sequences / COMPARED) ** 2


def _random_data(n_sequences: int, length: int, n_states: int) -> SequenceDataset:
    shape = (n_sequences, length)
    sequences = np.random.default_rng(0).integers(n_states, size=shape, dtype=np.uint8)
    return SequenceDataset(sequences, n_states)
