"""Peak resident memory of fits, measured, beside the estimate of `pottsattn info`.

    python benchmarks/memory.py [KIND...]

Every fit is a process of its own with few steps, which is enough: optimizers reach their largest
size after some ten steps. Data are arrays, which are read for less than the estimate says, but for
one case. Kernels must be compiled before (run twice). Printed are the measured peak, the estimate
and their ratio; exit status 1 if an estimate is below 0.9 or above 1.6 times the peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pottsattn._core.display import readable_bytes
from pottsattn.cost.memory import PlannedFit

LEAST, MOST = 0.9, 1.6
LETTERS = np.frombuffer(b"-ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)
# kind of fit, length, states, sequences, threads, heads
CASES = (
    ("plm", 100, 21, 20_000, 1, 1),
    ("plm", 200, 21, 500, 1, 1),
    ("plm", 200, 21, 500, 2, 1),
    ("plm", 400, 21, 300, 2, 1),
    ("plm", 600, 21, 200, 2, 1),
    ("plm", 300, 4, 20_000, 2, 1),  # sequences as bits
    ("symmetric", 60, 21, 20_000, 2, 1),
    ("symmetric", 200, 21, 500, 2, 1),
    ("symmetric", 300, 21, 300, 1, 1),
    ("symmetric", 500, 4, 2000, 2, 1),
    ("factored", 1000, 4, 2000, 2, 1),
    ("learned", 200, 21, 500, 2, 4),
    ("learned", 1000, 4, 300, 2, 8),
    ("learned", 600, 21, 100, 1, 8),
    ("learned", 40, 48, 500, 2, 1),  # the patterns of its start are the peak
    ("attention", 100, 21, 2000, 2, 1),
    ("attention", 100, 21, 2000, 2, 4),
    ("attention", 300, 4, 9000, 2, 2),
    ("attention", 600, 21, 200, 2, 8),
    ("transformer", 50, 21, 1000, 2, 1),
    ("transformer", 200, 21, 300, 2, 4),
    ("mf", 100, 21, 2000, 2, 1),
    ("mf", 200, 21, 2000, 2, 1),
    ("mf", 300, 21, 1000, 2, 1),
    ("factored", 300, 21, 40_000, 2, 1),  # as an alignment: reading it is the peak
)


OPTIONS: dict[str, dict[str, Any]] = {  # of a PlannedFit
    "symmetric": {"method": "plm", "symmetric": True},
    "factored": {"method": "factored", "color_similarity": "identity"},
    "learned": {"method": "factored", "color_similarity": "learned"},
}


def measured(case: tuple[str, int, int, int, int, int], folder: Path) -> int:
    """Return the peak resident memory of a fit, in bytes."""
    kind, length, n_states, n_sequences, n_threads, n_heads = case
    options = {"method": kind, **OPTIONS.get(kind, {})}
    method = options["method"]
    rng = np.random.default_rng(0)
    sequences = rng.integers(n_states, size=(n_sequences, length), dtype=np.uint8)
    sequences[:n_states] = np.arange(n_states, dtype=np.uint8)[:, None]
    if n_sequences >= 40_000:
        path = folder / "data.fasta"
        rows = (b">s%d\n%s\n" % (m, LETTERS[row].tobytes()) for m, row in enumerate(sequences))
        path.write_bytes(b"".join(rows))
    else:
        path = folder / "data.npy"
        np.save(path, sequences)
    argv = ["fit", str(path), "--method", method, "--out", str(folder / "fit.h5"), "--json"]
    argv += ["--threads", str(n_threads)]
    if method != "mf":
        argv += ["--max-steps", "3" if method in ("attention", "transformer") else "25"]
    if method in ("attention", "transformer"):
        argv += ["--device", "cpu", "--heads", str(n_heads)]
    if method == "factored":
        argv += ["--heads", str(n_heads)]
    if method in ("attention", "factored"):
        default = "identity" if n_heads == 1 else "learned"
        argv += ["--color-similarity", options.get("color_similarity", default)]
    if kind == "symmetric":
        argv += ["--symmetric"]
    run = subprocess.run(
        [sys.executable, "-m", "pottsattn", *argv], capture_output=True, text=True, check=False
    )
    if run.returncode not in (0, 3):
        raise SystemExit(run.stderr)
    return int(json.loads(run.stdout.splitlines()[-1])["peak_memory_bytes"])


def main() -> int:
    """Print the table, of the kinds given if any are; return the exit status."""
    print("kind       length states sequences threads heads   measured   estimate  ratio")
    is_wrong = False
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if sys.argv[1:] and case[0] not in sys.argv[1:]:
                continue
            kind, length, n_states, n_sequences, n_threads, n_heads = case
            sizes = (length, n_states, n_sequences, n_threads)
            peak = measured(case, Path(folder))
            options = dict(OPTIONS.get(kind, {}))
            method = options.pop("method", kind)
            fit = PlannedFit(method, *sizes, n_heads=n_heads, **options)
            estimate = fit.memory().peak_bytes
            ratio = estimate / peak
            is_wrong |= not LEAST <= ratio <= MOST
            print(
                f"{kind:10} {length:6} {n_states:6} {n_sequences:9} {n_threads:7} {n_heads:5} "
                f"{readable_bytes(peak):>10} {readable_bytes(estimate):>10}  {ratio:.2f}",
                flush=True,
            )
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
