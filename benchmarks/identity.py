"""Time sequence weights against the plain comparison of all pairs, the counts checked first.

    python benchmarks/identity.py [ALIGNMENT...]

The reference compares two sequences site by site and gives up beyond the limit; it is compiled by
Numba too, and runs on as many threads.
"""

from __future__ import annotations

import sys
import time

import numba
import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import run_in_threads
from pottsattn.data.alignment.identity import sequence_weights
from pottsattn.data.alignment.reading import read_alignment

THRESHOLD = 0.8


@numba.njit(nogil=True)
def reference(
    sequences: NDArray[np.uint8], start: int, stop: int, limit: int, counts: NDArray[np.int64]
) -> None:
    for m in range(start, stop):
        total = 0
        for n in range(sequences.shape[0]):
            mismatches = 0
            for site in range(sequences.shape[1]):
                if sequences[m, site] != sequences[n, site]:
                    mismatches += 1
                    if mismatches > limit:
                        break
            total += mismatches <= limit
        counts[m] = total


def reference_counts(sequences: NDArray[np.uint8], n_threads: int) -> NDArray[np.int64]:
    counts = np.empty(len(sequences), dtype=np.int64)
    limit = int((1.0 - THRESHOLD) * sequences.shape[1] + 1e-9)

    def rows(start: int) -> None:
        reference(sequences, start, min(start + 256, len(sequences)), limit, counts)

    for _ in run_in_threads(rows, range(0, len(sequences), 256), n_threads):
        pass
    return counts


def main(paths: list[str]) -> None:
    rng = np.random.default_rng(0)
    data = {path: read_alignment(path).sequences for path in paths}
    for shape in ((10_000, 100), (20_000, 200)):
        data[f"random {shape}, 21 states"] = rng.integers(21, size=shape, dtype=np.uint8)
    small = rng.integers(21, size=(300, 50), dtype=np.uint8)
    reference_counts(small, 1)
    sequence_weights(small, THRESHOLD)
    for name, sequences in data.items():
        for n_threads in (1, 2):
            started = time.perf_counter()
            counts = reference_counts(sequences, n_threads)
            plain = time.perf_counter() - started
            seconds = []
            for _ in range(3):
                started = time.perf_counter()
                weights = sequence_weights(sequences, THRESHOLD, n_threads=n_threads)
                seconds.append(time.perf_counter() - started)
            if not np.array_equal(weights, 1.0 / counts):
                raise SystemExit(f"WRONG: counts of {name}")
            best = min(seconds)
            print(
                f"{name}, {n_threads} threads: {plain:.2f} s plain, {best:.3f} s, "
                f"{plain / best:.0f} times faster, M_eff {weights.sum():.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
