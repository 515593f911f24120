"""Exported files, read by readers written from the descriptions of the formats, not by ours.

plmc: the order of writes in `OutputParametersFull` of plmc, and of reads in its `read_params.m`.
CCMpred: rows of tab-separated scores, one row a line, as its README says. What the numbers must be
is computed from the fit file alone, by h5py and NumPy.
"""

from __future__ import annotations

import csv
import struct
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import SequenceDataset, load
from pottsattn._core.storage import content_hash
from pottsattn.cli import main
from pottsattn.data.reading import read_dataset
from pottsattn.exchange.formats import export as write
from pottsattn.exchange.parameters import initial_parameters

FOLDER = Path(__file__).parents[2] / "data"
METHODS = ("plm", "factored", "mf")


def read_plmc_file(path: Path) -> dict:
    """Read plmc's parameters value by value; every byte must be used."""
    content, at = path.read_bytes(), 0

    def take(code: str, count: int) -> tuple:
        nonlocal at
        values = struct.unpack_from(f"<{count}{code}", content, at)
        at += struct.calcsize(f"<{count}{code}")
        return values

    length, q, n_valid, n_invalid, n_iterations = take("i", 5)
    found = {"counts": (length, q, n_valid, n_invalid, n_iterations)}
    found["theta"], found["lambda_h"], found["lambda_e"], found["lambda_group"], n_eff = take(
        "f", 5
    )
    found["n_eff"] = n_eff
    found["alphabet"] = b"".join(take("c", q)).decode()
    found["neighbors"] = take("f", n_valid + n_invalid)
    found["target"] = b"".join(take("c", length)).decode()
    found["offsets"] = take("i", length)
    found["f_i"] = np.array(take("f", length * q)).reshape(length, q)
    found["h_i"] = np.array(take("f", length * q)).reshape(length, q)
    for name in ("f_ij", "J_ij"):
        found[name] = {}
        for i, j in combinations(range(length), 2):
            found[name][i, j] = np.array(take("f", q * q)).reshape(q, q)
    assert at == len(content)
    return found


