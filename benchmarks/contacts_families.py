"""Settings of attention for contacts, chosen on some protein families and reported on others.

    POTTSATTN_TEST_DATA=FOLDER python benchmarks/contacts_families.py --out CSV        # tune
    POTTSATTN_TEST_DATA=FOLDER python benchmarks/contacts_families.py --report H RIDGE --out CSV

FOLDER/families holds PFxxxxx.fasta.gz and .distances. Families of at most `--most` sequences, by
their size alone, so that this ends; pairs with |i - j| >= 6, a contact nearer than 8, all else as
by default. What was chosen on the tuning families stands in docs/contacts.md. Rows that are in the
CSV file are not made again. Exit status 1 if a fit did not converge.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pottsattn import SequenceDataset, fit_pseudolikelihood, train_masked
from pottsattn.analysis.contacts import rank_contacts
from pottsattn.analysis.distances import read_distances
from pottsattn.data.reading import read_dataset
from pottsattn.fitting.masked.settings import AttentionConfig

TUNING = {
    "PF00013",
    "PF00018",
    "PF00111",
    "PF00169",
    "PF00226",
    "PF00249",
    "PF00327",
    "PF00364",
    "PF00498",
    "PF00550",
    "PF00581",
    "PF00691",
    "PF01035",
    "PF01627",
    "PF08666",
}
# Heads, ridge, symmetric.
SETTINGS = [(32, ridge, True) for ridge in (4.0, 1.0, 16.0)]
SETTINGS += [(16, 4.0, True), (64, 4.0, True), (32, 4.0, False)]
COLUMNS = [
    "family",
    "method",
    "heads",
    "ridge",
    "symmetric",
    "L/2",
    "L",
    "2L",
    "area",
    "converged",
    "steps",
    "seconds",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("contacts-families.csv"))
    parser.add_argument("--report", nargs=2, type=float, metavar=("HEADS", "RIDGE"))
    parser.add_argument("--most", type=int, default=1100, help="sequences of a family")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    folder = os.environ.get("POTTSATTN_TEST_DATA")
    if not folder:
        print("skipped: POTTSATTN_TEST_DATA is not set")
        return 0
    settings: list[Any] = [None, *SETTINGS]  # None: plm
    if arguments.report:
        settings = [None, (int(arguments.report[0]), arguments.report[1], True)]
    paths = sorted((Path(folder) / "families").glob("PF*.fasta.gz"))
    paths = [path for path in paths if (name_of(path) in TUNING) is not bool(arguments.report)]
    paths = [path for path in paths if n_sequences(path) <= arguments.most]
    rows = []
    if arguments.out.exists():
        with arguments.out.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    made = {(row["family"], row["heads"], row["ridge"], row["symmetric"]) for row in rows}
    for setting in settings:
        for path in paths:
            keys = ("", "", "") if setting is None else tuple(map(str, setting))
            if (name_of(path), *keys) in made:
                continue
            rows.append(row_of(path, setting, arguments.threads))
            print(*rows[-1].values(), flush=True)
            with arguments.out.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
    print_means(rows, {name_of(path) for path in paths})
    return int(any(str(row["converged"]) != "True" for row in rows))


def name_of(path: Path) -> str:
    return path.name.split(".")[0]


def n_sequences(path: Path) -> int:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return sum(line.startswith(">") for line in file)


def row_of(path: Path, setting: Any, n_threads: int) -> dict[str, Any]:
    """Return a fit's precision."""
    data = read_dataset(path, n_threads=n_threads)
    known = read_distances(path.with_name(f"{name_of(path)}.distances"))
    started = time.process_time()
    fit = fit_of(data, setting, n_threads)
    seconds = time.process_time() - started
    precision = rank_contacts(fit).precision(known)
    heads, ridge, symmetric = setting or ("", "", "")
    return {
        "family": name_of(path),
        "method": fit.method,
        "heads": heads,
        "ridge": ridge,
        "symmetric": symmetric,
        **{rank: round(value, 4) for rank, value in precision.at.items()},
        "area": round(precision.area, 4),
        "converged": fit.converged,
        "steps": fit.n_evaluations,
        "seconds": round(seconds, 1),
    }


def fit_of(data: SequenceDataset, setting: Any, n_threads: int) -> Any:
    if setting is None:
        return fit_pseudolikelihood(data, n_threads=n_threads)
    n_heads, ridge, symmetric = setting
    layer = AttentionConfig(n_heads, color_similarity="learned", symmetric=symmetric)
    return train_masked(data, layer, ridge=ridge, rng=0, n_threads=n_threads)


def print_means(rows: list[dict[str, Any]], families: set[str]) -> None:
    """Print the mean over families of every setting, and of its difference from plm."""
    settings: dict[tuple[str, ...], dict[str, Any]] = defaultdict(dict)
    for row in rows:
        keys = tuple(str(row[name]) for name in ("method", "heads", "ridge", "symmetric"))
        if row["family"] in families:
            settings[keys][row["family"]] = row
    plm = settings["plm", "", "", ""]
    print(f"\n{len(families)} families{'':30} L/2    L     2L    area  area - plm      converged")
    for keys, found in settings.items():
        means = [np.mean([float(row[c]) for row in found.values()]) for c in COLUMNS[5:9]]
        apart = [float(row["area"]) - float(plm[name]["area"]) for name, row in found.items()]
        error = np.std(apart, ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.nan
        n_converged = sum(str(row["converged"]) == "True" for row in found.values())
        seconds = sum(float(row["seconds"]) for row in found.values())
        print(
            f"{' '.join(keys):40} " + " ".join(f"{mean:.3f}" for mean in means),
            f" {np.mean(apart):+.3f} ± {error:.3f}  {n_converged} of {len(found)}, {seconds:.0f} s",
        )


if __name__ == "__main__":
    sys.exit(main())
