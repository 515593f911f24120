"""The commands `sweep`, and `plot` and `report` of sweeps: exit statuses, JSON, files."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sweep_factory import make_rows

import pottsattn
from pottsattn.cli import main
from pottsattn.studies.sweep import one_fit
from pottsattn.studies.sweep.table import SweepTable

CONFIG = """
n_states = 2
coupling_scales = 1.0
lengths = [6, 8]
instances = 2
alphas = 4
ridges = 0.3
methods = "factored"
n_test = 20
"""
SWEEP_KEYS = (
    "file n_fits n_instances converged message n_not_converged n_samples_not_converged "
    "resumed_from seconds points"
)


@pytest.fixture
def in_this_process(monkeypatch):
    """Fits are made by a thread; spawned processes have tests of their own. Gives their numbers."""
    asked: list[int | None] = []

    def executor(n_workers: int | None) -> ThreadPoolExecutor:
        asked.append(n_workers)
        return ThreadPoolExecutor(1)

    monkeypatch.setattr("pottsattn._core.executors.LocalProcesses", executor)
    return asked


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def swept(tmp_path):
    rows = [
        replace(row, coupling_error=row.coupling_error + 0.01 * row.seed) for row in make_rows()
    ]
    path = tmp_path / "sweep.h5"
    SweepTable(tuple(rows)).save(path)
    return str(path)


def test_sweep_writes_its_table_and_says_so(config, tmp_path, capsys, in_this_process):
    out = tmp_path / "sweep.h5"
    argv = ["sweep", str(config), "--out", str(out), "--workers", "3", "--seed", "5", "--json"]
    assert main(argv) == 0
    printed, errors = capsys.readouterr()
    report = json.loads(printed)
    assert set(SWEEP_KEYS.split()) <= set(report)
    assert (report["n_fits"], report["n_instances"], report["resumed_from"]) == (4, 4, None)
    assert errors == ""
    assert in_this_process == [3]
    table = pottsattn.load(out)
    assert {row.seed for row in table.rows} == {5, 6}
    assert main([*argv[:4], "--threads", "2"]) == 0  # the file is made anew
    assert in_this_process == [3, 2]
    assert "4 fits on 4 instances" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == ["config.toml", "sweep.h5"]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("lengths = [6, 8]", (), "config.toml: the key lengths is missing"),
        ("", ("--workers", "1", "--dask", "x"), "give either --workers or --dask, not both"),
        ("", ("--workers", "0"), "workers must be at least 1, got 0"),
        ("", ("--dask", "nowhere"), "no Dask scheduler answers at nowhere"),
    ],
)
def test_wrong_input_is_one_line(change, options, message, config, tmp_path, capsys):
    if "--dask" in options and "nowhere" in options:
        pytest.importorskip("distributed")
    config.write_text(CONFIG.replace(change, ""))
    assert main(["sweep", str(config), "--out", str(tmp_path / "o.h5"), *options]) == 1
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert errors.count("\n") == 1
    assert message in errors
    assert os.listdir(tmp_path) == ["config.toml"]


def test_an_interrupted_sweep_keeps_what_is_done(
    config, tmp_path, capsys, monkeypatch, in_this_process
):
    from pottsattn.studies.sweep import run

    real = run.run_task

    def interrupted(task):
        if task.instance.seed == 1:
            raise KeyboardInterrupt
        return real(task)

    argv = ["sweep", str(config), "--out", str(tmp_path / "sweep.h5")]
    with monkeypatch.context() as patched:
        patched.setattr(run, "run_task", interrupted)
        assert main(argv) == 130
    # Of the fits after the one that is interrupted some may already be done.
    assert re.search("after [12] of 4 fits", capsys.readouterr().err)
    assert (tmp_path / "sweep.h5.partial").exists()
    config.write_text(CONFIG.replace("0.3", "0.4"))
    assert main(argv) == 1
    assert "ridges: [0.3] there, [0.4] here" in capsys.readouterr().err
    config.write_text(CONFIG)
    assert main(argv) == 0
    assert re.search("[12] of them by an earlier run", capsys.readouterr().out)


def test_fits_that_do_not_converge_are_status_3(config, tmp_path, capsys, in_this_process):
    text = CONFIG.replace('"factored"', '"attention"') + "mask_fractions = 0.3\nmax_steps = 3\n"
    config.write_text(text + 'mask_mode = "fresh"\n')
    assert main(["sweep", str(config), "--out", str(tmp_path / "sweep.h5")]) == 3
    printed, errors = capsys.readouterr()
    assert "4 fits did NOT converge" in printed
    assert errors == ""


def test_samples_that_do_not_converge_are_status_3(
    config, tmp_path, capsys, in_this_process, monkeypatch
):
    """The fits are fine; the chains of one length are said to disagree."""
    drawn, path = one_fit.sample, str(tmp_path / "sweep.h5")

    def disagreeing(model, *arguments, **options):
        found = drawn(model, *arguments, **options)
        return replace(found, converged=model.length != 8)

    one_fit._draw.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(one_fit, "sample", disagreeing)
        assert main(["sweep", str(config), "--out", path, "--json"]) == 3
    one_fit._draw.cache_clear()
    found = json.loads(capsys.readouterr().out)
    assert found["message"] == "2 samples did NOT converge"
    assert (found["converged"], found["n_not_converged"]) == (False, 0)
    assert found["n_samples_not_converged"] == 2
    rows = SweepTable.load(path).rows
    assert [row.sample_converged for row in rows] == [row.length != 8 for row in rows]
    assert all(row.converged for row in rows)
    assert main(["report", path, "--out", str(tmp_path / "page.html")]) == 0
    assert "2 samples did NOT converge." in (tmp_path / "page.html").read_text()


def test_plot_and_report_of_a_sweep(swept, tmp_path, capsys):
    out = str(tmp_path / "figure.png")
    for options in ((), ("--length", "20"), ("--finite-size", "--observable", "coupling_error")):
        assert main(["plot", swept, "--out", out, *options]) == 0
        os.remove(out)
    page = tmp_path / "page.html"
    curve = str(tmp_path / "curve.h5")
    pottsattn.learning_curve(3, 1.5, [2.0, 4.0], 0.3).save(curve)
    capsys.readouterr()
    argv = ["report", swept, curve, "--out", str(page), "--length", "40", "--json"]
    assert main(argv) == 0
    (summary,) = json.loads(capsys.readouterr().out)["sweeps"].values()
    assert (summary["length"], summary["n_points"], summary["n_within"]) == (40, 3, 3)
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 6  # two curves, two panels of each study
    assert "3 of 3 mean test losses" in text
    assert main(["report", curve, "--out", str(page)]) == 0
    assert page.read_text().count("data:image/png;base64,") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("plot", "SWEEP", "--length", "30", "--out", "f.png"), "the lengths are 20, 40, 80"),
        (("report", "SWEEP", "--length", "30", "--out", "f.html"), "the lengths are 20, 40, 80"),
        (("report", "SWEEP", "--out", "f.pdf"), "a report is written as .html, got f.pdf"),
        (("plot", "CURVE", "--finite-size", "--out", "f.png"), "needs a sweep with two lengths"),
        (("plot", "MODEL", "--length", "3", "--out", "f.png"), "are for sweeps"),
    ],
)
def test_what_cannot_be_shown_is_said(argv, message, swept, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pottsattn.learning_curve(3, 1.5, [4.0], 0.3).save("CURVE")
    pottsattn.PottsModel.factored([[0.0, 1.0], [1.0, 0.0]], n_states=2).save("MODEL")
    os.rename(swept, "SWEEP")
    assert main(list(argv)) == 1
    assert message in capsys.readouterr().err
