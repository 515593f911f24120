"""Other pseudo-likelihood programs in the same run: plmc and CCMpred, where they are on PATH.

Run by `pseudolikelihood.py`. Both minimize the joint objective with their own optimizer, so theirs
is compared with what our joint fit takes, optimizer included: seconds per evaluation inside a fit,
and seconds until the objective is where theirs ended. That objective is the program's own at the
parameters it wrote, evaluated in float64 (`conventions.objective_in`), never what it printed.
Seconds of a program are those at which lines of its log appear on a terminal, so that reading the
alignment, weights and writing are left out, as they are with ours.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pseudolikelihood_fits import (
    GAP_TOLERANCE,
    N_THREADS,
    NEAR,
    STRENGTH,
    Trace,
    penalty_of_plmc,
    read_family,
    traced_joint_fit,
)

from pottsattn import Schedule, SequenceDataset, sample
from pottsattn.data.alignment.identity import sequence_weights
from pottsattn.exchange.conventions import default_strengths, objective_in, penalty_from
from pottsattn.exchange.plmc_file import read_plmc
from pottsattn.model.couplings import Couplings
from pottsattn.model.ensembles import generalized

LETTERS = "-ACDEFGHIKLMNPQRSTVWY"
CCMPRED_LETTERS = "ARNDCQEGHILKMFPSTWYV-"
SIZES = ((10_000, 100), (3616, 160))  # sampled, beside PF00014
FEW_ITERATIONS, MOST_ITERATIONS = 8, 1000
TIGHT_GAP_TOLERANCE = 1e-10  # nats per site, so that ours gets below where plmc ends
FASTEST = 0.1  # quantile of the times of evaluations: other jobs on the machine only add to them
PLMC_START, CCMPRED_START = "Effective number of samples", "Will optimize"
PLMC_END, CCMPRED_END = "Gradient optimization:", "with status code"


@dataclass(frozen=True)
class Log:
    """The lines of a program with the times at which they appeared."""

    lines: list[str]
    times: list[float]

    def time_of(self, beginning: str) -> float:
        """Return when the first line with this beginning appeared."""
        found = (t for line, t in zip(self.lines, self.times, strict=True) if beginning in line)
        return next(found)

    def iterations(self) -> tuple[list[float], list[list[str]]]:
        """Return the times and the columns of the lines that begin with a number and a tab."""
        rows = [
            (t, line.split())
            for line, t in zip(self.lines, self.times, strict=True)
            if re.match(r"\d+\s*\t", line)
        ]
        return [t for t, _ in rows], [columns for _, columns in rows]


def run(command: list[str]) -> Log:
    """Run a program on a pseudo-terminal, so that it writes line by line."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "OMP_NUM_THREADS": str(N_THREADS)}
    process = subprocess.Popen(command, stdout=writer, stderr=writer, env=environment)
    os.close(writer)
    lines, times, rest = [], [], b""
    while True:
        try:
            read = os.read(reader, 1 << 16)
        except OSError:  # Linux: the program has closed the terminal
            read = b""
        if not read:
            break
        now = time.perf_counter()
        *whole, rest = (rest + read).split(b"\n")
        lines += [line.decode(errors="replace").rstrip("\r") for line in whole]
        times += [now] * len(whole)
    os.close(reader)
    if process.wait() != 0:
        raise SystemExit(f"{command[0]} failed: {lines[-3:]}")
    return Log(lines, times)


def per_evaluation(trace: Trace) -> float:
    """Return the seconds from evaluation to evaluation of ours, in single precision."""
    n_single = sum(point.dtype == np.float32 for point in trace.points)
    return float(np.quantile(np.diff(trace.seconds[:n_single]), FASTEST))


@dataclass(frozen=True)
class Peer:
    """What a program took, and the file of its parameters."""

    name: str
    evaluation: float  # seconds, of the fastest
    n_iterations: int
    n_evaluations: str
    seconds: float
    parameters: Path


def write_fasta(path: Path, dataset: SequenceDataset) -> None:
    rows = np.frombuffer(LETTERS.encode(), np.uint8)[dataset.sequences]
    path.write_bytes(b"".join(b">%d\n%s\n" % (m, row.tobytes()) for m, row in enumerate(rows)))


