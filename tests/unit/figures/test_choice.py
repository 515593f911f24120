"""Which figure fits which files, called from Python."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from fit_factory import make_history

from pottsattn import InputError
from pottsattn.data.dataset import SequenceDataset
from pottsattn.figures.choice import FigureOptions, choose_figure, figure_for
from pottsattn.figures.style import save_figure
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.model.ensembles import chain
from pottsattn.pages.choice import write_report
from pottsattn.sampling.sampler import sample_to_file
from pottsattn.sampling.schedule import Schedule
from pottsattn.studies.sweep.table import SweepRow, SweepTable
from pottsattn.theory.curve import learning_curve


@pytest.fixture(scope="module")
def loaded():
    """One object of every kind that the choice is made among."""
    rng = np.random.default_rng(1)
    data = SequenceDataset(rng.integers(3, size=(60, 8)), 3, model=chain(8, 3, 0.5))
    row = SweepRow("plm", "fixed", 1.0, 0.1, 0, 1.1, 0.5, 0.9, 0.9, 1.0, True, 30, 3, 1.5)
    rows = [
        replace(row, seed=seed, length=n, test_loss=1.1 + 0.1 * seed)
        for seed in (0, 1)
        for n in (20, 30)
    ]
    return {
        "sequences": {"data.h5": data},
        "fit": {"fit.h5": fit_pseudolikelihood(data, "factored", n_threads=1)},
        "curve": {"curve.h5": learning_curve(3, 1.5, [1.0, 2.0], 0.1, estimator="full")},
        "sweep": {"sweep.h5": SweepTable(tuple(rows))},
    }


def chosen(loaded, *kinds, **options):
    return choose_figure({kind: loaded[kind] for kind in kinds}, FigureOptions(**options))


@pytest.mark.parametrize(
    ("kinds", "options", "label"),
    [
        ("curve sweep", {}, "test loss"),
        ("curve sweep", {"observable": "coupling_error"}, "coupling error"),
        ("sweep", {"length": 20}, "test loss"),
        ("sweep", {"finite_size": True}, "1 / l"),
        ("fit", {}, "column"),
        ("fit", {"head_maps": True}, "head 1"),
        ("fit sequences", {}, "true"),
        ("sequences", {}, "column"),
    ],
)
def test_every_kind_has_its_figure(loaded, kinds, options, label):
    ax = chosen(loaded, *kinds.split(), **options)
    assert label in f"{ax.get_xlabel()} {ax.get_ylabel()} {ax.get_title()}".lower()


def test_trained_fits_show_their_training(loaded):
    fit = loaded["fit"]["fit.h5"]
    trained = replace(fit, history=make_history())
    assert "epochs" in chosen({"fit": {"a": trained}}, "fit").get_xlabel()
    assert "epochs" in chosen({"fit": {"a": trained, "b": trained}}, "fit").get_xlabel()


@pytest.mark.parametrize(
    ("kinds", "options", "text"),
    [
        ("curve sequences", {}, "no figure for 1 curve, 1 sequences"),
        ("sweep", {"length": 21}, "no point has length 21; the lengths are 20, 30"),
        ("curve", {"finite_size": True}, "`finite_size` needs a sweep"),
        ("fit", {"length": 20}, "`finite_size` and `length` are for sweeps"),
        ("sequences", {"maps": True}, "`maps` is for spatial and instance runs"),
        ("sequences", {"head_maps": True}, "`distances` and `head_maps` are for fits"),
        ("fit", {"head_maps": True, "distances": "d.txt"}, "without `distances`"),
    ],
)
def test_what_no_figure_shows_is_told_in_arguments(loaded, kinds, options, text):
    with pytest.raises(InputError) as caught:
        chosen(loaded, *kinds.split(), **options)
    assert text in str(caught.value)
    assert "--" not in str(caught.value)


def test_options_check_themselves():
    with pytest.raises(InputError, match="observable must be one of test_loss"):
        FigureOptions(observable="entropy")


def test_files_are_opened_and_chains_need_no_sequence(tmp_path, loaded, monkeypatch):
    schedule = Schedule(n_chains=4, n_warmup=10, thin_by=2)
    sample_to_file(chain(8, 3, 0.5), 200, tmp_path / "sampled.h5", schedule=schedule, rng=0)
    loaded["curve"]["curve.h5"].save(tmp_path / "curve.h5")
    save_figure(figure_for([tmp_path / "curve.h5"]), tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").exists()
    monkeypatch.setattr("pottsattn.figures.choice.load_all", lambda *_: pytest.fail("read"))
    assert figure_for([tmp_path / "sampled.h5"]).lines


def test_a_report_returns_the_verdict_on_its_sweeps(tmp_path, loaded):
    for kind in ("sweep", "curve"):
        loaded[kind][f"{kind}.h5"].save(tmp_path / f"{kind}.h5")
    files = [tmp_path / "sweep.h5", tmp_path / "curve.h5"]
    found = write_report(tmp_path / "page.html", files, FigureOptions(length=20))
    (summary,) = found.values()
    assert summary["length"] == 20
    assert "Simulated fits" in (tmp_path / "page.html").read_text()
    with pytest.raises(InputError, match=r"written as \.html"):
        write_report(tmp_path / "page.txt", files)
    with pytest.raises(InputError, match="`distances` is for a report of fits"):
        write_report(tmp_path / "page.html", files[1:], FigureOptions(distances="d.txt"))


def test_the_command_has_every_option():
    from pottsattn.cli.main import build_parser

    known = vars(build_parser().parse_args(["plot", "a.h5", "--out", "a.png"]))
    assert {field.name: field.default for field in fields(FigureOptions)}.items() <= known.items()
