"""The command spatial, and what shows its files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pottsattn.cli import main

SIZES = "--patches 12 --global-area 6 --local-area 3"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(command.split())
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("objective", ["mae", "contrastive"])
def test_json_is_that_of_the_contract(objective, folder, capsys):
    command = f"spatial {SIZES} --clusters 3 --objective {objective} --out run.h5 --json"
    status, out, _ = run(command, capsys)
    assert status == 0
    found = json.loads(out)
    contract = {
        "objective", "own_attention_global", "own_attention_local", "attention_to_global",
        "excess_loss_ratio", "diversity", "rate_ratio", "seconds",
    }  # fmt: skip
    assert contract <= found.keys()
    assert found["objective"] == objective
    assert (found["excess_loss_ratio"] is None) == (objective == "contrastive")
    assert [path.name for path in folder.iterdir()] == ["run.h5"]


def test_same_seed_same_file_whatever_the_threads(folder, capsys):
    hashes = set()
    for threads in (1, 2):
        assert run(f"spatial {SIZES} --threads {threads} --out run.h5", capsys)[0] == 0
        hashes.add(json.loads(run("info run.h5 --json", capsys)[1])["content_hash"])
    assert len(hashes) == 1
    run(f"spatial {SIZES} --seed 1 --out run.h5", capsys)
    assert json.loads(run("info run.h5 --json", capsys)[1])["content_hash"] not in hashes


def test_figures_and_page(folder, capsys):
    for name, more in (
        ("a", ""),
        ("b", "--objective contrastive"),
        ("c", "--local-area 2 --grid 3x4"),
    ):
        sizes = SIZES.replace("--local-area 3", "") if "--local-area" in more else SIZES
        assert run(f"spatial {sizes} {more} --out {name}.h5", capsys)[0] == 0
    for number, files in enumerate(("a.h5", "a.h5 --maps", "a.h5 b.h5", "a.h5 c.h5")):
        assert run(f"plot {files} --out {number}.png", capsys)[0] == 0
        assert (folder / f"{number}.png").stat().st_size > 5000
    assert run("report a.h5 b.h5 c.h5 --out page.html", capsys)[0] == 0
    assert (folder / "page.html").read_text().count("<img") == 7
    assert "2403.02233" in run("cite a.h5", capsys)[1]
    assert "must share their areas" in run("plot a.h5 c.h5 --maps --out x.png", capsys)[2]


def test_areas_of_a_file(folder, capsys):
    np.save("areas.npy", np.array([[[3, 3, 3], [3, 1, 1]], [[3, 3, 1], [1, 3, 1]]]))
    assert run("spatial --areas areas.npy --out run.h5 --json", capsys)[0] == 0
    assert (
        "leave out --patches"
        in run("spatial --areas areas.npy --patches 6 --out run.h5", capsys)[2]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--patches 12 --global-area 6", "spatial needs --local-area"),
        ("--patches 12 --global-area 6 --local-area 4", "the closest size that does is 3"),
        (f"{SIZES} --grid 5x5", "has 25 patches, --patches says 12"),
        (f"{SIZES} --grid 5", "ROWSxCOLUMNS"),
        (f"{SIZES} --objective clip", "one of mae, contrastive"),
        (f"{SIZES} --mask-ratio 1", "at least one must be hidden"),
        (f"{SIZES} --latent-range 2 1", "low <= high"),
        ("--areas nowhere.npy", "cannot read nowhere.npy"),
        ("--areas text.npy", "not a .npy file"),
        ("--areas floats.npy", "floats.npy: areas must be"),
        ("--areas several.npz", "save one of them as .npy"),
        (
            f"{SIZES} --objective contrastive --clusters 1 --batch-size 1",
            "--batch-size of at least 2",
        ),
    ],
)
def test_wrong_input_is_one_line(options, words, folder, capsys):
    (folder / "text.npy").write_text("no array")
    np.save("floats.npy", np.zeros((2, 4)))
    np.savez("several.npz", np.zeros((2, 4), int))
    status, out, err = run(f"spatial {options} --out run.h5", capsys)
    assert (status, out) == (1, "")
    assert words in err
    assert err.count("\n") == 1
    assert not (folder / "run.h5").exists()


def test_a_rate_too_large_is_marked(folder, capsys):
    status, out, _ = run(f"spatial {SIZES} --learning-rate 1e300 --out run.h5 --json", capsys)
    assert status == 3
    assert json.loads(out)["converged"] is False
    assert "numbers became too large" in json.loads(out)["message"]
    assert (folder / "run.h5").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--learning-rate 1e-8", "100 % of what there was to gain is left"),
        ("--steps 20", "of what there was to gain is left after 20 steps"),
        ("--learning-rate 1e-8 --objective contrastive", "is not below that of the start"),
        ("--steps 20 --objective contrastive", "raise the steps"),
    ],
)
def test_a_training_that_is_not_done_is_marked(more, words, folder, capsys):
    status, out, _ = run(f"spatial {SIZES} {more} --out run.h5", capsys)
    assert status == 3
    assert "NOT converged: " in out
    assert words in out
    assert (folder / "run.h5").exists()