def write_plain(path: Path, dataset: SequenceDataset) -> None:
    rows = np.frombuffer(LETTERS.encode(), np.uint8)[dataset.sequences]
    path.write_bytes(b"".join(row.tobytes() + b"\n" for row in rows))


def plmc(dataset: SequenceDataset, folder: Path, n_iterations: int) -> Peer:
    """Run plmc at lambda 10.4; `n_iterations` is its limit.

    It does not print evaluations: an iteration takes one or, seldom, several. The fastest
    iterations are taken to have one, and their number is a lower limit.
    """
    alignment, parameters = folder / "alignment.fasta", folder / "parameters"
    write_fasta(alignment, dataset)
    options = ["-le", str(STRENGTH), "-lh", str(STRENGTH), "-m", str(n_iterations), "-t", "0.2"]
    options += ["-n", str(N_THREADS), "-o", str(parameters)]
    log = run(["plmc", *options, str(alignment)])
    times, rows = log.iterations()
    gaps = np.diff(times)
    seconds = log.time_of(PLMC_END) - log.time_of(PLMC_START)
    fastest = float(np.quantile(gaps, FASTEST))
    return Peer("plmc", fastest, len(rows), f"at least {1 + len(rows)}", seconds, parameters)


def ccmpred(dataset: SequenceDataset, folder: Path, n_iterations: int) -> Peer:
    """Run CCMpred with its defaults but for the limit of iterations."""
    alignment, raw = folder / "alignment.aln", folder / "raw"
    write_plain(alignment, dataset)
    options = ["-t", str(N_THREADS), "-n", str(n_iterations), "-r", str(raw)]
    log = run(["ccmpred", *options, str(alignment), str(folder / "scores")])
    times, rows = log.iterations()
    counts = [int(row[1]) for row in rows]
    single = [gap for gap, count in zip(np.diff(times), counts[1:], strict=True) if count == 1]
    seconds = log.time_of(CCMPRED_END) - log.time_of(CCMPRED_START)
    fastest = float(np.quantile(single, FASTEST))
    return Peer("CCMpred", fastest, len(rows), f"{1 + sum(counts)}", seconds, raw)


def read_ccmpred(path: Path, dataset: SequenceDataset) -> tuple[np.ndarray, Couplings]:
    """Return fields and couplings of CCMpred's raw output, in our order of states."""
    length, n_states = dataset.length, dataset.n_states
    order = [CCMPRED_LETTERS.index(letter) for letter in LETTERS]
    lines = path.read_text().splitlines()
    fields = np.zeros((length, n_states))
    fields[:, :-1] = [[float(value) for value in line.split()] for line in lines[:length]]
    couplings = np.zeros((length, length, n_states, n_states))
    for at in range(length, len(lines), n_states + 1):
        if not lines[at].startswith("# "):
            break
        i, j = (int(number) for number in lines[at].split()[1:])
        rows = [line.split() for line in lines[at + 1 : at + 1 + n_states]]
        block = np.array(rows, dtype=np.float64)[np.ix_(order, order)]
        couplings[i, j], couplings[j, i] = block, block.T
    return fields[:, order], Couplings(dense=couplings)


def weighted_as_ccmpred(dataset: SequenceDataset) -> SequenceDataset:
    """Return the data with CCMpred's weights: identical in more than ceil(0.8 L) columns."""
    least = int(np.ceil(np.float32(0.8) * np.float32(dataset.length))) + 1
    weights = sequence_weights(dataset.sequences, least / dataset.length)
    return SequenceDataset(
        dataset.sequences, dataset.n_states, weights, dataset.alphabet, dataset.gap_index
    )


def whole_fit(peer: Peer, theirs: float, trace: Trace, ours: float, number: int | None) -> None:
    """Print how long both took to the objective where the program ended."""
    print(
        f"  {peer.name}, whole fit: {theirs:.3f} after {peer.n_iterations} iterations, "
        f"{peer.n_evaluations} evaluations, {peer.seconds:.1f} s"
    )
    end = f"{ours:.3f} after {len(trace.points)} evaluations, {trace.total_seconds:.1f} s"
    if number is None:
        print(f"  ours never gets there: {end}", flush=True)
        return
    print(
        f"  ours is below that after {number + 1} evaluations, {trace.seconds[number]:.1f} s: "
        f"{peer.seconds / trace.seconds[number]:.1f} times faster; at the end {end}",
        flush=True,
    )


