"""A training that was killed or interrupted goes on to the bits of one that was not."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from fit_options import as_training

from pottsattn import ConvergenceWarning, FactoredAttention, InputError, SequenceDataset
from pottsattn._core.checkpoint import Checkpoint, CheckpointFile
from pottsattn._core.partial import PartialFile
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.fitting.masked import fit as training
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.model.ensembles import sk_potts
from pottsattn.sampling.sampler import sample

LENGTH, N_STATES = 6, 3
SLOW = 1.0  # seconds, more than ten steps take
RUNS = {  # of ten steps; batches are such that an epoch has five
    "all sites": {"optimizer": "adam"},
    "parts of a batch": {"accumulate": 3},
    "two fresh masks": {"masks": 2, "batch_size": 12},
    "fraction": {"mask_fraction": 0.3, "batch_size": 12, "hidden_as": "bert"},
    "static": {"mask_fraction": 0.3, "masks": 3, "mask_mode": "static", "batch_size": 12},
    "heads": {"n_heads": 2, "color_similarity": "learned", "batch_size": 12, "warmup_steps": 4},
    "softmax": {"attention": "softmax", "head_dimension": 2, "optimizer": "adam"},
    "lbfgs": {"optimizer": "lbfgs", "ridge": 0.01},
    "lbfgs in parts": {"optimizer": "lbfgs", "ridge": 0.01, "batch_size": 12},
    "lbfgs static": {"optimizer": "lbfgs", "masks": 2, "mask_mode": "static", "ridge": 0.01},
    "lbfgs heads": {"n_heads": 2, "color_similarity": "learned", "max_steps": 20},
    "lbfgs softmax": {"attention": "softmax", "color_similarity": "learned", "max_steps": 20},
    "transformer, lbfgs": {"optimizer": "lbfgs", "masks": LENGTH},
    "bfloat16": {"precision": "bfloat16", "batch_size": 12},
    "transformer": {"batch_size": 12, "masks": 2},
    "transformer, fraction": {"batch_size": 12, "mask_fraction": 0.3, "weight_decay": 0.1},
}


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def save_every_step(monkeypatch):
    """Let no share of the time bound how often states are written, and no verdict be a warning."""
    monkeypatch.setattr("pottsattn._core.checkpoint.SHARE", math.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@pytest.fixture(scope="module")
def data() -> SequenceDataset:
    drawn = sample(sk_potts(LENGTH, N_STATES, 1.5, rng=0), 58, rng=1).dataset
    return dataclasses.replace(drawn, weights=np.random.default_rng(2).uniform(0.5, 1.5, size=58))


def train(data, name="all sites", **more):
    """Run one of the table from its own start."""
    options = {"rng": 3, "max_steps": 10, **RUNS[name], **more}
    if "checkpoint" in options and not isinstance(options["checkpoint"], CheckpointFile):
        options["checkpoint"] = CheckpointFile(options["checkpoint"], seconds=0.0)
    if name.startswith("transformer"):
        generator = torch.Generator().manual_seed(4)
        options["layer"] = MaskedTransformer(LENGTH, N_STATES, 2, 2, width=8, generator=generator)
    return train_masked(data, **as_training(**options))


def kill(step: int, error: type[BaseException] = Killed):
    """Return a progress callback that ends the run after `step` steps, before they are saved."""

    def progress(done: int, total: int) -> None:
        if done == step:
            raise error

    return progress


def parameters(fit) -> dict[str, np.ndarray]:
    if fit.method == "transformer":
        return fit.parameters
    interactions, similarity = fit.couplings.factors()
    return {"A": interactions, "U": similarity, "h": fit.fields}


def assert_same_bits(fit, expected) -> None:
    for name, values in parameters(expected).items():
        assert np.array_equal(parameters(fit)[name], values), name
    for name, values in vars(expected.history).items():
        if name == "seconds":
            continue
        assert np.array_equal(getattr(fit.history, name), values, equal_nan=True), name
    for name in ("n_evaluations", "objective", "train_loss", "message", "converged", "config"):
        assert getattr(fit, name) == getattr(expected, name), name


@pytest.mark.parametrize("name", RUNS)
def test_killed_runs_end_with_the_same_bits(name, data, tmp_path):
    expected = train(data, name)
    path = tmp_path / "fit.h5"
    # The first one before anything was saved; 7 in the middle of an epoch; 17 past a metric.
    steps = (1, 2, 7, 17)[: 3 + (RUNS[name].get("max_steps", 10) > 17)]
    for step in steps:
        with pytest.raises(Killed):
            train(data, name, checkpoint=path, progress=kill(step))
        assert os.path.exists(f"{path}.partial") == (step > 1)
    fit = train(data, name, checkpoint=path)
    assert fit.resumed_from == steps[-1] - 1
    assert expected.resumed_from is None
    assert_same_bits(fit, expected)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["all sites", "two fresh masks", "lbfgs", "transformer"])
def test_ctrl_c_ends_at_a_whole_step_and_is_continued(name, data, tmp_path):
    expected = train(data, name)

    def press(done: int, total: int) -> None:
        if done == 4:
            time.sleep(SLOW)
            os.kill(os.getpid(), signal.SIGINT)

    path = tmp_path / "fit.h5"
    stopped = train(data, name, checkpoint=CheckpointFile(path, seconds=1e9), progress=press)
    assert stopped.interrupted
    assert not stopped.converged
    assert stopped.message == "interrupted at step 4 of 10; repeat the command to continue"
    fit = train(data, name, checkpoint=path)
    assert fit.resumed_from == 4
    assert fit.seconds > SLOW  # that of both
    assert_same_bits(fit, expected)
    assert os.listdir(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def in_the_middle_of_step(number: int, monkeypatch, action) -> None:
    """Call `action` while the objective is evaluated for the `number`-th time."""
    evaluate, calls = training.Training._evaluate, []

    def acting(self):
        calls.append(1)
        if len(calls) == number:
            action()
        return evaluate(self)

    monkeypatch.setattr(training.Training, "_evaluate", acting)


@pytest.mark.parametrize("name", ["two fresh masks", "lbfgs"])
def test_one_ctrl_c_waits_for_the_end_of_its_step(name, data, tmp_path, monkeypatch):
    expected, path = train(data, name), tmp_path / "fit.h5"
    with monkeypatch.context() as patch:
        in_the_middle_of_step(4, patch, lambda: os.kill(os.getpid(), signal.SIGINT))
        stopped = train(data, name, checkpoint=CheckpointFile(path, seconds=1e9))
    assert stopped.interrupted
    if name != "lbfgs":  # a step of which takes several evaluations
        assert stopped.message.startswith("interrupted at step 4 of 10")
    assert_same_bits(train(data, name, checkpoint=path), expected)


@pytest.mark.parametrize("name", ["two fresh masks", "lbfgs", "heads"])
def test_a_second_ctrl_c_cuts_no_step_either(name, data, tmp_path, monkeypatch):
    """Parameters and optimizer of half a step are not to be gone on from."""
    expected, path = train(data, name), tmp_path / "fit.h5"

    def press_twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        in_the_middle_of_step(6, patch, press_twice)
        stopped = train(data, name, checkpoint=path)
    assert stopped.interrupted
    fit = train(data, name, checkpoint=path)
    assert 0 < fit.resumed_from <= 6
    assert_same_bits(fit, expected)


def test_ctrl_c_is_not_heard_where_it_is_ignored(data):
    """As in a process that a script has put into the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        fit = train(data, progress=lambda *_: os.kill(os.getpid(), signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert not fit.interrupted


@pytest.mark.parametrize("name", ["lbfgs", "early"])
def test_a_run_that_was_over_stays_so(name, data, tmp_path, monkeypatch):
    """Killed after its last step, while the final numbers are computed: no step more is taken."""
    options = {
        "lbfgs": {"optimizer": "lbfgs", "ridge": 5.0, "max_steps": 100},
        "early": {"ridge": 0.0, "validation": data.take(slice(0, 9)), "stop_early": True},
    }[name]
    if name == "early":
        options |= {"max_steps": 200, "learning_rate": 0.5}
    expected = train(data, **options)
    assert expected.converged
    path = tmp_path / "fit.h5"

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("pottsattn.fitting.masked.steps.FinalNumbers", die)
        with pytest.raises(Killed):
            train(data, checkpoint=path, **options)
    fit = train(data, checkpoint=path, **options)
    assert 0 < fit.resumed_from < options["max_steps"]
    assert_same_bits(fit, expected)


def changed(data, **changes):
    return dataclasses.replace(data, **changes)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rng": 4}, "seed: .* there, .* here"),
        ({"max_steps": 11}, "max_steps: 10 there, 11 here"),
        ({"masks": 3}, "masks: 2 there, 3 here"),
        ({"mask_mode": "static"}, 'mask_mode: "fresh" there, "static" here'),
        ({"masks": None, "mask_fraction": 0.5}, "mask_fraction: null there, 0.5 here"),
        ({"ridge": 0.5}, "couplings_l2: .* there, .* here"),
        ({"fields": "none"}, 'fields: "learned" there, "none" here'),
        ({"learning_rate": 0.2}, "learning_rate: 0.1 there, 0.2 here"),
        ({"precision": "double"}, 'precision: "single" there, "double" here'),
        ({"optimizer": "lbfgs", "masks": None}, 'optimizer: "adam" there, "lbfgs" here'),
    ],
)
def test_other_options_are_refused_by_name(change, text, data, tmp_path):
    path = tmp_path / "fit.h5"
    with pytest.raises(Killed):
        train(data, "two fresh masks", checkpoint=path, progress=kill(4))
    before = Path(f"{path}.partial").read_bytes()
    with pytest.raises(InputError, match=f"other options.*{text}.*remove the file"):
        train(data, "two fresh masks", checkpoint=path, **change)
    assert Path(f"{path}.partial").read_bytes() == before
    assert train(data, "two fresh masks", checkpoint=path).resumed_from == 3


