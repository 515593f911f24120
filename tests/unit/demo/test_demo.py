"""The demo on tiny sizes: every promised file is there, and numbers are where they belong."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

import pottsattn
from pottsattn import InputError
from pottsattn.demo.job import METHODS, Settings
from pottsattn.demo.run import run_demo

FIGURES = ("learning_curve", "coupling_error", "couplings", "training")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    settings = Settings(length=16, alphas=(2, 4), n_instances=2, n_test=200, seed=3)
    return folder, run_demo(folder, settings, n_threads=2)


def test_every_promised_file_is_written(demo):
    folder, _ = demo
    page = (folder / "report.html").read_text()
    with (folder / "learning_curve.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["source"] for row in rows if row["converged"] == "1"} == {"theory", "simulation"}
    assert all(row["converged"] in "01" for row in rows)
    for name in FIGURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        with (folder / f"{name}.csv").open() as stream:
            assert len(list(csv.reader(stream))) > 5
    assert page.count("data:image/png;base64,") == 8
    assert "pottsattn demo --out . --seed 3" in page
    assert not list(folder.glob(".*"))


def test_every_point_is_there_with_its_own_theory(demo):
    _, result = demo
    deviations = list(result.deviations())
    assert len(deviations) == len(METHODS) * 2 * 2
    assert {row.seed for row in result.table.rows} == {3, 4}
    for entry in deviations:
        point = entry.point
        estimator = "full" if point.method == "plm" else "factored"
        curve = pottsattn.learning_curve(3, 1.5, [point.alpha], point.ridge, estimator=estimator)
        assert entry.predicted == pytest.approx(curve.test_loss[0], rel=1e-6)
        assert abs(entry.relative) < 0.15  # 16 sites are few


def test_attention_and_factored_agree(demo):
    _, result = demo
    means = {
        (m.point.method, m.point.ridge_kind, m.point.alpha): m.test_loss
        for m in result.table.means()
    }
    for (method, kind, alpha), loss in means.items():
        if method == "factored":
            assert means["attention", kind, alpha] == pytest.approx(loss, abs=1e-3)


def test_files_of_the_folder_give_the_same_numbers_again(demo):
    folder, result = demo
    test = pottsattn.load(folder / "test.h5")
    fits = {method: pottsattn.load(folder / f"{method}.h5") for method in METHODS}
    again = pottsattn.compare(fits, test)
    for judged in again.fits:
        row = next(
            row
            for row in result.table.rows
            if (row.method, row.ridge_kind, row.alpha, row.seed) == (judged.method, "fixed", 4, 3)
        )
        assert row.test_loss == judged.test_loss
    assert np.isfinite(again.bayes_loss)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_interruption_stops_the_job_and_keeps_whole_instances(n_threads, tmp_path):
    def stop(done: int, total: int) -> None:
        if 2 * done > total + 1:  # in the second instance; the first has one fit more
            raise KeyboardInterrupt

    settings = Settings(length=8, alphas=(2,), n_instances=2, n_test=50)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, settings, n_threads=n_threads, progress=stop)
    table = pottsattn.load(tmp_path / "points.h5")
    assert {row.seed for row in table.rows} == {0}
    assert not (tmp_path / "report.html").exists()


def test_an_interrupted_fit_never_enters_the_means(tmp_path, monkeypatch):
    from pottsattn.demo import job

    real = job.train_masked

    def interrupted(*args, **options):
        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        return real(*args, **options, progress=stop)

    monkeypatch.setattr(job, "train_masked", interrupted)
    settings = Settings(length=8, alphas=(2,), n_instances=1, n_test=50)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, settings, n_threads=1)


def test_a_sample_that_did_not_converge_is_told(tmp_path, monkeypatch, capsys):
    from pottsattn.cli import main
    from pottsattn.demo import job, run

    drawn = job.sample
    monkeypatch.setattr(job, "sample", lambda *a, **o: replace(drawn(*a, **o), converged=False))
    tiny = Settings(length=8, alphas=(2,), n_instances=1, n_test=50)
    monkeypatch.setattr(run, "run_job", lambda _, **options: job.run_job(tiny, **options))
    assert main(["demo", "--out", str(tmp_path), "--threads", "1"]) == 3
    assert "NOT converged: 1 sample did NOT converge" in capsys.readouterr().out
    assert "1 sample did NOT converge." in (tmp_path / "report.html").read_text()
    table = pottsattn.load(tmp_path / "points.h5")
    assert not any(row.sample_converged for row in table.rows)
    assert all(row.converged for row in table.rows)
    with (tmp_path / "learning_curve.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] == "simulation"]
    assert {row["converged"] for row in rows} == {"0"}


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="it is a file"):
        run_demo(tmp_path / "out")
