"""Fits for other programs: what is written, and parameters read back.

`tests/data/plmc_tiny.params` was written by plmc 18c9e55 itself:
plmc -a -ACGU -le 0.5 -lh 0.25 -o plmc_tiny.params plmc_tiny.fasta
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from fit_factory import make_fit
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError, SequenceDataset, fit_pseudolikelihood
from pottsattn.analysis.contacts import score_map
from pottsattn.cli.main import main
from pottsattn.data.reading import read_dataset
from pottsattn.exchange.conventions import objective_in
from pottsattn.exchange.formats import FORMATS, export
from pottsattn.exchange.parameters import initial_parameters, read_parameters
from pottsattn.exchange.plmc_file import read_plmc
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.model.couplings import Couplings

FOLDER = Path(__file__).parents[2] / "data"
BY_PLMC, ALIGNMENT = FOLDER / "plmc_tiny.params", FOLDER / "plmc_tiny.fasta"


@pytest.fixture
def data() -> SequenceDataset:
    return read_dataset(ALIGNMENT)


@pytest.fixture
def fit(data):
    return fit_pseudolikelihood(data, ridge=0.3)


@pytest.fixture
def plain(rng):
    """Integer data and their fit, with column numbers that leave some out."""
    sequences, columns = rng.integers(3, size=(20, 4)), np.array([2, 3, 7, 8])
    data = SequenceDataset(sequences, 3, columns=columns, weights=rng.uniform(0.1, 1, 20))
    return data, fit_pseudolikelihood(data, "factored")


def test_file_of_plmc_is_read(data):
    file = read_plmc(BY_PLMC)
    assert (file.alphabet, file.focus, file.n_sequences) == ("-ACGU", "---", 7)
    assert_array_equal(file.columns, [1, 2, 3])
    assert_allclose([file.theta, file.couplings_strength, file.fields_strength], [0.2, 0.5, 0.25])
    assert_allclose(file.effective_size, data.effective_size)
    assert file.weights[3] == 0.0  # it has an N
    assert_allclose(np.delete(file.weights, 3), data.weights)
    assert_allclose(file.site_frequencies, data.site_frequencies(), rtol=1e-6)


def test_parameters_of_plmc_minimize_its_objective(data, rng):
    file = read_plmc(BY_PLMC)
    blocks = file.couplings.to_dense()

    def objective(fields, couplings):
        return objective_in("plmc", fields, couplings, data, (0.5, 0.25))

    best = objective(file.fields, blocks)
    assert round(best, 1) == 15.3  # as plmc prints it
    for _ in range(20):  # strongly convex: f(x + d) >= f(x) + g d + 0.25 |d|^2, and g is small
        step = rng.normal(scale=0.1, size=blocks.shape)
        step += step.transpose(1, 0, 3, 2)
        step[range(3), range(3)] = 0.0
        shift = rng.normal(scale=0.1, size=(3, 5))
        square = (shift**2).sum() + (step**2).sum() / 2
        above = objective(file.fields + shift, blocks + step) - best
        assert above > 0.25 * square - 0.01 * np.sqrt(square)


def test_plmc_file_is_laid_out_as_plmc_does(data, fit, tmp_path):
    """Everything that the data decide is the same, byte for byte but for rounding."""
    export(fit, tmp_path / "out", "plmc", dataset=data)
    ours, theirs = (tmp_path / "out").read_bytes(), BY_PLMC.read_bytes()
    assert len(ours) == len(theirs) - 4  # plmc keeps a 0 for the sequence it skipped
    assert_array_equal(np.frombuffer(ours[:20], "<i4")[:4], [3, 5, 7, 0])
    file = read_plmc(tmp_path / "out")
    expected = (0.2, 0.3 * 3, 0.01 * data.effective_size, data.effective_size)
    found = (file.theta, file.couplings_strength, file.fields_strength, file.effective_size)
    assert_allclose(found, expected, rtol=1e-6)
    reference = read_plmc(BY_PLMC)
    for name in ("alphabet", "focus", "n_sequences"):
        assert getattr(file, name) == getattr(reference, name)
    assert_array_equal(file.columns, reference.columns)
    assert_allclose(file.weights, np.delete(reference.weights, 3))
    assert_allclose(file.site_frequencies, reference.site_frequencies, rtol=1e-6)
    tail = 2 * 3 * 25 * 4
    assert_allclose(
        np.frombuffer(ours[-tail : -tail // 2], "<f4"),
        np.frombuffer(theirs[-tail : -tail // 2], "<f4"),
        rtol=1e-6,
        atol=1e-7,
    )
    model = fit.to_model()
    assert_array_equal(file.fields, model.fields.astype(np.float32))
    assert_array_equal(file.couplings.to_dense(), model.to_dense().astype(np.float32))


def test_plmc_file_of_integers(plain, tmp_path):
    data, fit = plain
    export(fit, tmp_path / "out", "plmc", dataset=data)
    file = read_plmc(tmp_path / "out")
    assert file.alphabet == ""
    assert_array_equal(file.columns, [2, 3, 7, 8])
    assert_allclose(file.weights, data.weights, rtol=1e-6)
    assert_allclose(file.couplings_strength, 0.2 * 4 / 2, rtol=1e-6)  # / (C - 1): factored
    fields, couplings = initial_parameters(tmp_path / "out", data)
    assert_array_equal(fields, fit.to_model().fields.astype(np.float32))
    assert_array_equal(couplings.to_dense(), fit.to_model().to_dense().astype(np.float32))
    many = make_fit(Couplings(dense=np.zeros((2, 2, 63, 63))))
    dataset = SequenceDataset(np.zeros((100, 2), dtype=int), 63)
    with pytest.raises(InputError, match="63 states without an alphabet"):
        export(many, tmp_path / "many", "plmc", dataset=dataset)


def test_mean_field_is_marked_as_evcouplings_reads_it(data, tmp_path):
    export(fit_mean_field(data), tmp_path / "out", "plmc", dataset=data)
    file = read_plmc(tmp_path / "out")
    assert (file.fields_strength, file.couplings_strength) == (-0.5, -1.0)


def test_plmc_wants_the_data_of_the_fit(data, fit, plain, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="give the data of the fit"):
        export(fit, out, "plmc")
    with pytest.raises(InputError, match="its length is 3, that of these data 4"):
        export(fit, out, "plmc", dataset=plain[0])
    with pytest.raises(InputError, match="number of sequences is 7, that of these data 6"):
        export(fit, out, "plmc", dataset=data.take(slice(6)))
    other = read_dataset(ALIGNMENT, identity_threshold=0.3)
    with pytest.raises(InputError, match="effective size of 6, these data have"):
        export(fit, out, "plmc", dataset=other)
    with pytest.raises(InputError, match="data are for format plmc, not for csv"):
        export(fit, out, "csv", dataset=data)
    assert not out.exists()


def test_text_formats_hold_the_scores_of_contacts(plain, tmp_path):
    _, fit = plain
    scores = score_map(fit)
    for format in ("plmc-text", "ccmpred", "csv"):
        export(fit, tmp_path / format, format)
    lines = (tmp_path / "plmc-text").read_text().splitlines()
    assert lines[0] == f"2 - 3 - 0 {scores[0, 1]:f}"
    assert [line.split()[:5] for line in lines[3:5]] == [
        ["3", "-", "7", "-", "0"],
        ["3", "-", "8", "-", "0"],
    ]
    assert_allclose([float(x.split()[5]) for x in lines], scores[np.triu_indices(4, 1)], atol=5e-7)
    assert_array_equal(np.loadtxt(tmp_path / "ccmpred"), scores)
    with (tmp_path / "csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    where = {2: 0, 3: 1, 7: 2, 8: 3}
    for row in rows:
        assert float(row["score"]) == scores[where[int(row["i"])], where[int(row["j"])]]


def test_npz_round_trip(plain, data, fit, tmp_path):
    for dataset, one in (plain, (data, fit)):
        export(one, tmp_path / "out.npz", "npz")
        fields, couplings, alphabet = read_parameters(tmp_path / "out.npz")
        assert_array_equal(fields, one.to_model().fields)
        assert_array_equal(couplings.to_dense(), one.to_model().to_dense())
        assert alphabet == dataset.alphabet
        with np.load(tmp_path / "out.npz") as file:
            assert_array_equal(file["columns"], dataset.columns)
            assert_array_equal(file["scores"], score_map(one))
            assert int(file["gap_index"]) == (-1 if dataset.gap_index is None else 0)


def test_parameters_of_a_fit_are_as_the_optimum_left_them(fit, data, tmp_path):
    fit.save(tmp_path / "fit.h5")
    fields, couplings = initial_parameters(tmp_path / "fit.h5", data)
    assert_array_equal(fields, fit.fields)
    assert_array_equal(couplings.to_dense(), fit.couplings.to_dense())


def test_states_are_brought_into_the_order_of_the_data(fit, data, tmp_path):
    order = [3, 1, 4, 0, 2]
    changes = {"alphabet": "".join(data.alphabet[a] for a in order)}
    dense = fit.couplings.to_dense()[:, :, order][:, :, :, order]
    make_fit(Couplings(dense=dense), fit.fields[:, order], **changes).save(tmp_path / "fit.h5")
    fields, couplings = initial_parameters(tmp_path / "fit.h5", data)
    assert_array_equal(fields, fit.fields)
    assert_array_equal(couplings.to_dense(), fit.couplings.to_dense())
    make_fit(fit.couplings, fit.fields, alphabet="-ACGT").save(tmp_path / "fit.h5")
    with pytest.raises(InputError, match="'-ACGT', the data '-ACGU'"):
        initial_parameters(tmp_path / "fit.h5", data)


def test_files_that_hold_no_parameters(plain, data, tmp_path):
    def message(content: bytes | None, name: str = "file") -> str:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError) as raised:
            initial_parameters(path, data)
        assert str(path) in str(raised.value)
        return str(raised.value)

    whole = BY_PLMC.read_bytes()
    assert "not a parameter file of plmc" in message(whole[:-1])
    assert "not a parameter file of plmc" in message(whole + b"\0")
    assert "not a parameter file of plmc" in message(b"")
    assert "not a parameter file of plmc" in message(b"1 - 2 - 0 0.5\n" * 40)
    assert "No such file" in message(None, "absent")
    assert "cannot read" in message(b"PK\x03\x04 and no more")
    data.save(tmp_path / "data.h5")
    assert "expected pottsattn.fit/1" in message(None, "data.h5")
    plain[1].save(tmp_path / "plain.h5")
    assert "length 4 and 3 states, the data 3 and 5" in message(None, "plain.h5")
    np.savez(tmp_path / "nan.npz", fields=np.zeros((2, 2)), couplings=np.full((2, 2, 2, 2), np.nan))
    assert "couplings must be finite" in message(None, "nan.npz")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    assert "fields" in message(None, "other.npz")


def test_without_the_gap_says_so(data, tmp_path):
    without = make_fit(Couplings(dense=np.zeros((3, 3, 4, 4))), alphabet="ACGU")
    without.save(tmp_path / "fit.h5")
    with pytest.raises(InputError, match=r"leave out the gap \(-g\)"):
        initial_parameters(tmp_path / "fit.h5", data)


@pytest.mark.parametrize("format", FORMATS)
def test_command_writes_every_format(format, fit, tmp_path, capsys):
    saved, out = str(tmp_path / "fit.h5"), tmp_path / "out"
    fit.save(saved)
    command = ["export", saved, "--format", format, "--out", str(out)]
    if format == "plmc":
        assert main(command) == 1
        assert "data of the fit as --data" in capsys.readouterr().err
        command += ["--data", str(ALIGNMENT)]
    assert main(command) == 0
    assert f"{out}: plm, {format}" in capsys.readouterr().out
    assert out.stat().st_size > 0


def test_command_refuses(fit, tmp_path, capsys):
    saved, out = str(tmp_path / "fit.h5"), tmp_path / "out"
    fit.save(saved)
    for options, text in (
        ("--format plcm", "did you mean plmc"),
        (f"--format csv --data {ALIGNMENT}", "--data applies to --format plmc, not to csv"),
    ):
        assert main(["export", saved, "--out", str(out), *options.split()]) == 1
        assert text in capsys.readouterr().err
    assert main(["export", saved, "--format", "csv", "--out", saved]) == 1
    assert not out.exists()


def test_fit_starts_from_a_file_of_plmc(tmp_path, capsys, monkeypatch):
    """The command hands (fields, couplings) to the solver."""
    given = {}
    solve = fit_pseudolikelihood

    def spy(dataset, method, *, solver, **options):
        given["initial"] = solver.initial
        return solve(dataset, method, **options)

    monkeypatch.setattr("pottsattn.fitting.pseudolikelihood.fit.fit_pseudolikelihood", spy)
    out = str(tmp_path / "fit.h5")
    command = ["fit", str(ALIGNMENT), "--out", out, "--init", str(BY_PLMC), "--method"]
    assert main([*command, "plm"]) == 0
    fields, couplings = given["initial"]
    assert_array_equal(fields, read_plmc(BY_PLMC).fields)
    assert_array_equal(couplings.to_dense(), read_plmc(BY_PLMC).couplings.to_dense())
    assert main([*command, "mf"]) == 1
    assert "--init applies to plm and factored, not to mf" in capsys.readouterr().err


def test_fit_by_mean_field(tmp_path, capsys):
    out = str(tmp_path / "mf.h5")
    command = ["fit", str(ALIGNMENT), "--method", "mf", "--out", out]
    assert main([*command, "--pseudocount", "0.3"]) == 0
    assert "mf, converged: mean-field equations solved, pseudocount 0.3" in capsys.readouterr().out
    for option in ("--ridge 1", "--couplings-l2 1", "--fields-l2 1", "--fields none"):
        assert main([*command, *option.split()]) == 1
        assert "applies to plm, factored and attention, not to mf" in capsys.readouterr().err
    assert main([*command[:3], "plm", "--out", out, "--pseudocount", "0.3"]) == 1
