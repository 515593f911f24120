"""The command line: exit statuses, JSON keys, and the same numbers as the Python interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import pottsattn.__main__
from pottsattn._core.storage import content_hash
from pottsattn.cli import main
from pottsattn.data.dataset import SequenceDataset
from pottsattn.files import load
from pottsattn.fitting.result import FitResult
from pottsattn.studies.sweep.against_theory import Deviation
from pottsattn.studies.sweep.table import SweepPoint
from pottsattn.theory.curve import learning_curve
from pottsattn.theory.optimum import optimal_ridge

# What scripts of other people rely on; further keys are allowed.
SAMPLE_KEYS = "file n_sequences ess split_r_hat autocorrelation_time phase_zone kernel"
SAMPLE_KEYS += " updates_per_second resumed_from seconds"
FIT_KEYS = "converged message objective train_loss gradient_norm n_evaluations seconds"
FIT_KEYS += " peak_memory_bytes n_parameters resumed_from"
COMPARED_KEYS = "file method test_loss test_loss_error train_loss coupling_error pearson"
COMPARED_KEYS += " n_parameters converged seconds test_overlap"
BRIDGE_KEYS = "data converged interrupted identity fits masked criteria conclusions bayes_loss"
BRIDGE_KEYS += " ridge couplings_l2 fields_l2 n_given n_used n_train n_held_out seconds"
POINT_KEYS = "alpha ridge mask_fraction m q V test_loss bayes_loss train_loss coupling_error"
POINT_KEYS += " accuracy converged"
PHASE_KEYS = "zone spin_glass_scale ferromagnetic_scale first_order_bound"
COMMANDS = "demo sample split weights fit compare bridge plan theory sweep contacts export plot"
COMMANDS += " report info cite energies mutations statistics example"
FIGURE_STARTS = {".png": b"\x89PNG\r\n", ".pdf": b"%PDF-", ".svg": b"<?xml"}
SAMPLE = "sample --length 6 --states 3 --coupling-scale 1 --chains 8 --warmup 50 --thin 2"
CURVE = "theory --states 3 --coupling-scale 1.5 --ridge 0.1 --alpha 4 1"


@pytest.fixture(autouse=True)
def restored_environment(monkeypatch):
    """`--threads` is passed on by an environment variable; take it back after every test."""
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with one file of every kind that the commands write."""
    folder = tmp_path_factory.mktemp("cli")
    data = str(folder / "data.h5")
    assert main([*SAMPLE.split(), "--sequences", "300", "--seed", "7", "--out", data]) == 0
    for method in ("plm", "factored", "attention"):
        out = str(folder / f"{method}.h5")
        assert main(["fit", data, "--method", method, "--out", out, "--threads", "1"]) == 0
    assert main([*CURVE.split(), "--out", str(folder / "curve.h5")]) == 0
    pottsattn.PottsModel.load(data).save(folder / "model.h5")
    rng = np.random.default_rng(2)
    records = [
        f">s{k}\n{''.join(rng.choice(list('ACDEFGHIKLMNPQRSTVWY-'), 12))}\n" for k in range(30)
    ]
    (folder / "family.fasta").write_text("".join(records) + ">odd\nACDEFXHIKLMN\n")
    seen = SequenceDataset.load(data).sequences
    np.save(folder / "data.npy", seen)
    more = str(folder / "more.h5")  # of the same model, some of them by chance in data.h5
    assert (
        main(["sample", "--model", data, "--sequences", "300", "--seed", "8", "--out", more]) == 0
    )
    drawn = SequenceDataset.load(more)
    is_new = ~(drawn.sequences[:, None] == seen).all(axis=2).any(axis=1)
    drawn.take(is_new).save(folder / "new.h5")
    np.save(folder / "new.npy", drawn.sequences[is_new])
    return folder


