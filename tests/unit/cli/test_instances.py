"""The command instances: JSON of the contract, resume, exit statuses, errors of one line."""

from __future__ import annotations

import json
import math
import os
import time
from contextlib import contextmanager

import numpy as np
import pytest

import pottsattn
from pottsattn.cli import instances as instancing
from pottsattn.cli import main
from pottsattn.instances import data as sources

SIZES = (
    "--classes 2 --length 8 --states 3 --degree 2 --sequences 200 --steps 20 --batch-size 16 "
    "--width 8 --masks 2 --mask-ratio 0.5 --threads 1"
)
SLOW = 3.0  # seconds, more than the whole run takes
CONTRACT = {
    "linear_probe", "knn", "token_linear_probe", "field_r2", "feature_std", "random_linear_probe",
    "raw_linear_probe", "supervised_linear_probe", "chance", "bayes", "seconds",
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "PROBE_TRAIN", 90)
    monkeypatch.setattr(sources, "PROBE_TEST", 60)
    monkeypatch.setattr("pottsattn._core.checkpoint.SHARE", math.inf)
    return tmp_path


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main(f"instances {command}".split())
    return status, *capsys.readouterr()


def content_hash(path: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["info", path, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["content_hash"]


@pytest.mark.parametrize(
    "options", ["", "--mixture gauge --loss infonce --temperature 0.5 --references none"]
)
def test_json_is_that_of_the_contract(options, folder, capsys):
    status, out, err = run(f"{SIZES} {options} --out run.h5 --json", capsys)
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["message"].startswith("20 steps done; over the second half the loss fell by ")
    assert found.keys() >= CONTRACT
    without = {"random_linear_probe", "supervised_linear_probe"} if "none" in options else set()
    assert {name for name in CONTRACT if found[name] is None} == without
    assert found["chance"] == 0.5
    assert [path.name for path in folder.iterdir()] == ["run.h5"]
    assert pottsattn.load("run.h5").to_dict().items() <= found.items()


def test_digits_need_no_mixture(capsys):
    options = "--dataset digits --patch-size 4 --steps 3 --masks 2 --mask-ratio 0.5 --norm layer"
    status, out, _ = run(f"{options} --references random --out run.h5 --json", capsys)
    found = json.loads(out)
    unknown = {name for name in CONTRACT if found[name] is None}
    assert status == 3  # three steps are too few to judge
    assert unknown == {"field_r2", "bayes", "supervised_linear_probe"}
    assert found["random_linear_probe"] > 3 * found["chance"]


def test_a_killed_run_ends_with_the_same_numbers(folder, capsys, monkeypatch):
    assert run(f"{SIZES} --out whole.h5", capsys)[0] == 0
    expected = content_hash("whole.h5", capsys)
    assert run(f"{SIZES} --seed 1 --out other.h5", capsys)[0] == 0
    assert content_hash("other.h5", capsys) != expected
    for step, state in ((7, "step 7 of 20"), (25, "while references were trained")):
        stopped_at = step

        @contextmanager
        def stopping(*_, stopped_at=stopped_at):
            def show(done, total):
                assert total == 30  # those of the supervised encoder included
                if done == stopped_at:
                    time.sleep(SLOW if stopped_at == 7 else 0.0)
                    raise KeyboardInterrupt

            yield show

        with monkeypatch.context() as patch:
            patch.setattr(instancing, "bar", stopping)
            status, out, _ = run(f"{SIZES} --out run.h5 --json", capsys)
        assert status == 130
        found = json.loads(out)
        assert found["interrupted"]
        assert state in found["message"]
        assert found["linear_probe"] is not None
        assert found["supervised_linear_probe"] is None
        assert os.path.exists("run.h5.partial")
    status, out, _ = run(f"{SIZES} --out run.h5 --json", capsys)
    assert status == 0
    found = json.loads(out)
    assert found["resumed_from"] == 20
    assert found["seconds"] > SLOW  # those of the first process too, whose steps are kept
    assert content_hash("run.h5", capsys) == expected
    assert not os.path.exists("run.h5.partial")


def test_collapse_is_exit_status_3(capsys):
    more = "--norm layer --momentum 0.5 --learning-rate 0.02 --masks 1 --references none"
    command = f"{SIZES} {more} --out run.h5".replace("--steps 20", "--steps 100")
    status, out, err = run(command, capsys)
    assert status == 3
    assert err.startswith("pottsattn: warning: the representation has collapsed at step")
    assert err.count("\n") == 1
    assert "NOT converged: collapsed: all instances have nearly the same vector" in out
    assert pottsattn.load("run.h5").collapsed


def test_table_says_what_is_unknown(capsys):
    np.savez("data.npz", sequences=np.random.default_rng(0).integers(3, size=(40, 6)))
    options = "--steps 2 --masks 2 --mask-ratio 0.5 --width 8 --heads 2 --preset tiny"
    status, out, _ = run(f"--dataset data.npz {options} --out run.h5", capsys)
    assert status == 3
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:]}
    assert rows["trained"][:4] == ["-"] * 4
    assert rows["Bayes"] == ["-"]
    assert "NOT converged: 2 steps are too few to judge, at least 10 are needed" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--mask-ratio 0.99", "--mask-ratio 0.99 leaves none of 8 tokens visible"),
        ("--mask-ratio 0", "--mask-ratio 0 hides nothing, so 2 masks are the same; use one"),
        ("--loss simclr", "loss must be one of byol, infonce; got 'simclr'"),
        ("--norm bach", "norm must be one of batch, layer; got 'bach' (did you mean batch?)"),
        ("--preset big", "preset must be one of tiny, vit-base; got 'big'"),
        ("--width 30", "width must be a multiple of n_heads 4, got 30"),
        ("--temperature 1", "--temperature applies to --loss infonce"),
        ("--references best", "reference must be one of random, supervised, masked; got 'best'"),
        (
            "--mixture gage",
            "mixture must be one of fields, gauge; got 'gage' (did you mean gauge?)",
        ),
        ("--mixture gauge --field-scale 1", "a gauge mixture has no fields"),
        ("--dataset digits", "--classes applies to mixtures of Potts models, not to --dataset"),
        ("--patch-size 2", "--patch-size applies to --dataset"),
        ("--steps 0", "--steps must be at least 1, got 0"),
        ("--degree 3", "degree must be even"),
        ("--device tpu", "device must be auto, cpu or cuda, got 'tpu'"),
    ],
)
def test_wrong_options_are_one_line(options, message, folder, capsys):
    status, out, err = run(f"{SIZES} {options} --out run.h5", capsys)
    assert (status, out) == (1, "")
    assert err.startswith("pottsattn: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_missing_data_are_one_line(folder, capsys):
    assert run("--dataset nowhere --out run.h5", capsys) == (
        1, "", "pottsattn: no data set 'nowhere'; expected digits, a .npz file or a folder of "
        "images\n",
    )  # fmt: skip
    assert "is a directory" in run("--dataset digits --out .", capsys)[2]
    options = "--dataset digits --image-size 9 --out run.h5"
    assert "--image-size applies to folders; digits are 8 x 8" in run(options, capsys)[2]
