"""One small file of every kind that a command reads; the fuzz tests damage copies of them."""

from __future__ import annotations

import gzip
import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from pottsattn.cli import main
from pottsattn.studies.sweep.config import read_config
from pottsattn.studies.sweep.run import run_sweep

LENGTH, N_STATES, N_SEQUENCES = 8, 3, 60
MADE = {  # by commands: kind of file: (name, command)
    "data": ("data.h5", f"sample --length {LENGTH} --states {N_STATES} --coupling-scale 1 "
             f"--sequences {N_SEQUENCES} --chains 6 --warmup 5 --thin 2"),
    "other": ("other.h5", "sample --model data.h5 --sequences 40 --chains 4 --warmup 5"),
    "plm": ("plm.h5", "fit data.h5 --method plm"),
    "factored": ("factored.h5", "fit data.h5 --method factored"),
    "mf": ("mf.h5", "fit data.h5 --method mf"),
    "attention": ("attention.h5", "fit data.h5 --method attention --optimizer adam --max-steps 5"),
    "transformer": ("transformer.h5", "fit data.h5 --method transformer --width 4 --max-steps 2"),
    "protein": ("protein.h5", "fit protein.fasta --method plm"),
    "curve": ("curve.h5", "theory --states 3 --coupling-scale 1 --ridge 0.2 --alpha 4 8"),
    "spatial": ("spatial.h5", "spatial --areas areas.npy --steps 3"),
    "instances": ("instances.h5", "instances --steps 2 --sequences 40 --length 6 --states 3 "
                  "--classes 2 --references none"),
}  # fmt: skip
SWEEP = """n_states = 3
coupling_scales = [1.0]
lengths = [6]
instances = 1
alphas = [2]
ridges = [0.2]
methods = ["factored"]
n_test = 20
"""
FITS = ("plm.h5", "factored.h5", "mf.h5", "attention.h5", "transformer.h5", "protein.h5")
RUNS = ("curve.h5", "sweep.h5", "spatial.h5", "instances.h5")
ALIGNMENTS = (
    "protein.fasta", "inserts.a2m", "inserts.a3m", "protein.sto", "rna.fasta", "protein.fasta.gz",
    "protein.aln", "protein.clustal", "protein.phy",
)  # fmt: skip
KINDS = {
    "data": ("data.h5", "other.h5", "states.npy", *ALIGNMENTS),
    "sampled": ("other.h5", "data.h5"),
    "fit": FITS,
    "model": ("data.h5", *FITS),
    "any": ("data.h5", *FITS, *RUNS, "states.npy", *ALIGNMENTS),
    "run": ("data.h5", *FITS, *RUNS),
    "weights": ("weights.csv", "weights.npy"),
    "distances": ("pairs.distances",),
    "edges": ("ring.edges",),
    "config": ("sweep.toml",),
    "areas": ("areas.npy",),
    "labeled": ("labeled.npz",),
}


def make(folder: Path) -> None:
    """Write all files into an empty folder."""
    _write_texts(folder)
    here = Path.cwd()
    os.chdir(folder)
    try:
        for name, command in MADE.values():
            said = io.StringIO()
            with redirect_stdout(said), redirect_stderr(said):
                status = main([*command.split(), "--threads", "1", "--out", name])
            if status not in (0, 3):
                raise RuntimeError(f"{command}: {said.getvalue()}")
        with ThreadPoolExecutor(1) as executor:  # the command would start processes
            run_sweep(read_config("sweep.toml"), "sweep.h5", executor=executor)
    finally:
        os.chdir(here)
    used = {name for names in KINDS.values() for name in names}
    missing = used - {path.name for path in folder.iterdir()}
    if missing:
        raise RuntimeError(f"no {sorted(missing)}")


def _write_texts(folder: Path) -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY-"))
    rows = ["".join(row) for row in rng.choice(letters, size=(20, 10))]
    named = [(f"s{at}/3-{2 + len(row.replace('-', ''))}", row) for at, row in enumerate(rows)]
    fasta = "".join(f">{name}\n{row}\n" for name, row in named)
    texts = {
        "protein.fasta": fasta,
        "inserts.a2m": "".join(f">{name}\n{row[:5]}a.{row[5:]}\n" for name, row in named),
        "inserts.a3m": "".join(f">{name}\n{row[:5]}ac{row[5:]}\n" for name, row in named),
        "protein.sto": "# STOCKHOLM 1.0\n#=GF ID x\n"
        + "".join(f"{name:14} {row}\n" for name, row in named)
        + "//\n",
        "rna.fasta": "".join(
            f">r{at}\n{''.join(rng.choice(list('ACGU-'), size=9))}\n" for at in range(20)
        ),
        "protein.aln": "".join(f"{row}\n" for row in rows),
        "protein.clustal": "CLUSTAL W (1.8)\n\n"
        + "".join(f"{name:14} {row}\n" for name, row in named),
        "protein.phy": f"{len(rows)} 10\n"
        + "".join(f"s{at:<9}{row}\n" for at, row in enumerate(rows)),
        "pairs.distances": "".join(
            f"{i} {j} {3.0 + i + j}\n" for i in range(1, 9) for j in range(i + 1, 9)
        ),
        "ring.edges": "".join(f"{i} {(i + 1) % 6}\n" for i in range(6)),
        "sweep.toml": SWEEP,
        "weights.csv": "sequence,weight\n"
        + "".join(f"{at},{1.0 + at % 3}\n" for at in range(1, N_SEQUENCES + 1)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    with gzip.open(folder / "protein.fasta.gz", "wt") as file:
        file.write(fasta)
    np.save(folder / "states.npy", rng.integers(N_STATES, size=(30, LENGTH)))
    np.save(folder / "weights.npy", np.ones(N_SEQUENCES))
    np.save(folder / "areas.npy", rng.integers(3, size=(4, 12)))
    np.savez(
        folder / "labeled.npz",
        sequences=rng.integers(3, size=(40, 6)),
        labels=rng.integers(2, size=40),
    )


def copy(source: Path, folder: Path, name: str | None = None) -> Path:
    """Copy a file into a folder, under another name if one is given."""
    target = folder / (name or source.name)
    shutil.copyfile(source, target)
    return target
