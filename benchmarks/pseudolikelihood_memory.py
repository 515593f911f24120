"""Peak memory of a site-wise fit of 1000 sites, and the time of a few: a process of its own.

    python benchmarks/pseudolikelihood_memory.py      # prints JSON

A whole fit would take minutes, which its size does not need. All sites take one step on a few of
the sequences: couplings and result are allocated and filled. While they are held, some sites of all
the data are solved to the end on all threads, with the working memory of any fit to the end.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from typing import Any

from pottsattn import Schedule, fit_pseudolikelihood, sample
from pottsattn._core.threads import n_threads_or_default, run_in_threads
from pottsattn.fitting.penalty import Ridge
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.row_solver import StopRule, _solve_row
from pottsattn.fitting.pseudolikelihood.rows_full import FullRows
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.model.ensembles import generalized

N_SEQUENCES, LENGTH, N_STATES = 2000, 1000, 21
N_STEPS = 1
N_SOLVED = 10
EVERY = 50  # which leaves 40 sequences for the step of all sites
GAP_TOLERANCE, MAX_STEPS = 1e-6, 1000  # the defaults


def main() -> None:
    """Fit, and print what it took."""
    model = generalized(LENGTH, N_STATES, 3.0, rng=0)
    schedule = Schedule(n_chains=500, n_warmup=20, thin_by=5)  # near enough to equilibrium
    dataset = sample(model, N_SEQUENCES, schedule=schedule, rng=0).dataset
    # One step for its memory: this fit warns that it is not converged, rightly.
    fit = fit_pseudolikelihood(
        dataset.take(slice(0, None, EVERY)), solver=Solver(max_steps=N_STEPS)
    )
    penalty = Ridge().of(dataset)
    rows = FullRows(RowData.of(dataset, penalty, learn_fields=True))
    strength = min(penalty.couplings_l2, penalty.fields_l2)
    rule = StopRule(strength, GAP_TOLERANCE, None, MAX_STEPS)
    stop = threading.Event()
    started = time.perf_counter()
    solved = [
        row.converged
        for row, _ in run_in_threads(
            lambda site: _solve_row(rows, site, rule, stop, is_mixed=True),
            range(0, LENGTH, LENGTH // N_SOLVED),
            n_threads_or_default(None),
        )
    ]
    seconds = time.perf_counter() - started
    held = fit.couplings.row(0).nbytes * LENGTH  # until here
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "peak_bytes": peak if sys.platform == "darwin" else 1024 * peak,
                "couplings_bytes": held,
                "few_steps_seconds": fit.seconds,
                "sites": len(solved),
                "seconds": seconds,
                "converged": all(solved),
            }
        )
    )


def measured() -> dict[str, Any]:
    """Return what a fresh process measures."""
    run = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