def family_plmc(family: SequenceDataset, folder: Path) -> list[str]:
    """Run plmc and ours on PF00014 with the same objective."""
    before = traced_joint_fit(family, penalty_of_plmc(family), TIGHT_GAP_TOLERANCE)
    peer = plmc(family, folder, MOST_ITERATIONS)
    trace = traced_joint_fit(family, penalty_of_plmc(family), TIGHT_GAP_TOLERANCE)
    print_evaluation("PF00014", peer, min(per_evaluation(before), per_evaluation(trace)))
    written = read_plmc(peer.parameters)
    theirs, ours = (
        objective_in("plmc", *parameters, family, (STRENGTH, STRENGTH))
        for parameters in ((written.fields, written.couplings), trace.parameters(-1))
    )
    whole_fit(peer, theirs, trace, ours, trace.first_below(theirs, family.effective_size))
    return [] if ours < theirs + NEAR else [f"PF00014: the joint fit ends at {ours - theirs:.2f}"]


def family_ccmpred(family: SequenceDataset, folder: Path) -> list[str]:
    """Run CCMpred and ours on PF00014 with the same data and penalties.

    Ours also penalizes the field of the gap, which CCMpred fixes at 0: its objective is evaluated
    where that field has been subtracted, which cannot favor ours.
    """
    dataset = weighted_as_ccmpred(family)
    strengths = default_strengths("ccmpred", dataset.length)
    sizes = {"length": dataset.length, "effective_size": dataset.effective_size}
    penalty = penalty_from("ccmpred", *strengths, **sizes)
    before = traced_joint_fit(dataset, penalty, GAP_TOLERANCE)
    peer = ccmpred(dataset, folder, MOST_ITERATIONS)
    trace = traced_joint_fit(dataset, penalty, GAP_TOLERANCE)
    print_evaluation("PF00014", peer, min(per_evaluation(before), per_evaluation(trace)))

    def value(fields: np.ndarray, couplings: Couplings) -> float:
        fields = fields - fields[:, [dataset.gap_index]]
        return objective_in("ccmpred", fields, couplings, dataset, strengths)

    theirs = value(*read_ccmpred(peer.parameters, dataset))
    values = (value(*trace.parameters(number)) for number in range(len(trace.points)))
    number = next((number for number, ours in enumerate(values) if ours <= theirs), None)
    whole_fit(peer, theirs, trace, value(*trace.parameters(-1)), number)
    return []


def print_evaluation(name: str, peer: Peer, ours: float) -> None:
    print(
        f"{name}: {peer.name} {1e3 * peer.evaluation:.0f} ms per evaluation in the fit, ours "
        f"{1e3 * ours:.0f} ms: {peer.evaluation / ours:.1f} times faster",
        flush=True,
    )


def sampled_sizes(names: list[str], folder: Path) -> None:
    """Time a few evaluations of every program on larger alignments."""
    for n_sequences, length in SIZES:
        schedule = Schedule(n_chains=1000, n_warmup=50, thin_by=5)
        model = generalized(length, 21, 3.0, rng=0)
        dataset = sample(model, n_sequences, schedule=schedule, rng=0).dataset
        peers = [PROGRAMS[name](dataset, folder, FEW_ITERATIONS) for name in names]
        penalty = penalty_of_plmc(dataset)
        trace = traced_joint_fit(dataset, penalty, TIGHT_GAP_TOLERANCE, FEW_ITERATIONS)
        for peer in peers:
            print_evaluation(f"{n_sequences} x {length} x 21", peer, per_evaluation(trace))


PROGRAMS = {"plmc": plmc, "ccmpred": ccmpred}
FAMILY = {"plmc": family_plmc, "ccmpred": family_ccmpred}


def all_peers() -> list[str]:
    """Return the limits missed."""
    print(f"other programs, joint fits, {N_THREADS} threads")
    found = [name for name in PROGRAMS if shutil.which(name)]
    for name in PROGRAMS:
        if name not in found:
            print(f"{name}: not found, skipped")
    missed = []
    if not found:
        return missed
    family = read_family()
    with tempfile.TemporaryDirectory() as folder:
        for name in found if family is not None else []:
            missed += FAMILY[name](family[0], Path(folder))
        sampled_sizes(found, Path(folder))
    return missed