def test_other_data_and_networks_are_refused(data, tmp_path):
    path = tmp_path / "fit.h5"
    with pytest.raises(Killed):
        train(data, checkpoint=path, progress=kill(4))
    sequences = data.sequences.copy()
    sequences[17, 3] = (sequences[17, 3] + 1) % N_STATES
    for other in (changed(data, sequences=sequences), changed(data, weights=None)):
        with pytest.raises(InputError, match=r"data: .* there, .* here"):
            train(other, checkpoint=path)
    with pytest.raises(InputError, match="validation: null there"):
        train(data, checkpoint=path, validation=data)
    layer = FactoredAttention(LENGTH, N_STATES)
    with torch.no_grad():
        layer.interactions += 0.1
    with pytest.raises(InputError, match=r"start: .* there, .* here"):
        train(data, checkpoint=path, layer=layer)
    with pytest.raises(InputError, match='attention: "free" there, null here'):
        train(data, "transformer", checkpoint=path)
    fit = train(data, checkpoint=path, n_threads=2)  # threads may change
    assert fit.resumed_from == 3


def test_a_file_knows_its_order(data, tmp_path):
    """How many chunks are kept decides the order of an epoch of a file, so it is a fact of it."""
    source, path = tmp_path / "data.h5", tmp_path / "fit.h5"
    data.save(source)
    with h5py.File(source, "r+") as file:  # in chunks of ten sequences
        del file["sequences"]
        file.create_dataset("sequences", data=data.sequences, chunks=(10, LENGTH))
    with SequenceFile(source) as file:
        expected = train(file, "two fresh masks")
        with pytest.raises(Killed):
            train(file, "two fresh masks", checkpoint=path, progress=kill(4))
        with pytest.raises(InputError, match=r"data: .* there, .* here"):
            train(data, "two fresh masks", checkpoint=path)
    with SequenceFile(source, cache_bytes=3 * 10 * LENGTH) as file:
        with pytest.raises(InputError, match=r"data: .* there, .* here"):
            train(file, "two fresh masks", checkpoint=path)
    with SequenceFile(source, cache_bytes=6 * 10 * LENGTH) as file:
        assert_same_bits(train(file, "two fresh masks", checkpoint=path), expected)


