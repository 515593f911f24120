"""Several processes train what one does, write one file and report once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from pottsattn import InputError
from pottsattn.cli import main
from pottsattn.files import load_fit
from pottsattn.model.ensembles import sk_potts
from pottsattn.sampling.sampler import sample
from pottsattn.training.workers import Workers, choose_device, join_workers

RUNS = {  # batches of an odd number of sequences, which two processes cannot share evenly
    "attention": "--method attention --max-steps 60 --masks 2 --batch-size 99 --accumulate 2 "
    "--precision double",
    "static": "--method attention --max-steps 60 --mask-fraction 0.3 --masks 2 "
    "--mask-mode static --optimizer lbfgs --heads 2 --precision double",
    "transformer": "--method transformer --max-steps 30 --layers 2 --width 16 --validation data.h5",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    sample(sk_potts(12, 3, 1.5, rng=0), 401, rng=1).dataset.save(folder / "data.h5")
    return folder


def torchrun(folder, *command: str) -> subprocess.CompletedProcess:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*launch, "-m", "pottsattn", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_does(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = ["fit", "data.h5", *RUNS[name].split(), "--threads", "1", "--json", "--out"]
    status = main([*command, "one.h5"])
    expected = json.loads(capsys.readouterr().out)
    before = set(os.listdir(folder))
    run = torchrun(folder, *command, "two.h5")
    assert (run.returncode == 0) == (status == 0)  # torchrun has one status for all that is not 0
    assert set(os.listdir(folder)) == before | {"two.h5"}
    assert run.stdout.count("\n") == 1
    found = json.loads(run.stdout)
    assert "pottsattn: " not in run.stderr
    # But for the order of sums, which is all that differs; Adam divides by small gradients.
    tolerance = 1e-4 if name == "transformer" else 1e-8  # of single precision and of double
    assert abs(found["train_loss"] - expected["train_loss"]) < 0.1 * tolerance
    assert found["n_evaluations"] == expected["n_evaluations"] > 0
    one, two = load_fit("one.h5"), load_fit("two.h5")
    for entry, values in vars(one.history).items():
        if entry == "seconds":
            continue
        np.testing.assert_allclose(getattr(two.history, entry), values, atol=tolerance)
    sequences = np.random.default_rng(0).integers(3, size=(20, 12))
    difference = two.log_conditionals(sequences) - one.log_conditionals(sequences)
    assert np.abs(difference).max() < 10 * tolerance
    os.unlink("two.h5")


@pytest.mark.slow
def test_two_processes_go_on_from_one(folder, monkeypatch, capsys):
    import pottsattn.cli._fit_trained as shell

    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = ["fit", "data.h5", *RUNS["attention"].split(), "--threads", "1", "--json", "--out"]
    main([*command, "whole.h5"])
    expected = json.loads(capsys.readouterr().out)

    def stop(done: int, total: int) -> None:
        if done == 23:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shell, "bar", lambda *_: _Given(stop))
        assert main([*command, "killed.h5"]) == 130
    assert json.loads(capsys.readouterr().out)["interrupted"]
    run = torchrun(folder, *command, "killed.h5")
    found = json.loads(run.stdout)
    assert found["resumed_from"] == 23
    assert abs(found["train_loss"] - expected["train_loss"]) < 1e-5
    assert not os.path.exists("killed.h5.partial")


class _Given:
    """A context that gives a callback."""

    def __init__(self, callback):
        self.callback = callback

    def __enter__(self):
        return self.callback

    def __exit__(self, *_):
        return None


def test_one_process_shares_with_nobody(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with join_workers(choose_device("cpu")) as workers:
        assert workers == Workers(0, 1)
        assert workers.leads
        assert workers.add([1.5, 2.0]) == [1.5, 2.0]
        assert workers.from_leader({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_shares_are_parts_of_the_whole(count):
    items = np.arange(13)
    shares = [Workers(rank, count).share(items) for rank in range(count)]
    assert sorted(np.concatenate(shares)) == list(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_torchrun_is_for_networks(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "0")
    assert main(["fit", "data.h5", "--method", "plm", "--out", "a.h5"]) == 1
    error = capsys.readouterr().err
    assert "torchrun is for attention and transformer; plm takes --threads" in error


@pytest.mark.parametrize("name", ["tpu", "cpu:x", "mps", "meta"])
def test_unknown_devices_are_refused(name):
    with pytest.raises(InputError, match=f"device must be auto, cpu or cuda, got '{name}'"):
        choose_device(name)