def read_fit(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return fields and couplings, zero-sum and symmetrized, and the scores, by h5py and NumPy."""
    with h5py.File(path) as file:
        fields, gap = file["fields"][()], int(file.attrs["gap_index"])
        if "couplings" in file:
            couplings = file["couplings"][()]
        else:
            parts = file["interactions"][()], file["color_similarity"][()]
            couplings = np.einsum("hij,hab->ijab", *parts)
    fields = fields + couplings.mean(axis=3).sum(axis=1)
    fields = fields - fields.mean(axis=1, keepdims=True)
    couplings = couplings - couplings.mean(axis=2, keepdims=True)
    couplings = couplings - couplings.mean(axis=3, keepdims=True)
    couplings = (couplings + couplings.transpose(1, 0, 3, 2)) / 2.0
    kept = np.arange(fields.shape[1]) != gap
    norms = np.sqrt((couplings[:, :, kept][:, :, :, kept] ** 2).sum(axis=(2, 3)))
    length = len(norms)
    means = norms.sum(axis=1) / (length - 1)
    scores = norms - means[:, None] * means[None, :] / means.mean()
    scores[np.arange(length), np.arange(length)] = 0.0
    return fields, couplings, scores


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A weighted data set whose columns have gaps in their numbers, and fits of three methods."""
    folder = tmp_path_factory.mktemp("exported")
    rng = np.random.default_rng(3)
    data = SequenceDataset(
        rng.integers(5, size=(30, 6)),
        5,
        weights=rng.uniform(0.2, 1.0, 30),
        alphabet="-ACGU",
        gap_index=0,
        columns=[2, 3, 7, 8, 9, 40],
        names=tuple(f"rna {k}" for k in range(30)),
    )
    data.save(folder / "data.h5")
    for method in METHODS:
        command = ["fit", str(folder / "data.h5"), "--method", method, "--threads", "1"]
        assert main([*command, "--out", str(folder / f"{method}.h5")]) == 0
    return folder


def export(files: Path, method: str, format: str) -> Path:
    out = files / f"{method}.{format}"
    command = ["export", str(files / f"{method}.h5"), "--format", format, "--out", str(out)]
    if format == "plmc":
        command += ["--data", str(files / "data.h5")]
    assert main(command) == 0
    return out


def test_the_reader_reads_what_plmc_wrote():
    found = read_plmc_file(FOLDER / "plmc_tiny.params")
    assert found["counts"][:4] == (3, 5, 7, 1)  # it skipped a sequence with an N
    assert (found["alphabet"], found["target"], found["offsets"]) == ("-ACGU", "---", (1, 2, 3))
    assert_allclose(found["f_i"].sum(axis=1), 1.0, rtol=1e-6)
    for (i, j), block in found["f_ij"].items():
        assert_allclose(block.sum(axis=1), found["f_i"][i], atol=1e-6)
        assert_allclose(block.sum(axis=0), found["f_i"][j], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_plmc_parameters(files, method):
    found = read_plmc_file(export(files, method, "plmc"))
    fields, couplings, _ = read_fit(files / f"{method}.h5")
    with h5py.File(files / "data.h5") as file:
        sequences, weights = file["sequences"][()], file["weights"][()]
    assert found["counts"][:4] == (6, 5, 30, 0)
    assert (found["alphabet"], found["offsets"]) == ("-ACGU", (2, 3, 7, 8, 9, 40))
    assert_allclose(found["neighbors"], 1.0 / weights, rtol=1e-6)
    assert_allclose(found["n_eff"], weights.sum(), rtol=1e-6)
    assert_allclose(found["h_i"], fields, rtol=1e-6, atol=1e-7)
    one_hot = np.eye(5)[sequences]
    w = weights / weights.sum()
    assert_allclose(found["f_i"], np.einsum("m,mia->ia", w, one_hot), rtol=1e-6)
    for i, j in combinations(range(6), 2):
        joint = np.einsum("m,ma,mb->ab", w, one_hot[:, i], one_hot[:, j])
        assert_allclose(found["f_ij"][i, j], joint, rtol=1e-6, atol=1e-9)
        assert_allclose(found["J_ij"][i, j], couplings[i, j], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_scores(files, method):
    """CCMpred's matrix, plmc's couplings file and the table hold the same scores and numbers."""
    _, _, scores = read_fit(files / f"{method}.h5")
    lines = export(files, method, "ccmpred").read_text().splitlines()
    matrix = np.array([[float(entry) for entry in line.split()] for line in lines])
    assert_allclose(matrix, scores, rtol=1e-9, atol=1e-12)
    columns = [2, 3, 7, 8, 9, 40]
    expected = {(columns[i], columns[j]): scores[i, j] for i, j in combinations(range(6), 2)}
    rows = [line.split(" ") for line in export(files, method, "plmc-text").read_text().splitlines()]
    assert [(int(row[0]), int(row[2])) for row in rows] == list(expected)
    assert_allclose([float(row[5]) for row in rows], list(expected.values()), atol=6e-7)
    with export(files, method, "csv").open() as stream:
        table = {(int(row["i"]), int(row["j"])): row for row in csv.DictReader(stream)}
    assert set(table) == set(expected)
    found = [float(table[pair]["score"]) for pair in expected]
    assert_allclose(found, list(expected.values()), rtol=1e-9, atol=1e-12)
    ranks = {pair: int(row["rank"]) for pair, row in table.items()}
    assert sorted(ranks, key=ranks.__getitem__) == sorted(expected, key=lambda p: -expected[p])


@pytest.mark.parametrize("method", METHODS)
def test_npz(files, method):
    fields, couplings, scores = read_fit(files / f"{method}.h5")
    with np.load(export(files, method, "npz")) as found:
        assert_allclose(found["fields"], fields, atol=1e-12)
        assert_allclose(found["couplings"], couplings, atol=1e-12)
        assert_allclose(found["scores"], scores, atol=1e-12)
        assert_array_equal(found["columns"], [2, 3, 7, 8, 9, 40])
        assert (str(found["alphabet"]), int(found["gap_index"])) == ("-ACGU", 0)


@pytest.mark.parametrize("format", ["plmc", "npz"])
def test_parameters_read_and_written_again_are_the_same(files, format, tmp_path):
    """Those of plmc are floats of four bytes, in which a shift of gauge by rounding is lost."""
    first = export(files, "plm", format)
    data, fit = load(files / "data.h5"), load(files / "plm.h5")
    fields, couplings = initial_parameters(first, data)
    again = replace(fit, fields=fields, couplings=couplings)
    write(again, tmp_path / "again", format, dataset=data if format == "plmc" else None)
    second = initial_parameters(tmp_path / "again", data)
    tolerance = 3e-7 if format == "plmc" else 1e-14
    assert_allclose(second[0], fields, atol=tolerance * np.abs(fields).max())
    largest = np.abs(couplings.to_dense()).max()
    assert_allclose(second[1].to_dense(), couplings.to_dense(), atol=tolerance * largest)


@pytest.mark.parametrize("name", ["data", *METHODS])
def test_a_file_loaded_and_saved_is_the_same(files, name, tmp_path):
    load(files / f"{name}.h5").save(tmp_path / "again.h5")
    assert content_hash(tmp_path / "again.h5") == content_hash(files / f"{name}.h5")
    with h5py.File(files / f"{name}.h5") as first, h5py.File(tmp_path / "again.h5") as second:
        assert set(first.attrs) == set(second.attrs)
        for key in set(first.attrs) - {"provenance"}:
            assert_array_equal(first.attrs[key], second.attrs[key])


@pytest.mark.parametrize("suffix", [".fasta", ".fa.gz"])
def test_sequences_written_as_fasta_are_the_same(files, suffix, tmp_path):
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    assert (
        main(["export", str(files / "data.h5"), "--format", "sequences", "--out", str(first)]) == 0
    )
    data, again = load(files / "data.h5"), read_dataset(first)
    assert_array_equal(again.sequences, data.sequences)
    assert (again.alphabet, again.names) == (data.alphabet, data.names)
    assert main(["export", str(first), "--format", "sequences", "--out", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