def test_a_partial_file_of_something_else_is_kept(data, tmp_path):
    path, partial = tmp_path / "fit.h5", tmp_path / "fit.h5.partial"
    PartialFile(partial, {"n_sequences": 3, "seed": 1}).close()
    before = partial.read_bytes()
    with pytest.raises(InputError, match="n_sequences: 3 there, null here"):
        train(data, checkpoint=path)
    assert partial.read_bytes() == before
    partial.write_text("something else\n" * 3)
    with pytest.raises(InputError, match="not the partial file of a run; remove it"):
        train(data, checkpoint=path)


def test_a_run_that_was_killed_while_it_wrote(data, tmp_path):
    """Half a state beside the last one: that one counts, and nothing is left in the end."""
    path = tmp_path / "fit.h5"
    with pytest.raises(Killed):
        train(data, checkpoint=path, progress=kill(4))
    (tmp_path / "fit.h5.partial.next").write_bytes(b"pottsattn.partial/1\nhalf")
    assert train(data, checkpoint=CheckpointFile(path, seconds=1e9)).resumed_from == 3
    assert os.listdir(tmp_path) == []


def test_a_full_disk_keeps_the_last_state(data, tmp_path, monkeypatch):
    expected, path = train(data), tmp_path / "fit.h5"
    append, calls = PartialFile.append, []

    def full(self, arrays):
        calls.append(self.path.name)
        if calls.count("fit.h5.partial.next") == 6:  # two records a state: facts and numbers
            raise InputError("cannot write: No space left on device")
        return append(self, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(PartialFile, "append", full)
        with pytest.raises(InputError, match="No space left"):
            train(data, checkpoint=path)
    assert os.listdir(tmp_path) == ["fit.h5.partial"]
    fit = train(data, checkpoint=path)
    assert fit.resumed_from == 2
    assert_same_bits(fit, expected)


def test_errors_before_the_first_state_leave_nothing(data, tmp_path):
    path = tmp_path / "fit.h5"
    for options, message in [
        ({"optimizer": "lbfgs", "masks": 1}, "needs an objective that stays the same"),
        ({"rng": None}, "a checkpoint needs a seed"),
        ({"mask_fraction": 1e-9, "mask_mode": "static"}, "hides no site of these data"),
    ]:
        with pytest.raises(InputError, match=message):
            train(data, checkpoint=path, **options)
        assert os.listdir(tmp_path) == []
    with pytest.raises(InputError, match=r"cannot write .*nowhere.*No such file"):
        train(data, checkpoint=tmp_path / "nowhere" / "fit.h5")
    with pytest.raises(Killed):
        train(data, checkpoint=CheckpointFile(path, seconds=1e9), progress=kill(9))
    assert os.listdir(tmp_path) == []


def test_held_out_data_beside_a_file_that_is_streamed(data, tmp_path, monkeypatch, capsys):
    from pottsattn.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data.save("data.h5")
    options = "--method attention --max-steps 3 --threads 1 --json --stream --validation data.h5"
    assert main(["fit", "data.h5", *options.split(), "--out", "fit.h5"]) == 3
    assert not json.loads(capsys.readouterr().out)["converged"]


@pytest.mark.parametrize("seed", ["18446744073709551615", "99999999999999999999"])
def test_any_seed_of_the_command_will_do(seed, data, tmp_path, monkeypatch, capsys):
    """Torch takes 64 bits of it."""
    from pottsattn.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data.save("data.h5")
    options = "--method transformer --width 8 --max-steps 2 --threads 1 --out fit.h5 --seed"
    assert main(["fit", "data.h5", *options.split(), seed]) == 3
    assert "Error" not in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["data.h5", "fit.h5"]


def test_states_come_back_as_they_were(tmp_path):
    state = {
        "numbers": [1, 2.5, math.inf, True, None, "text"],
        "pair": (0.1, -0.0),
        3: {"nested": [torch.tensor(1.5), torch.arange(4).reshape(2, 2)]},
        "array": np.arange(3, dtype=np.float32),
        "empty": {},
    }
    stored = Checkpoint(tmp_path / "a.h5", {"x": 1}, 0.0)
    assert stored.load() is None
    stored.save({"old": 0})
    stored.save(state)
    stored.close()
    again = Checkpoint(tmp_path / "a.h5", {"x": 1}, 0.0)
    found = again.load()
    again.close(remove=True)
    assert list(found) == list(state)
    assert found["numbers"] == state["numbers"]
    assert found["pair"] == state["pair"]
    assert math.copysign(1.0, found["pair"][1]) == -1.0
    scalar, matrix = found[3]["nested"]
    assert torch.equal(scalar, torch.tensor(1.5))
    assert torch.equal(matrix, torch.arange(4).reshape(2, 2))
    assert found["array"].dtype == np.float32
    assert found["empty"] == {}
    assert os.listdir(tmp_path) == []


OPTIONS = "--method attention --max-steps 60 --masks 1 --batch-size 40 --json --threads 1"
# A run of the command that keeps its state after every step, slowly enough to be hit.
SAVING = """
import sys, time
from pottsattn.cli import main
from pottsattn._core import checkpoint

def save_slowly(self, state, save=checkpoint.Checkpoint.save):
    time.sleep({pause})
    save(self, state)

checkpoint.Checkpoint.save = save_slowly
checkpoint.Checkpoint.is_due = True
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_is_repeated(number, tmp_path):
    """At whatever moment it is hit: the same numbers to the last bit, and where it went on."""
    drawn = sample(sk_potts(12, N_STATES, 1.5, rng=0), 400, rng=1).dataset
    drawn.save(tmp_path / "data.h5")
    partial = tmp_path / "fit.h5.partial"

    def start(name: str, pause: float = 0.0) -> subprocess.Popen:
        command = [sys.executable, "-c", SAVING.format(pause=pause), "fit", "data.h5"]
        return subprocess.Popen(
            [*command, "--out", name, *OPTIONS.split()], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    whole = start("whole.h5")
    expected = json.loads(whole.communicate()[0])
    assert whole.returncode == 3  # sixty steps of one mask are too few
    killed = start("fit.h5", pause=0.1)
    while killed.poll() is None and not (partial.exists() and partial.stat().st_size > 4000):
        time.sleep(0.001)
    killed.send_signal(number)
    out, err = killed.communicate()
    assert partial.exists()
    if number == signal.SIGINT:
        assert killed.returncode == 130
        assert json.loads(out)["interrupted"]
        assert err == ""
    again = start("fit.h5")
    found = json.loads(again.communicate()[0])
    assert again.returncode == 3
    assert 0 < found["resumed_from"] < 60
    for name in ("objective", "train_loss", "gradient_norm", "n_evaluations", "message"):
        assert found[name] == expected[name], name
    with h5py.File(tmp_path / "fit.h5") as file, h5py.File(tmp_path / "whole.h5") as other:
        names = []
        other.visititems(lambda name, item: names.append(name))
        assert {"interactions", "history/train_loss"} <= set(names)
        for name in names:
            if isinstance(other[name], h5py.Dataset):
                assert np.array_equal(file[name][()], other[name][()], equal_nan=True), name
    assert sorted(os.listdir(tmp_path)) == ["data.h5", "fit.h5", "whole.h5"]