@pytest.fixture
def run(capsys, monkeypatch, files):
    """Run a command inside the folder of files; return (exit status, stdout, stderr)."""
    monkeypatch.chdir(files)

    def call(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(list(argv))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def run_json(run):
    """Run a command with --json; return (exit status, the object). Nothing else is printed."""

    def call(*argv: str) -> tuple[int, dict]:
        status, out, err = run(*argv, "--json")
        assert err == ""
        assert out.count("\n") == 1
        return status, strict_json(out)

    return call


def strict_json(text: str) -> dict:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def assert_keys(found: dict, expected: str) -> None:
    assert set(expected.split()) <= set(found)


@pytest.mark.parametrize("suffix", ["csv", "txt", "npy"])
def test_weights_are_written_once_and_used_by_every_command(run, run_json, suffix):
    file = f"weights.{suffix}"
    status, report = run_json("weights", "family.fasta", "--out", file)
    assert status == 0
    assert_keys(report, "file n_sequences effective_size weights summary seconds")
    assert (report["n_sequences"], report["weights"]) == (30, "at identity 0.8")
    assert run_json("info", "family.fasta")[1]["effective_size"] == report["effective_size"]

    # At another threshold the weights would differ; those of the file count.
    loose = ["family.fasta", "--identity-threshold", "0.1"]
    assert run_json("info", *loose)[1]["effective_size"] < 0.9 * report["effective_size"]
    assert (
        run_json("info", *loose, "--weights", file)[1]["effective_size"]
        == (report["effective_size"])
    )
    np.savetxt("given.txt", np.arange(30) / 4.0)
    fit = ["fit", "family.fasta", "--method", "factored", "--color-similarity", "identity"]
    status, fitted = run_json(*fit, "--weights", "given.txt", "--out", "weighted.h5")
    assert (status, fitted["n_sequences"], fitted["effective_size"]) == (0, 30, 29 * 30 / 8)
    origin = pottsattn.load("weighted.h5").origin["data"]
    assert origin["weights"] == {"file": "given.txt"}
    assert "identity_threshold" not in origin


def test_stored_weights_are_written_too(run_json, files):
    dataset = SequenceDataset([[0, 1], [1, 0], [1, 1]], 2, weights=[0.1, 1.0 / 3.0, 2.0])
    dataset.save(files / "stored.h5")
    report = run_json("weights", "stored.h5", "--out", "stored.csv")[1]
    assert (report["weights"], report["effective_size"]) == ("stored", dataset.effective_size)
    assert (files / "stored.csv").read_text() == "weight\n0.1\n0.3333333333333333\n2.0\n"
    assert run_json("weights", "data.h5", "--out", "data.npy.npy")[1]["weights"] == (
        "at identity 0.8"
    )


@pytest.mark.parametrize(
    "method",
    [
        "plm",
        "plm --symmetric",
        "factored",
        "factored --color-similarity learned",
        "factored --heads 4",
        "attention",
        "mf",
    ],
)
def test_info_tells_memory_and_time_of_a_fit(run, run_json, method):
    sizes = f"--length 60 --states 21 --sequences 5000 --method {method} --threads 2".split()
    status, report = run_json("info", *sizes)
    assert status == 0
    assert_keys(report, "method length n_states n_sequences n_threads n_heads stages peak_bytes")
    assert_keys(report, "symmetric color_similarity seconds seconds_by_stage typical_evaluations")
    assert report["peak_bytes"] == max(stage["total_bytes"] for stage in report["stages"])
    assert (report["seconds"] is None) == (method == "attention")
    if method != "attention":
        assert 0.0 < max(report["seconds_by_stage"].values()) <= report["seconds"] < 1e4
        assert report["seconds_within_factor"] >= 3
    status, text, err = run("info", *sizes)
    assert (status, err) == (0, "")
    assert all(stage["stage"] in text for stage in report["stages"])
    assert "\npeak " in text
    assert "\ntime " in text


@pytest.mark.parametrize("command", COMMANDS.split())
def test_every_command_has_help_and_the_common_options(command, capsys):
    with pytest.raises(SystemExit) as ending:
        main([command, "--help"])
    assert ending.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--help", "--seed", "--threads", "--json"))


def test_version_and_bare_call(capsys):
    for argv, start in ([["--version"], f"pottsattn {pottsattn.__version__}\n"], [[], "usage: "]):
        with pytest.raises(SystemExit) as ending:
            main(argv)
        assert ending.value.code == 0
        assert capsys.readouterr().out.startswith(start)


def test_the_console_script_is_the_module():
    config = ConfigParser(interpolation=None)
    config.read(Path(__file__).parents[3] / "setup.cfg")
    name, value = config["options.entry_points"]["console_scripts"].split("=")
    script = EntryPoint(name.strip(), value.strip(), "console_scripts")
    assert script.name == "pottsattn"
    assert script.load() is pottsattn.__main__.main


def test_module_runs_in_its_own_process(tmp_path):
    argv = [sys.executable, "-m", "pottsattn", *SAMPLE.split(), "--sequences", "40", "--json"]
    argv += ["--out", "ünï code.h5", "--threads", "1"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    report = strict_json(done.stdout)
    assert_keys(report, SAMPLE_KEYS)
    assert report["file"] == "ünï code.h5"
    assert [path.name for path in tmp_path.iterdir()] == ["ünï code.h5"]


@pytest.mark.parametrize("ensemble", ["sk-potts", "generalized", "chain"])
def test_sample_writes_what_it_reports(run_json, tmp_path, ensemble):
    out = str(tmp_path / "a.h5")
    status, report = run_json(
        *SAMPLE.split(), "--ensemble", ensemble, "--sequences", "101", "--out", out
    )
    assert status == 0
    assert_keys(report, SAMPLE_KEYS)
    assert report["phase_zone"] == ("safe" if ensemble == "sk-potts" else None)
    dataset = SequenceDataset.load(out)
    assert dataset.n_sequences == report["n_sequences"] == 101
    assert dataset.model.ensemble == ensemble


def test_sample_says_null_where_chains_are_too_short(run_json, tmp_path):
    argv = [*SAMPLE.split(), "--sequences", "8", "--out", str(tmp_path / "a.h5")]
    status, report = run_json(*argv)
    assert status == 0
    assert report["ess"] is report["split_r_hat"] is report["autocorrelation_time"] is None


def test_sample_warns_outside_the_safe_zone(run, tmp_path):
    out = str(tmp_path / "a.h5")
    argv = ["--length", "6", "--states", "3", "--coupling-scale", "3.5", "--sequences", "9"]
    status, _, err = run("sample", *argv, "--warmup", "5", "--out", out)
    assert status == 0
    assert err.startswith("pottsattn: warning: coupling_scale 3.5")
    assert err.count("\n") == 1


@pytest.mark.parametrize("source", ["data.h5", "model.h5", "plm.h5", "attention.h5"])
def test_sample_copies_the_model_of_any_file(run_json, tmp_path, source):
    out = str(tmp_path / "a.h5")
    status, _ = run_json("sample", "--model", source, "--sequences", "20", "--out", out)
    assert status == 0
    model = SequenceDataset.load(out).model
    expected = load(source)
    if isinstance(expected, FitResult):
        expected = expected.to_model()
    elif isinstance(expected, SequenceDataset):
        expected = expected.model
    assert_allclose(model.to_dense(), expected.to_dense(), rtol=0)


def test_inverse_temperature_is_stored_with_the_model(run_json, tmp_path):
    hot = ("sample", "--model", "model.h5", "--sequences", "8", "--out", str(tmp_path / "hot.h5"))
    run_json(*hot, "--inverse-temperature", "0.5")
    model = pottsattn.PottsModel.load(tmp_path / "hot.h5")
    assert_allclose(model.to_dense(), 0.5 * pottsattn.PottsModel.load("model.h5").to_dense())


def test_seed_decides_for_any_number_of_threads(run_json, tmp_path):
    hashes = {}
    for seed, threads in (("3", "1"), ("3", "2"), ("4", "1")):
        data, fit = str(tmp_path / "a.h5"), str(tmp_path / "f.h5")
        options = ("--seed", seed, "--threads", threads)
        run_json(*SAMPLE.split(), "--sequences", "80", "--out", data, *options)
        run_json("fit", data, "--method", "plm", "--out", fit, *options)
        hashes[seed, threads] = content_hash(data), content_hash(fit)
    assert hashes["3", "1"] == hashes["3", "2"]
    assert hashes["3", "1"] != hashes["4", "1"]


@pytest.mark.parametrize("method", ["plm", "factored", "attention"])
def test_fit_reports_its_file(run_json, tmp_path, method):
    out = str(tmp_path / "fit.h5")
    status, report = run_json("fit", "data.h5", "--method", method, "--out", out)
    assert status == 0
    assert_keys(report, FIT_KEYS)
    fit = FitResult.load(out)
    for name in ("converged", "message", "objective", "train_loss", "n_parameters"):
        assert report[name] == getattr(fit, name)
    assert fit.ridge == pytest.approx(0.2)
    assert fit.penalty.fields_l2 == 0.01


def test_attention_and_factored_agree(run_json):
    losses = [FitResult.load(name).train_loss for name in ("attention.h5", "factored.h5")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


@pytest.mark.parametrize("method", ["plm", "factored", "attention"])
def test_a_fit_that_is_not_converged_is_marked(run, run_json, tmp_path, method):
    out = str(tmp_path / "fit.h5")
    argv = ("fit", "data.h5", "--method", method, "--max-steps", "2", "--out", out)
    status, report = run_json(*argv)
    assert status == 3
    assert report["converged"] is False
    assert "raise max_steps" in report["message"]
    assert not FitResult.load(out).converged
    status, text, err = run("compare", out, "--test", "new.h5")
    assert (status, err) == (0, "")
    assert "NOT converged" in text
    status, text, err = run(*argv)
    assert (status, err) == (3, "")
    assert "NOT converged" in text


def test_fit_options_reach_the_fit(run_json, tmp_path):
    out = str(tmp_path / "fit.h5")
    base = ("fit", "data.h5", "--out", out)
    status, _ = run_json(*base, "--method", "plm", "--couplings-l2", "0.3", "--fields", "none")
    fit = FitResult.load(out)
    assert (status, fit.penalty.couplings_l2, fit.config["fields"]) == (0, 0.3, "none")
    options = ("--heads", "2", "--masks", "3", "--max-steps", "3", "--color-similarity", "learned")
    status, _ = run_json(*base, "--method", "attention", *options)
    fit = FitResult.load(out)
    assert fit.couplings.factors()[0].shape == (2, 6, 6)
    assert (fit.config["masks"], fit.config["color_similarity"]) == (3, "learned")


def test_a_symmetric_fit_is_one(run_json, tmp_path):
    out = str(tmp_path / "fit.h5")
    status, report = run_json("fit", "data.h5", "--method", "plm", "--symmetric", "--out", out)
    assert status == 0
    assert report["symmetric"]
    dense = FitResult.load(out).couplings.to_dense()
    assert_allclose(dense, dense.transpose(1, 0, 3, 2))


def test_heads_and_starts_reach_a_factored_fit(run_json, tmp_path):
    out = str(tmp_path / "fit.h5")
    argv = ("fit", "data.h5", "--method", "factored", "--heads", "2", "--starts", "2")
    status, report = run_json(*argv, "--ridge", "5", "--out", out)
    fit = FitResult.load(out)
    assert status in (0, 3)
    assert fit.couplings.factors()[0].shape == (2, 6, 6)
    assert len(fit.config["start_objectives"]) == 2
    assert "best of 2 starts" in report["message"]


@pytest.mark.parametrize("method", ["plm", "factored", "attention"])
def test_the_ridge_can_be_chosen(method, run, run_json, tmp_path):
    argv = ("fit", "data.h5", "--method", method, "--ridge", "auto")
    argv += ("--out", str(tmp_path / "fit.h5"))
    status, report = run_json(*argv)
    assert status == 0
    fit = FitResult.load(tmp_path / "fit.h5")
    assert fit.ridge == pytest.approx(report["ridge"])
    path = report["ridge_path"]
    assert path["ridge"] == pytest.approx(report["ridge"])
    assert len(path["ridges"]) == len(path["leave_one_out_losses"]) >= 3
    status, out, err = run(*argv)
    assert (status, err) == (0, "")
    assert "the least leave-one-out loss of" in out


def test_standard_errors_go_into_the_file(run_json, tmp_path):
    out = str(tmp_path / "fit.h5")
    argv = ("fit", "data.h5", "--method", "factored", "--errors", "laplace", "--out", out)
    status, _ = run_json(*argv)
    assert status == 0
    errors = FitResult.load(out).errors
    assert errors.kind == "laplace"
    assert np.all(errors.couplings[~np.eye(6, dtype=bool)] > 0.0)


def test_fit_of_an_alignment_counts_what_it_drops(run, run_json, tmp_path):
    argv = ("fit", "family.fasta", "--method", "plm", "--out", str(tmp_path / "fit.h5"))
    status, out, err = run(*argv)
    assert (status, err) == (0, "")
    assert "1 sequences dropped for letters X x 1; effective size 30" in out
    status, report = run_json(*argv)
    assert status == 0
    assert "1 sequences dropped" in report["summary"]
    assert report["n_sequences"] == 30
    status, report = run_json(*argv, "--unknown", "gap")
    assert report["n_sequences"] == 31


def test_fit_of_npy_takes_the_number_of_states(run_json, tmp_path):
    out = str(tmp_path / "fit.h5")
    status, _ = run_json("fit", "data.npy", "--method", "plm", "--states", "5", "--out", out)
    assert status == 0
    assert FitResult.load(out).n_states == 5


def test_compare_gives_the_numbers_of_the_package(run_json):
    status, report = run_json("compare", "plm.h5", "attention.h5", "--test", "new.h5")
    assert status == 0
    assert [fit["method"] for fit in report["fits"]] == ["plm", "attention"]
    for row in report["fits"]:
        assert_keys(row, COMPARED_KEYS)
    fits = {name: FitResult.load(name) for name in ("plm.h5", "attention.h5")}
    assert report == pottsattn.compare(fits, SequenceDataset.load("new.h5")).to_dict()


def test_compare_without_truth_says_null(run, run_json):
    status, report = run_json("compare", "plm.h5", "--test", "new.npy")
    assert status == 0
    assert report["bayes_loss"] is None
    assert report["fits"][0]["coupling_error"] is report["fits"][0]["pearson"] is None
    status, text, _ = run("compare", "plm.h5", "--test", "new.npy")
    assert "nan" not in text
    with_truth = run_json("compare", "plm.h5", "--test", "new.npy", "--truth", "model.h5")[1]
    assert with_truth == run_json("compare", "plm.h5", "--test", "new.h5")[1]


@pytest.mark.parametrize("test", ["data.h5", "more.h5"])
def test_compare_warns_of_test_sequences_of_the_training(test, run):
    status, out, err = run("compare", "plm.h5", "--test", test, "--json")
    assert status == 0
    overlap = json.loads(out)["fits"][0]["test_overlap"]
    share = f"{100 * overlap:.3g} % of the test sequences are among the training data of plm.h5"
    assert err.startswith(f"pottsattn: warning: {share}")
    assert err.count("\n") == 1
    assert ("by chance" in err) == (test == "more.h5")
    assert (overlap == 1.0) == (test == "data.h5")


def test_bridge_shows_that_both_coincide(run, run_json, tmp_path):
    figure, table = tmp_path / "bridge.svg", tmp_path / "bridge.csv"
    argv = ["bridge", "data.h5", "--mask-fraction", "0.5", "--threads", "1", "--ridge", "1"]
    status, report = run_json(*argv, "--out", str(figure), "--csv", str(table))
    assert status == 0
    assert_keys(report, BRIDGE_KEYS)
    assert (report["data"], report["figure"], report["csv"]) == (
        "data.h5",
        *map(str, (figure, table)),
    )
    assert all(criterion["met"] for criterion in report["criteria"])
    assert [(fit["mode"], fit["fraction"]) for fit in report["masked"]] == [
        ("fresh", 0.5),
        ("static", 0.5),
    ]
    assert (report["ridge"], report["n_used"], report["color_similarity"]) == (1.0, 300, "identity")
    assert figure.read_bytes().startswith(FIGURE_STARTS[".svg"])
    assert table.read_text().startswith("part,name,mode,fraction,")
    status, text, err = run(*argv)
    assert (status, err) == (0, "")
    assert "The same optimum, found in two ways." in text
    assert report["conclusions"][0] in text


def test_theory_is_the_learning_curve(run_json, tmp_path):
    for suffix in (".h5", ".csv"):
        status, report = run_json(*CURVE.split(), "--out", str(tmp_path / f"curve{suffix}"))
        assert status == 0
        assert report == learning_curve(3, 1.5, [4.0, 1.0], 0.1).to_dict()
    for point in report["points"]:
        assert_keys(point, POINT_KEYS)
    assert_keys(report["phase"], PHASE_KEYS)
    assert load(tmp_path / "curve.h5").to_dict() == report
    assert (tmp_path / "curve.csv").read_text().startswith("alpha,ridge,")


@pytest.mark.parametrize("mode", ["fresh", "static"])
def test_theory_with_masks(run, run_json, mode):
    options = [*CURVE.split(), "--mask-fraction", "0.3"]
    if mode != "fresh":  # the default
        options += ["--mask-mode", mode]
    status, report = run_json(*options)
    assert status == 0
    curve = learning_curve(3, 1.5, [4.0, 1.0], 0.1, mask_fraction=0.3, mask_mode=mode)
    assert report == curve.to_dict()
    assert [point["mask_fraction"] for point in report["points"]] == [0.3, 0.3]
    assert report["mask_mode"] == mode
    status, text, _ = run(*options)
    assert status == 0
    assert "mask_fraction" in text
    assert f"{mode} masks" in text


def test_theory_finds_the_best_ridge_or_says_null(run_json):
    base = ("theory", "--states", "3", "--alpha", "2", "--optimum", "ridge")
    status, report = run_json(*base, "--coupling-scale", "1.5", "--estimator", "full")
    assert status == 0
    assert report == optimal_ridge(3, 1.5, [2.0], estimator="full").to_dict()
    status, report = run_json(*base, "--coupling-scale", "0")  # nothing to learn
    assert status == 0
    assert report["points"][0]["ridge"] is report["points"][0]["test_loss"] is None
    assert "no optimal ridge between 0.0001 and 1000" in report["points"][0]["reason"]
    assert report["points"][0]["reason"] in report["message"]


def test_theory_marks_points_that_are_not_solved(run, run_json):
    base = ("theory", "--states", "2", "--coupling-scale", "1")
    status, text, _ = run(*base, "--ridge", "1e-4", "--alpha", "2.341", "8")
    assert status == 3
    head, coarse, fine, *rest = text.splitlines()
    assert [line.split()[-1] for line in (head, coarse, fine)] == ["converged", "NO", "yes"]
    assert rest[-1].startswith("alpha 2.341: averages over fields too coarse")
    status, report = run_json(*base, "--ridge", "1e-4", "--alpha", "2.341", "8")
    assert status == 3
    assert [point["converged"] for point in report["points"]] == [False, True]

    status, text, _ = run(
        "theory", "--states", "2", "--coupling-scale", "0", "--alpha", "2", "--optimum", "ridge"
    )
    assert status == 0
    assert text.splitlines()[1].endswith("no optimum")
    assert "alpha 2: no optimal ridge between 0.0001 and 1000" in text


def test_theory_without_a_paramagnetic_phase_is_exit_3(run, run_json):
    base = ("theory", "--states", "3", "--coupling-scale", "4", "--alpha", "2")
    for option in (("--ridge", "0.1"), ("--optimum", "ridge")):
        status, report = run_json(*base, *option)
        assert status == 3
        assert report["phase"]["zone"] == "invalid"
        assert report["points"][0]["converged"] is False
        status, text, err = run(*base, *option)
        assert (status, err) == (3, "")
        assert "no paramagnetic phase" in text


def test_split_parts_are_disjoint_and_complete(run_json, tmp_path):
    parts = [str(tmp_path / name) for name in ("train.h5", "test.h5")]
    argv = ("split", "data.h5", "--fraction", "0.2", "--out", *parts)
    status, report = run_json(*argv)
    assert status == 0
    assert report["n_sequences"] == [240, 60]
    rows = np.concatenate([SequenceDataset.load(part).sequences for part in parts])
    whole = SequenceDataset.load("data.h5").sequences
    assert_allclose(rows[np.lexsort(rows.T)], whole[np.lexsort(whole.T)])
    before = [content_hash(part) for part in parts]
    run_json(*argv)
    assert before == [content_hash(part) for part in parts]


def test_contacts_reports_precision_or_null(run_json, tmp_path):
    out = tmp_path / "pairs.csv"
    base = ("contacts", "plm.h5", "--min-separation", "1", "--out", str(out))
    status, report = run_json(*base)
    assert status == 0
    assert report["n_pairs"] == 15
    assert report["precision"] is report["area"] is report["n_contacts"] is None
    assert out.read_text().splitlines()[0] == "rank,i,j,score,frobenius"
    assert len(out.read_text().splitlines()) == 16
    pairs = [(i, j) for i in range(1, 7) for j in range(i + 1, 7)]
    (tmp_path / "d.txt").write_text("".join(f"{i} {j} {j - i}.5\n" for i, j in pairs))
    status, report = run_json(*base, "--distances", str(tmp_path / "d.txt"), "--cutoff", "2")
    assert status == 0
    assert set(report["precision"]) == {"L/2", "L", "2L"}
    assert (report["n_pairs"], report["n_contacts"]) == (15, 5)


@pytest.mark.parametrize("suffix", FIGURE_STARTS)
@pytest.mark.parametrize(
    "sources",
    [
        ("curve.h5",),
        ("curve.h5", "curve.h5", "--observable", "coupling_error"),
        ("plm.h5",),
        ("attention.h5",),
        ("data.h5",),
        ("plm.h5", "attention.h5", "data.h5"),
        ("factored.h5", "model.h5"),
    ],
    ids=" ".join,
)
def test_plot_draws_every_kind_of_file(run_json, tmp_path, sources, suffix):
    out = tmp_path / f"figure{suffix}"
    status, report = run_json("plot", *sources, "--out", str(out))
    assert (status, report) == (0, {"file": str(out)})
    assert out.read_bytes().startswith(FIGURE_STARTS[suffix])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("data.h5", "pottsattn.sequences/1"),
        ("plm.h5", "pottsattn.fit/1"),
        ("curve.h5", "pottsattn.curve/1"),
        ("model.h5", "pottsattn.model/1"),
        ("family.fasta", "alignment"),
        ("data.npy", "npy"),
    ],
)
def test_info_and_cite_know_every_file(run, run_json, name, kind):
    status, report = run_json("info", name)
    assert (status, report["format"]) == (0, kind)
    expected = content_hash(name) if name.endswith(".h5") else None
    assert report["content_hash"] == expected
    status, text, err = run("info", name)
    assert (status, err) == (0, "")
    assert kind in text
    if expected is not None:
        status, report = run_json("cite", name)
        assert status == 0
        assert any("Potts" in paper for paper in report["papers"])


def test_cite_without_a_file_names_all_papers(run_json):
    status, report = run_json("cite")
    assert status == 0
    assert len(set(report["papers"])) == len(report["papers"]) >= 4


def test_demo_reports_its_page(run_json, tmp_path, monkeypatch):
    point = SweepPoint("plm", "fixed", 1.0, 0.1, 30, 3, 1.5, None, None, None)
    deviation = Deviation(point, 2, 1.01, 0.001, 1.0, 0.0, 0.001)

    def run_demo(folder, settings, *, n_threads, progress):
        progress(0, 1)  # not a terminal: nothing is shown
        assert (folder, n_threads) == (str(tmp_path), 1)
        assert (settings.n_instances, settings.seed) == (2, 5)
        return SimpleNamespace(
            deviations=lambda: iter([deviation]), converged=False, message="too few steps"
        )

    monkeypatch.setattr("pottsattn.demo.run.run_demo", run_demo)
    argv = ("demo", "--instances", "2", "--seed", "5", "--threads", "1", "--out", str(tmp_path))
    status, report = run_json(*argv)
    assert status == 3
    assert report["converged"] is False
    assert report["report"] == str(tmp_path / "report.html")
    assert report["deviations"][0]["simulated"] == 1.01


def test_progress_is_drawn_on_a_terminal_only(monkeypatch):
    import io

    from pottsattn.cli._shell import bar

    shown = {}
    for is_terminal in (False, True):
        stream = io.StringIO()
        stream.isatty = lambda answer=is_terminal: answer
        monkeypatch.setattr(sys, "stderr", stream)
        with bar("sampling", "sweep") as progress:
            progress(1, 2)
        shown[is_terminal] = stream.getvalue()
    assert shown[False] == ""
    assert "sampling" in shown[True]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("--move wolff --ensemble lattice-2d --length 9", ["U. Wolff"]),
        ("--tempering --length 6", ["S. Syed"]),
        ("--length 6", []),
    ],
)
def test_cite_knows_how_data_were_drawn(options, names, run_json, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = "--states 3 --coupling-scale 1 --sequences 20 --warmup 5 --out drawn.h5"
    assert run_json("sample", *options.split(), *sizes.split())[0] == 0
    papers = run_json("cite", "drawn.h5")[1]["papers"]
    assert [paper.partition(",")[0] for paper in papers[2:]] == names
