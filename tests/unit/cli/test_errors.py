"""Wrong input: exit status 1, one line on stderr, nothing on stdout, no file left behind."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import h5py
import numpy as np
import pytest

from pottsattn.cli import main
from pottsattn.cli._shell import Parser, in_options
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.result import FitResult
from pottsattn.model.ensembles import chain
from pottsattn.theory.curve import learning_curve


def change(source: Path, target: Path, edit) -> None:
    """Copy an HDF5 file and edit the copy."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        edit(file)


def replace(file: h5py.File, name: str, values: np.ndarray) -> None:
    del file[name]
    file[name] = values


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Good files and, by its fault, one bad file each."""
    folder = tmp_path_factory.mktemp("errors")
    model = chain(8, 3, 0.5)
    sequences = np.random.default_rng(1).integers(3, size=(50, 8))
    data = SequenceDataset(sequences, 3, model=model)
    data.save(folder / "data.h5")
    fit = fit_pseudolikelihood(data, "factored", n_threads=1)
    fit.save(folder / "fit.h5")
    SequenceDataset(sequences[:, :6], 3).save(folder / "other-length.h5")
    fit_pseudolikelihood(data.take(slice(20)), n_threads=1).save(folder / "fit2.h5")
    learning_curve(3, 1.5, [1.0], 0.1).save(folder / "curve.h5")
    command = f"fit {folder}/data.h5 --method transformer --width 8 --max-steps 1 --threads 1"
    with redirect_stdout(io.StringIO()):
        assert main([*command.split(), "--out", str(folder / "network.h5")]) == 3

    texts = {
        "empty.fasta": "",
        "unequal.fasta": ">one\nACDE\n>two\nACD\n",
        "letter.fasta": ">one\nACDE\n>two\nAC1E\n",
        "one-column.fasta": ">one\nA\n>two\nC\n",
        "prose.fasta": "It was a dark night.\n",
        "names-only.fasta": ">one\n>two\n",
        "good.fasta": ">one\nACDEF\n>two\nACDEW\n",
        "no-suffix": "one ACDEF\ntwo ACDEW\n",
        "prose.h5": "It was a dark night.\n",
        "distances.txt": "1 2 3.5\n1 three 4\n",
        "no-distances.txt": "# i j distance\n1 2 0\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "empty.h5").touch()
    (folder / "binary.fasta").write_bytes(bytes(range(256)))
    whole = gzip.compress(b">one\nACDEF\n" * 50)
    (folder / "truncated.fasta.gz").write_bytes(whole[:-9])
    whole = (folder / "data.h5").read_bytes()
    (folder / "truncated.h5").write_bytes(whole[: len(whole) // 2])
    (folder / "directory.h5").mkdir()
    with h5py.File(folder / "foreign.h5", "w") as file:
        file["x"] = np.arange(3)

    arrays = {
        "floats.npy": np.ones((4, 3)),
        "pickle.npy": np.array([[1, None]], dtype=object),
        "negative.npy": np.array([[1, -1]]),
        "states.npy": np.array([[0, 999]]),
        "one-state.npy": np.zeros((4, 3), dtype=int),
        "one-column.npy": np.array([[0], [1]]),
        "flat.npy": np.arange(3),
    }
    for name, array in arrays.items():
        np.save(folder / name, array)
    np.savez(folder / "archive.npz", np.zeros((2, 2), dtype=int))
    shutil.move(folder / "archive.npz", folder / "archive.npy")

    edits = {
        "too-few-states.h5": lambda file: file.attrs.modify("n_states", 2),
        "no-states.h5": lambda file: file.attrs.__delitem__("n_states"),
        "list-of-states.h5": lambda file: file.attrs.create("n_states", [3, 3]),
        "no-sequences.h5": lambda file: (
            file.__delitem__("sequences"),
            file.create_group("sequences"),
        ),
        "newer.h5": lambda file: file.attrs.modify("format", "pottsattn.sequences/2"),
        "unknown.h5": lambda file: file.attrs.modify("format", "pottsattn.novel/1"),
        "nan-model.h5": lambda file: replace(file, "model/fields", np.full((8, 3), np.nan)),
        "odd-model.h5": lambda file: replace(file, "model/interactions", np.zeros((2, 8, 8))),
        "no-model.h5": lambda file: file.__delitem__("model"),
    }
    for name, edit in edits.items():
        change(folder / "data.h5", folder / name, edit)
    change(
        folder / "network.h5",
        folder / "no-readout.h5",
        lambda file: file.__delitem__("network/readout.weight"),
    )
    change(
        folder / "network.h5",
        folder / "no-sizes.h5",
        lambda file: file.attrs.modify("architecture", "{}"),
    )
    change(
        folder / "fit.h5",
        folder / "odd-fit.h5",
        lambda file: replace(file, "fields", np.zeros((8, 4))),
    )
    change(
        folder / "fit.h5",
        folder / "odd-history.h5",
        lambda file: file.create_dataset("history/novel", data=[1.0]),
    )
    change(
        folder / "fit.h5",
        folder / "nan-fit.h5",
        lambda file: replace(file, "fields", np.full((8, 3), np.nan)),
    )
    change(
        folder / "network.h5",
        folder / "nan-network.h5",
        lambda file: replace(
            file, "network/readout.weight", np.nan * file["network/readout.weight"][()]
        ),
    )
    return folder


@pytest.fixture
def refuse(capsys, monkeypatch, folder):
    """Run a command that must be refused inside the folder; return its one line."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))

    def call(*argv: str) -> str:
        before = snapshot(folder)
        capsys.readouterr()
        status = main(list(argv))
        captured = capsys.readouterr()
        assert (status, captured.out) == (1, "")
        assert captured.err.startswith("pottsattn: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        assert snapshot(folder) == before
        return captured.err

    return call


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return every name in the folder, hidden ones too, with its content."""
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


FIT = "fit data.h5 --method plm --out out.h5"
FACTORED = "fit data.h5 --method factored --out out.h5"
TRAIN = "fit data.h5 --method attention --out out.h5"
TRANSFORMER = "fit data.h5 --method transformer --out out.h5"
SIZES = "--length 8 --states 3 --coupling-scale 1 --sequences 10"
SAMPLE = f"sample {SIZES} --out out.h5"
THEORY = "theory --states 3 --coupling-scale 1.5 --alpha 1"
CONTACTS = "contacts fit.h5 --out out.csv"

DATA_FAULTS = {
    "empty.fasta": "is empty",
    "binary.fasta": "binary file",
    "unequal.fasta": r"record 2 \(two\) has 3 columns",
    "letter.fasta": r"'1' in record 2 \(two\), column 3, is in no alphabet",
    "one-column.fasta": "length must be at least 2",
    "prose.fasta": "cannot tell the format .* line 1 starts with 'It was",
    "names-only.fasta": "sequences are empty",
    "truncated.fasta.gz": "damaged gzip",
    "no-suffix": "cannot tell the format .* expected an alignment",
    "missing.fasta": "(?i)no such file",
    "missing.h5": "no such file",
    "missing.npy": "no such file",
    "-": "no such file",
    "directory.h5": "it is a directory",
    "empty.h5": "not an HDF5 file",
    "prose.h5": "not an HDF5 file",
    "truncated.h5": "truncated or damaged",
    "foreign.h5": "not written by pottsattn",
    "fit.h5": "holds pottsattn.fit/1, expected pottsattn.sequences/1",
    "curve.h5": "holds pottsattn.curve/1",
    "newer.h5": "update pottsattn",
    "too-few-states.h5": r"states 0\.\.1 \(n_states = 2\), found 0\.\.2",
    "no-states.h5": "incomplete .*n_states is missing",
    "list-of-states.h5": "damaged or incomplete",
    "no-sequences.h5": "damaged or incomplete",
    "nan-model.h5": "must be finite",
    "odd-model.h5": r"color_similarity must be .*\(H = 2 of .* of shape \(1, 3, 3\)",
    "floats.npy": "array of integers .* dtype float64",
    "pickle.npy": r"not a \.npy file of numbers",
    "archive.npy": "an archive",
    "negative.npy": r"found -1\.\.1",
    "states.npy": "n_states must be at most 256, got 1000",
    "one-state.npy": "n_states must be at least 2, got 1",
    "one-column.npy": "length must be at least 2, got 1",
    "flat.npy": "one sequence of length 3",
}


@pytest.mark.parametrize("name", DATA_FAULTS)
def test_faulty_data_are_refused_by_name(refuse, name):
    commands = [
        f"fit {name} --method plm --out out.h5",
        f"split {name} --fraction 0.5 --out out.h5 out2.h5",
    ]
    if not name.endswith(".npy"):  # there compare takes the number of states of the fit
        commands.append(f"compare fit.h5 --test {name}")
    for command in commands:
        line = refuse(*command.split())
        assert name in line
        assert re.search(DATA_FAULTS[name], line)


@pytest.mark.parametrize(
    ("command", "pattern"),
    [
        # options that are wrong by themselves
        ("", None),
        ("--frobnicate", "the command comes first, got '--frobnicate'"),
        ("--seed 1 fit", "the command comes first"),
        ("sampel --length 3", r"no command 'sampel' \(did you mean sample\?\)"),
        ("fit", "required: DATA, --method, --out"),
        ("fit data.h5 --method plm", "required: --out"),
        (f"{FIT} --maks 3", r"unknown option '--maks' \(did you mean --masks\?\)"),
        (f"{FIT} --max-step 3", "unknown option '--max-step'"),
        (f"{FIT} more.h5", "one argument too many: 'more.h5'"),
        (f"{FIT} --ridge", "--ridge: expected one argument"),
        (f"{FIT} --seed 1.5", "--seed: invalid int"),
        (f"{FIT} --seed -1", "seed must not be negative"),
        (f"{FIT} --threads 0", "threads must be at least 1"),
        # fit
        ("fit data.h5 --method PLM --out out.h5", r"method must be one of .*did you mean plm"),
        (f"{FIT} --ridge -1", "ridge must not be negative, got -1"),
        (f"{FIT} --ridge nan", "ridge must be finite"),
        (f"{FIT} --ridge inf", "ridge must be finite"),
        (f"{FIT} --couplings-l2 nan", "--couplings-l2 must be finite"),
        (f"{FIT} --fields-l2 -0.1", "--fields-l2 must not be negative"),
        (f"{FIT} --ridge 0.1 --couplings-l2 0.1", "either --ridge 0.1 or --couplings-l2, not both"),
        (f"{FIT} --fields some", "fields must be one of learned, none"),
        (f"{FIT} --max-steps 0", "--max-steps must be at least 1"),
        (f"{FIT} --ridge much", "ridge must be a number or auto, got 'much'"),
        (f"{FIT} --ridge auto --couplings-l2 1", "either --ridge auto or --couplings-l2"),
        (
            "fit data.h5 --method attention --out out.h5 --ridge auto --mask-fraction 0.2",
            "--ridge auto is for masks of one site, fresh",
        ),
        (f"{FIT} --ridge auto --symmetric", "--ridge auto is for fits whose rows are solved one"),
        (f"{FACTORED} --ridge auto --heads 2", "--ridge auto is for fits whose rows"),
        (f"{FIT} --ridge auto --init fit.h5", "--ridge auto finds its own start"),
        (f"{TRAIN} --ridge auto --head-dimension 2", "--ridge auto is for fits whose rows"),
        (f"{FIT} --errors bootstrap", "errors must be one of laplace, sandwich"),
        (f"{FIT} --symmetric --errors laplace", "--errors is for fits whose rows are solved"),
        (f"{TRAIN} --errors laplace", "--errors applies to plm and factored, not to attention"),
        (f"{FIT} --masks 2", "--masks applies to attention and transformer, not to plm"),
        (f"{FIT} --heads 2", "--heads applies to factored, attention and transformer, not to plm"),
        (f"{FIT} --color-similarity learned", "--color-similarity applies to .*, not to plm"),
        (f"{FIT} --device cpu", "--device applies to attention and transformer, not to plm"),
        (f"{FIT} --states 3", r"--states applies to \.npy data, not to data.h5"),
        (f"{FACTORED} --heads 2 --color-similarity identity", "2 heads with color_similarity"),
        (f"{FACTORED} --starts 2", "--starts applies to a learned color similarity"),
        (f"{FACTORED} --symmetric", "--symmetric applies to plm and attention, not to factored"),
        (f"{FIT} --starts 2", "--starts applies to factored, not to plm"),
        (f"{TRAIN} --masks 9", "masks must be at most the length 8, got 9"),
        (f"{TRAIN} --masks 0", "masks must be at least 1"),
        (f"{TRAIN} --mask-fraction 1", "--mask-fraction must be below 1, got 1.0"),
        (f"{TRAIN} --mask-fraction 1e-9 --mask-mode static", "hides no site of these data"),
        (f"{TRAIN} --mask-mode statik", r"--mask-mode .*did you mean static"),
        (f"{TRAIN} --hidden-as bert", "hidden_as 'bert' needs a mask_fraction"),
        (f"{TRAIN} --attention hard", "attention must be one of free, softmax"),
        (f"{TRAIN} --optimizer sgd", "optimizer must be one of adam, lbfgs"),
        (f"{TRAIN} --optimizer lbfgs --masks 2", "lbfgs needs an objective that stays the same"),
        (f"{TRAIN} --schedule step", "schedule must be one of averaged, cosine"),
        (f"{TRAIN} --precision half", "precision must be one of single, double, mixed, bfloat16"),
        (f"{TRAIN} --batch-size 0", "--batch-size must be at least 1"),
        (f"{TRAIN} --accumulate 0", "accumulate must be at least 1"),
        (f"{TRAIN} --warmup-steps -1", "--warmup-steps must be at least 0"),
        (f"{TRAIN} --layers 2", "--layers applies to transformer, not to attention"),
        (f"{TRAIN} --weight-decay 1", "--weight-decay applies to transformer, not to attention"),
        (
            f"{TRAIN} --stop-early --stream",
            "early stopping of data that stream needs held-out data",
        ),
        (f"{TRAIN} --validation other-length.h5", r"= \(6, 3\), the training data \(8, 3\)"),
        (f"{TRAIN} --validation missing.h5", "missing.h5: no such file"),
        (f"{TRAIN} --stream --ridge auto", "--stream goes without --weights and --ridge auto"),
        (f"{FIT} --stream", "--stream applies to attention and transformer, not to plm"),
        ("fit good.fasta --method attention --stream --out out.h5", r"--stream reads \.h5 data"),
        ("fit fit.h5 --method attention --stream --out out.h5", "holds pottsattn.fit/1"),
        (f"{TRANSFORMER} --ridge 1", "--ridge applies to .*, not to transformer"),
        (f"{TRANSFORMER} --heads 3 --width 8", "width must be a multiple of n_heads 3, got 8"),
        (f"{TRANSFORMER} --variant novel", "variant must be one of vanilla"),
        (f"{TRANSFORMER} --layers 0", "--layers must be at least 1"),
        ("compare network.h5 --test other-length.h5", r"network.h5 .*= \(8, 3\), the test data"),
        ("compare no-readout.h5 --test data.h5", r"no-readout.h5: damaged .*readout\.weight"),
        ("compare no-sizes.h5 --test data.h5", "no-sizes.h5: damaged or incomplete"),
        ("contacts network.h5 --out out.csv", "network.h5: a transformer has no couplings"),
        ("export network.h5 --format npz --out out.npz", "network.h5: a transformer has no"),
        ("sample --model network.h5 --sequences 5 --out out.h5", "network.h5: a transformer has"),
        ("plot network.h5 data.h5 --out out.png", "network.h5: a transformer has no couplings"),
        ("fit data.h5 --method plm --init network.h5 --out out.h5", "network.h5: a transformer"),
        (f"{TRAIN} --heads 0", "heads must be at least 1"),
        (f"{TRAIN} --heads 2 --color-similarity identity", "2 heads"),
        (f"{TRAIN} --device meta", "device must be auto, cpu or cuda, got 'meta'"),
        (f"{TRAIN} --device abacus", "device must be auto, cpu or cuda"),
        ("fit good.fasta --method plm --out out.h5 --unknown keep", "unknown must be one of"),
        ("bridge data.h5 --out out.gif", "written as .png, .pdf, .svg"),
        ("bridge data.h5 --out same.svg --csv same.svg", "give two names"),
        ("bridge data.h5 --csv data.h5", "it is an input"),
        ("bridge data.h5 --mask-fraction 0.3 1.5", "--mask-fraction must be below 1"),
        ("bridge data.h5 --heads 2 --color-similarity identity", "use 'learned'"),
        ("bridge data.h5 --held-out 1", "fraction must be below 1"),
        ("bridge data.h5 --max-sequences 1", "--max-sequences"),
        ("bridge data.h5 --ridge -1", "ridge"),
        ("bridge missing.h5", "missing.h5"),
        ("fit good.fasta --method plm --out out.h5 --identity-threshold 2", "at most 1"),
        # sample
        ("sample --sequences 5 --out out.h5", "needs --length, --states, --coupling-scale"),
        (f"{SAMPLE} --length 1", "--length must be at least 2"),
        (f"{SAMPLE} --states 1", "--states must be at least 2"),
        (f"{SAMPLE} --states 300", "--states must be at most 256"),
        (f"{SAMPLE} --sequences 0", "--sequences must be at least 1"),
        (f"{SAMPLE} --coupling-scale nan", "--coupling-scale must be finite"),
        (f"{SAMPLE} --coupling-scale -1", "--coupling-scale must not be negative"),
        (f"{SAMPLE} --coupling-scale 1e300", "couplings must be finite"),
        (f"{SAMPLE} --inverse-temperature 0", "--inverse-temperature must be above 0"),
        (f"{SAMPLE} --chains 0", "chains must be at least 1"),
        (f"{SAMPLE} --warmup -1", "warmup must be at least 0"),
        (f"{SAMPLE} --thin 0", "thin must be at least 1"),
        (f"{SAMPLE} --ensemble sk", "ensemble must be one of sk-potts"),
        (f"{SAMPLE} --model data.h5", "--model brings its own sizes"),
        ("sample --model data.h5 --length 0 --sequences 5 --out out.h5", "leave out --length"),
        ("sample --model no-model.h5 --sequences 5 --out out.h5", "no-model.h5 .* holds no model"),
        ("sample --model curve.h5 --sequences 5 --out out.h5", "curve.h5 .* holds no model"),
        ("sample --model nan-model.h5 --sequences 5 --out out.h5", "nan-model.h5: .*finite"),
        (
            "sample --model odd-fit.h5 --sequences 5 --out out.h5",
            "odd-fit.h5: .*fields must be .* found float64 of shape \\(8, 4\\)",
        ),
        # more than any memory holds
        (f"{SAMPLE} --length 1000000000", "not enough memory: .*; use fewer"),
        (f"{SAMPLE} --length 10000000000000000000000", "--length: must be at most 9223372036854"),
        (f"{SAMPLE} --sequences 10000000000000000", "out.h5: .* GB are free; use fewer sequences"),
        (
            f"{SAMPLE} --sequences 100000000000000000000000",
            "--sequences: must be at most 92233720",
        ),
        # theory
        (THEORY, "theory needs --ridge X, or --optimum ridge or mask-fraction"),
        (f"{THEORY} --ridge 0.1 --optimum ridge", "either --ridge or --optimum"),
        (f"{THEORY} --optimum alpha", "optimum must be one of ridge"),
        (f"{THEORY} --ridge -1", "ridge must be at least 0"),
        (f"{THEORY} --ridge 0.1 --alpha 0", "--alpha must be above 0"),
        (f"{THEORY} --ridge 0.1 --alpha 1 nan", "--alpha must be finite"),
        (f"{THEORY} --ridge 0.1 --alpha", "--alpha: expected at least one argument"),
        (f"{THEORY} --ridge 0.1 --states 1", "--states must be at least 2"),
        (f"{THEORY} --ridge 0.1 --coupling-scale inf", "--coupling-scale must be finite"),
        (f"{THEORY} --ridge 0.1 --estimator best", "estimator must be one of factored, full"),
        (f"{THEORY} --ridge 0.1 --mask-fraction 1", "--mask-fraction must be above 0 and below 1"),
        (f"{THEORY} --ridge 0.1 --mask-fraction 0", "got 0; leave it out for one masked site"),
        (f"{THEORY} --ridge 0.1 --mask-fraction some", "--mask-fraction: invalid float value"),
        (f"{THEORY} --ridge 0.1 --mask-mode static", "--mask-mode static needs --mask-fraction R"),
        (
            f"{THEORY} --ridge 0.1 --mask-fraction 0.2 --mask-mode statik",
            r"--mask-mode must be one of fresh, static; got 'statik' \(did you mean static\?\)",
        ),
        (f"{THEORY} --ridge 0.1 --out curve.txt", r"written as \.h5 or \.csv, got curve.txt"),
        # split
        ("split data.h5 --fraction 0 --out a.h5 b.h5", "fraction must be above 0"),
        ("split data.h5 --fraction 1 --out a.h5 b.h5", "fraction must be below 1"),
        ("split data.h5 --fraction 0.001 --out a.h5 b.h5", "one part would be empty"),
        ("split data.h5 --fraction 0.5 --out a.h5", "expected 2 arguments"),
        ("split data.h5 --fraction 0.5 --out a.h5 ./a.h5", "both parts"),
        # compare and contacts
        ("compare fit.h5", "required: --test"),
        ("compare data.h5 --test data.h5", "data.h5 holds pottsattn.sequences/1"),
        ("compare fit.h5 --test other-length.h5", r"fit.h5 .*= \(8, 3\), the test data have"),
        ("compare odd-fit.h5 --test data.h5", "odd-fit.h5: "),
        ("compare odd-history.h5 --test data.h5", "odd-history.h5: damaged"),
        ("compare nan-fit.h5 --test data.h5", "nan-fit.h5: fields must be finite"),
        ("compare nan-network.h5 --test data.h5", "nan-network.h5: network/readout.weight must be"),
        ("contacts nan-fit.h5 --out c.csv", "nan-fit.h5: fields must be finite"),
        ("compare fit.h5 --test data.h5 --truth no-model.h5", "no-model.h5 .* holds no model"),
        (f"{CONTACTS} --min-separation 0", "--min-separation must be at least 1"),
        (f"{CONTACTS} --min-separation 8", "no pair of columns is 8 apart"),
        (f"{CONTACTS} --distances distances.txt", "distances.txt, line 2: .*'1 three 4'"),
        (f"{CONTACTS} --distances no-distances.txt", "no known distance"),
        (f"{CONTACTS} --distances missing.txt", "(?i)missing.txt: no such file"),
        (f"{CONTACTS} --distances data.h5", "data.h5: not a text file"),
        # plot, info, cite, demo
        ("plot data.h5 --out figure.gif", r"\.png, \.pdf, \.svg; got figure.gif"),
        ("plot data.h5 --out figure", r"\.png, \.pdf, \.svg; got figure"),
        ("plot curve.h5 data.h5 --out figure.png", "no figure for 1 curve, 1 sequences"),
        ("plot fit.h5 fit2.h5 --out figure.png", "no figure for 2 fit"),
        ("plot fit.h5 other-length.h5 --out figure.png", "no figure for 1 fit, 1 sequences"),
        ("plot unknown.h5 --out figure.png", "holds pottsattn.novel, which this version cannot"),
        ("plot curve.h5 --observable entropy --out figure.png", "observable must be one of"),
        ("info missing.h5", "missing.h5: no such file"),
        ("info", "a FILE, or --length, --states, --sequences, --method"),
        ("info --length 10 --states 3", "info needs --sequences, --method"),
        ("info data.h5 --length 10", "takes no --length"),
        ("info --length 9 --states 3 --sequences 9 --method plmc", "did you mean plm"),
        ("weights data.h5 --out w.h5", r"w.h5: weights are \.csv, \.txt, \.npy"),
        ("split data.h5 --fraction 0.5 --out a.h5 b.h5 --weights w.csv", "w.csv: No such file"),
        ("split data.h5 --fraction 0.5 --out a.h5 b.h5 --weights w", "weights are .csv"),
        ("info directory.h5", "it is a directory"),
        ("info truncated.h5", "truncated or damaged"),
        ("cite missing.h5", "missing.h5: no such file"),
        ("demo --instances 0 --out report", "instances must be at least 1"),
        ("demo --seed -1 --out report", "seed must not be negative"),
        ("demo --out data.h5", "cannot make the folder data.h5: it is a file"),
    ],
)
def test_wrong_input_is_one_line(refuse, command, pattern):
    argv = command.split() or [""]
    line = refuse(*argv)
    assert pattern is None or re.search(pattern, line)
    if len(argv) > 1 and argv[0] != "--seed":
        assert refuse(*argv, "--json") == line


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("mask_fraction must be below 1", "--mask-fraction must be below 1"),
        ("n_states must be at least 2", "--states must be at least 2"),
        ("data.npy: n_states must be at least 2", "data.npy: n_states must be at least 2"),
        ("give `data` or `gap_policy='state'`", "give --data or --gaps state"),
        ("lines `i j [strength]`; `stream=True`", "lines `i j [strength]`; --stream"),
        ("what fits: `n_threads=1` (2 GiB)", "what fits: --threads 1 (2 GiB)"),
        ("`unheard_of` must", "`unheard_of` must"),
        ("seeds must agree", "seeds must agree"),
    ],
)
def test_arguments_are_shown_as_options(message, shown):
    parser = Parser()
    for option in ("--mask-fraction", "--data", "--gaps", "--seed", "--states", "--threads"):
        parser.add_argument(option)
    parser.add_argument("--stream", action="store_true")
    assert in_options(message, parser) == shown


@pytest.mark.parametrize(
    ("out", "pattern"),
    [
        ("directory.h5", "cannot write directory.h5: it is a directory"),
        ("nowhere/out.h5", "there is no folder .*nowhere, create it first"),
        ("fit.h5/out.h5", "there is no folder"),
        ("/dev/null", "a device or a pipe"),
        ("-", "cannot write to the standard output"),
        ("x" * 300 + ".h5", "(?i)file name too long"),
    ],
)
def test_outputs_are_checked_before_the_work(refuse, monkeypatch, out, pattern):
    from pottsattn.sampling import sampler

    monkeypatch.setattr(sampler, "sample_to_file", lambda *_, **__: pytest.fail("worked in vain"))
    monkeypatch.setattr("pottsattn.files.load", lambda *_: pytest.fail("worked in vain"))
    monkeypatch.setattr(
        "pottsattn.data.reading.read_dataset", lambda *_, **__: pytest.fail("in vain")
    )
    for command in (
        ["sample", *SIZES.split(), "--out", out],
        ["fit", "data.h5", "--method", "plm", "--out", out],
        ["split", "data.h5", "--fraction", "0.5", "--out", "a.h5", out],
        ["plot", "data.h5", "--out", out],
        ["contacts", "fit.h5", "--out", out],
    ):
        assert re.search(pattern, refuse(*command))


def test_inputs_are_not_overwritten(refuse, folder):
    os.symlink("data.h5", folder / "link.h5")
    for command in (
        "fit data.h5 --method plm --out ./data.h5",
        "fit data.h5 --method plm --out link.h5",
        "fit link.h5 --method plm --out data.h5",
        "sample --model data.h5 --sequences 5 --out data.h5",
        "split data.h5 --fraction 0.5 --out a.h5 data.h5",
        "plot data.h5 fit.h5 --out fit.h5",
        "contacts fit.h5 --out fit.h5",
    ):
        assert "it is an input" in refuse(*command.split())


def test_an_existing_output_survives_a_failure(refuse, folder):
    (folder / "kept.h5").write_text("precious")
    for command in (
        "fit unequal.fasta --method plm --out kept.h5",
        "fit data.h5 --method plm --ridge -1 --out kept.h5",
        f"sample {SIZES} --states 300 --out kept.h5",
    ):
        refuse(*command.split())
    assert (folder / "kept.h5").read_text() == "precious"


def test_read_only_folder(refuse, folder):
    if os.geteuid() == 0:
        pytest.skip("permission does not bind root")
    locked = folder / "locked"
    locked.mkdir(mode=0o555)
    assert "ermission denied" in refuse("sample", *SIZES.split(), "--out", "locked/out.h5")


def test_full_disk_is_one_line(refuse, folder, monkeypatch):
    from pottsattn._core import storage as _storage

    class FullFile(_storage._PatientFile):
        def write(self, data):
            self.error = self.error or OSError(28, "No space left on device")
            return len(data)

    monkeypatch.setattr(_storage, "_PatientFile", FullFile)
    assert "No space left on device; nothing was changed" in refuse(
        "split", "data.h5", "--fraction", "0.5", "--out", "a.h5", "b.h5"
    )
    # A sampled data set is kept beside its target, to be written when there is room.
    assert main([*SAMPLE.split()]) == 1
    assert os.path.exists("out.h5.partial")
    assert not os.path.exists("out.h5")
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert main([*SAMPLE.split()]) == 0
    assert not os.path.exists("out.h5.partial")


def test_memory_errors_of_torch_are_one_line(refuse, monkeypatch):
    from pottsattn.fitting.masked import fit as training

    def fail(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(training, "train_masked", fail)
    assert "not enough memory" in refuse(*TRAIN.split())


def test_a_bug_keeps_its_traceback(monkeypatch, folder):
    def fail(*_, **__):
        raise ValueError("a bug")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("pottsattn.data.reading.read_dataset", fail)
    with pytest.raises(ValueError, match="a bug"):
        main(FIT.split())


@pytest.mark.parametrize("method", ["plm", "attention"])
def test_interrupt_is_130_and_keeps_what_was_trained(method, folder, monkeypatch, capsys):
    from contextlib import contextmanager

    @contextmanager
    def interrupted(what, unit):
        def show(done, total):
            if done == 3:
                raise KeyboardInterrupt

        yield show

    monkeypatch.chdir(folder)
    for module in ("_fit_solved", "_fit_trained"):
        monkeypatch.setattr(f"pottsattn.cli.{module}.bar", interrupted)
    before = snapshot(folder)
    out = f"stopped-{method}.h5"
    assert main(["fit", "data.h5", "--method", method, "--out", out, "--threads", "2"]) == 130
    assert "NOT converged: interrupted" in capsys.readouterr().out
    fit = FitResult.load(out)
    assert fit.interrupted
    assert not fit.converged
    done = {"plm": "interrupted: 3 of 8 sites", "attention": "interrupted at step 3 of 10000"}
    assert fit.message.startswith(done[method])
    partial = {f"{out}.partial"} if method == "attention" else set()
    assert snapshot(folder).keys() - before.keys() == {out} | partial
    (folder / out).unlink()
    if partial:
        (folder / partial.pop()).unlink()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_ends_a_long_run_at_once(tmp_path, threads):
    announcing_main = """
import contextlib, sys
from pottsattn.cli import main, sample

@contextlib.contextmanager
def announce(what, unit):
    calls = []
    yield lambda done, total: calls or calls.append(print("running", flush=True))

sample.bar = announce
sys.exit(main())
"""
    argv = [sys.executable, "-c", announcing_main, *SAMPLE.split(), "--threads", threads]
    argv += ["--warmup", "2000000000"]
    process = subprocess.Popen(
        argv, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == "running\n"
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 5.0
    assert (process.returncode, out, err) == (130, "", "pottsattn: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error(folder):
    argv = [sys.executable, "-m", "pottsattn", "info", str(folder / "data.h5")]
    process = subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # as in `| head -0`
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(timeout=60)


def test_closed_streams_and_plain_terminals(folder):
    base = [sys.executable, "-m", "pottsattn"]
    compare = [*base, "compare", "fit.h5", "--test", "data.h5"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    options = {"cwd": folder, "timeout": 60, "text": True}
    done = subprocess.run(compare, capture_output=True, env=environment, **options)
    assert done.returncode == 0
    assert done.stderr.startswith("pottsattn: warning: 100 % of the test sequences")
    assert r"\xb1" in done.stdout  # plus-minus
    closed = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *base, "info"]
    assert subprocess.run([*closed, "data.h5"], **options).returncode == 0
    assert subprocess.run([*closed, "missing.h5"], **options).returncode == 1


@pytest.mark.parametrize(
    "options",
    ["--unknown bogus", "--identity-threshold 7", "--states 9", "--identity-threshold -3"],
)
@pytest.mark.parametrize("command", ["split data.h5 --fraction 0.5 --out a.h5 b.h5", FIT])
def test_options_that_cannot_apply_are_refused(command, options, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = snapshot(folder)
    assert main([*command.split(), *options.split()]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert snapshot(folder) == before
