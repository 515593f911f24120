"""Extreme masking: the teacher is the average of students, and killed trainings end the same."""

from __future__ import annotations

import copy
import math
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from pottsattn import ConvergenceWarning, InputError
from pottsattn._core.checkpoint import CheckpointFile
from pottsattn.instances.result import EncoderHistory
from pottsattn.instances.settings import EncoderConfig, HeadConfig, PretrainConfig
from pottsattn.instances.training import InstanceObjective, as_inputs, pretrain
from pottsattn.instances.verdict import judge
from pottsattn.training.workers import Workers

# Most trainings here are too short to converge.
pytestmark = pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
LENGTH, N_STATES = 10, 3
ENCODER = EncoderConfig(LENGTH, n_states=N_STATES, width=8, n_heads=2, drop_path=0.2)
HEADS = HeadConfig(hidden=16, size=8)
PAST = np.arange(20) / 20  # share of the steps
CONFIGS = {
    "byol": {},
    "infonce": {"loss": "infonce", "mask_fraction": 0.5, "masks": 2},
    "bfloat16": {"precision": "bfloat16"},
}


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def sequences() -> np.ndarray:
    """Copies of two sequences with a third of the sites drawn anew, so that instances differ."""
    rng = np.random.default_rng(0)
    first = rng.integers(N_STATES, size=(2, LENGTH))[rng.integers(2, size=70)]
    noise = rng.integers(N_STATES, size=first.shape)
    return np.where(rng.random(first.shape) < 0.33, noise, first).astype(np.uint8)


def train(sequences, name="byol", heads=HEADS, **more):
    settings = {"max_steps": 12, "batch_size": 16, **CONFIGS[name]}
    return pretrain(sequences, ENCODER, heads, PretrainConfig(**settings), rng=3, **more)


def kill(step: int, error: type[BaseException] = Killed):
    """Return a progress callback that ends the run after `step` steps, before they are saved."""

    def progress(done: int, total: int) -> None:
        if done == step:
            raise error

    return progress


def assert_same_bits(found, expected) -> None:
    states = found.encoder.state_dict(), expected.encoder.state_dict()
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    for name in ("steps", "loss", "feature_std"):
        values = [getattr(run.history, name) for run in (found, expected)]
        assert np.array_equal(*values, equal_nan=True), name
    assert (found.message, found.config) == (expected.message, expected.config)


def objective(**settings) -> InstanceObjective:
    config = PretrainConfig(max_steps=10, batch_size=16, **settings)
    return InstanceObjective(ENCODER, HEADS, config, torch.Generator().manual_seed(0))


def test_teacher_is_the_average_of_students():
    trained = objective(momentum=0.9)
    pairs = [(trained.teacher, trained.encoder), (trained.teacher_projector, trained.projector)]
    expected = [[one.clone() for one in slow.parameters()] for slow, _ in pairs]
    for (slow, fast), ones in zip(pairs, expected, strict=True):
        assert all(map(torch.equal, slow.parameters(), fast.parameters()))
        assert not any(one.requires_grad for one in slow.parameters())
        assert len(ones) > 5
    generator = torch.Generator().manual_seed(1)
    for step in range(10):
        with torch.no_grad():
            for parameter in (*trained.encoder.parameters(), *trained.projector.parameters()):
                parameter += torch.randn(parameter.shape, generator=generator)
        trained.prepare(step / 10)
        momentum = 1 - 0.1 * (1 + math.cos(math.pi * step / 10)) / 2
        for (slow, fast), ones in zip(pairs, expected, strict=True):
            for mean, student, teacher in zip(
                ones, fast.parameters(), slow.parameters(), strict=True
            ):
                mean += (1 - momentum) * (student.detach() - mean)
                assert (teacher - mean).abs().max() <= 1e-6  # rounding of float32
    assert trained.momentum(0.0) == 0.9
    assert trained.momentum(1.0) == 1.0


@pytest.mark.parametrize("loss", ["byol", "infonce"])
def test_masks_of_one_step_are_steps_of_one_mask(loss, sequences):
    """Batch norms of the heads included, in value and gradient."""
    several = objective(loss=loss, mask_fraction=0.7, masks=3)
    inputs = as_inputs(sequences[:16], ENCODER)
    draws = torch.from_numpy(several.draw(np.arange(16), np.random.default_rng(0)))
    together = several(inputs, draws, None)
    together.backward()
    gradient = several.encoder.class_token.grad.clone()
    several.zero_grad()
    alone = [several(inputs, draws[:, [at]], None) for at in range(3)]
    (sum(alone) / 3).backward()
    assert abs((together - sum(alone) / 3).item()) < 1e-6
    assert (several.encoder.class_token.grad - gradient).abs().max() < 1e-6 * gradient.abs().max()
    assert len({round(one.item(), 4) for one in alone}) == 3
    assert all(one.grad is None for one in several.teacher.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_killed_runs_end_with_the_same_bits(name, sequences, tmp_path, monkeypatch):
    monkeypatch.setattr("pottsattn._core.checkpoint.SHARE", math.inf)
    expected = train(sequences, name)
    assert expected.resumed_from is None
    path = tmp_path / "run.h5"
    every = CheckpointFile(path, seconds=0.0)
    for step in (1, 2, 7):  # the first one before anything was saved; an epoch has four
        with pytest.raises(Killed):
            train(sequences, name, checkpoint=every, progress=kill(step))
        assert os.path.exists(f"{path}.partial") == (step > 1)
    with pytest.raises(InputError, match="hidden: 16 there, 17 here"):
        train(sequences, name, HeadConfig(hidden=17, size=8), checkpoint=path)
    run = train(sequences, name, checkpoint=path)
    assert run.resumed_from == 6
    assert_same_bits(run, expected)
    assert os.listdir(tmp_path) == []
    other = train(sequences[::-1], name)
    assert not torch.equal(other.encoder.class_token, run.encoder.class_token)


def test_ctrl_c_returns_what_is_done_and_is_continued(sequences, tmp_path):
    expected, path = train(sequences), tmp_path / "run.h5"

    def press(done: int, total: int) -> None:
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = train(sequences, checkpoint=path, progress=press)
    assert stopped.interrupted
    assert not stopped.converged
    assert stopped.history.steps[-1] == 5
    assert stopped.message == "interrupted at step 5 of 12; repeat the command to continue"
    run = train(sequences, checkpoint=path)
    assert run.resumed_from == 5
    assert_same_bits(run, expected)
    assert not run.interrupted
    assert run.message == expected.message
    assert f"NOT converged: {run.message}" in repr(run)  # twelve steps


def test_training_predicts_the_teacher(sequences):
    settings = {"batch_size": 32, "mask_fraction": 0.5, "masks": 2, "learning_rate": 1e-2}
    config = PretrainConfig(max_steps=100, **settings)
    seen = []
    run = pretrain(sequences, ENCODER, HEADS, config, rng=0, progress=lambda *at: seen.append(at))
    assert seen == [(step, 100) for step in range(1, 101)]
    assert run.history.loss[-1] < 0.7 * run.history.loss[1]
    assert run.converged
    assert run.history.feature_std[-1] > 0.05


def test_collapse_is_said_once_and_at_the_end(sequences):
    heads, config = HeadConfig(hidden=16, size=8, norm="layer"), {"max_steps": 100}
    config |= {"batch_size": 16, "momentum": 0.5, "learning_rate": 0.02, "mask_fraction": 0.5}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = pretrain(sequences, ENCODER, heads, PretrainConfig(masks=1, **config), rng=0)
    said = [str(one.message) for one in caught]
    assert [one.category for one in caught] == [UserWarning, ConvergenceWarning]
    assert "has collapsed at step" in said[0]
    assert said[1] == run.message
    assert "collapsed: all instances have nearly the same vector" in run.message
    assert run.collapsed
    assert not run.converged
    assert run.history.feature_std[-1] < 0.05 < run.history.feature_std[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_that_did_not_move_has_not_converged(sequences, name):
    settings = {"max_steps": 60, "batch_size": 16, "learning_rate": 1e-8, **CONFIGS[name]}
    with pytest.warns(ConvergenceWarning, match="is not below that of the start"):
        run = pretrain(sequences, ENCODER, HEADS, PretrainConfig(**settings), rng=0)
    assert not run.converged
    assert "raise the steps or the learning rate" in run.message


def history(losses) -> EncoderHistory:
    steps = np.arange(len(losses) + 1)
    spread = np.full(len(steps), 0.3)
    return EncoderHistory(steps, np.array([np.nan, *losses]), spread, 0.1 * steps)


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (1.0 + np.exp(-np.arange(20) / 3.0), None),
        (2.0 - PAST - np.sin(np.pi * PAST) / np.pi, "raise the steps"),
        (2.0 - np.arange(20) / 20, "raise the steps"),
        (2.0 + np.arange(20) / 20, "above that of the start"),
        (np.where(np.arange(20) % 2, 1.9, 2.0), "is not below that of the start"),
        (np.where(np.arange(20) == 9, np.nan, 1.0), "numbers became too large"),
        (1.0 - np.arange(9) / 9, "too few to judge"),
    ],
)
def test_what_the_losses_of_an_encoder_say(losses, words):
    """The second falls in proportion to rates that fall as a cosine: it has only begun."""
    found = judge(history(losses), len(losses), is_over=False, collapsed=False)
    assert found.converged == (words is None)
    assert words is None or words in found.message


def test_divergence_ends_a_training(sequences):
    config = PretrainConfig(max_steps=40, batch_size=16, learning_rate=1e6, warmup=0.0)
    with pytest.warns(ConvergenceWarning, match="numbers became too large by step"):
        run = pretrain(sequences, ENCODER, HEADS, config, rng=0)
    assert not run.converged
    assert math.isnan(run.history.feature_std[-1])


def test_images_are_trained_too():
    patches = np.random.default_rng(0).random((20, 4, 9))
    encoder = EncoderConfig(4, patch_dim=9, width=8, n_heads=2)
    config = PretrainConfig(max_steps=3, batch_size=8, mask_fraction=0.5, masks=2)
    before = pretrain(
        patches, encoder, HEADS, PretrainConfig(max_steps=1, mask_fraction=0.5, masks=1), rng=0
    )
    after = pretrain(patches, encoder, HEADS, config, rng=0)
    assert not torch.equal(before.encoder.embedding.weight, after.encoder.embedding.weight)
    assert torch.equal(before.encoder.positions, after.encoder.positions)


@pytest.mark.parametrize(
    ("inputs", "settings", "message"),
    [
        (np.zeros((5, 9), int), {}, "sequences have length 9, the encoder takes 10"),
        (np.full((5, 10), 3), {}, r"sequences must hold states 0\.\.2"),
        (np.zeros((5, 10), int), {"mask_fraction": 0.95}, "leaves none of 10 tokens visible"),
        (np.zeros((5, 10), int), {"loss": "byo"}, "did you mean byol"),
        (np.zeros((5, 10), int), {"warmup": 1.0}, "warmup must be a share"),
        (np.zeros((5, 10), int), {"momentum": 1.5}, r"momentum must be in \[0, 1\]"),
        (np.zeros((5, 10), int), {"betas": (0.9, 1.0)}, "beta2 must be below 1"),
        (np.zeros((5, 10), int), {"batch_size": 1}, "batch_size must be at least 2"),
    ],
)
def test_wrong_inputs_are_refused(inputs, settings, message):
    with pytest.raises(InputError, match=message):
        pretrain(inputs, ENCODER, HEADS, PretrainConfig(max_steps=2, **settings), rng=0)


def test_published_settings():
    config = PretrainConfig.preset("vit-base")
    assert (config.learning_rate, config.momentum, config.betas) == (1.2e-3, 0.996, (0.9, 0.95))
    assert PretrainConfig.preset("vit-base", batch_size=256).learning_rate == 1.5e-4
    assert PretrainConfig.preset("vit-base", learning_rate=1.0).learning_rate == 1.0
    assert PretrainConfig.preset("tiny", masks=2) == PretrainConfig(masks=2)


def test_wrong_patches_are_refused():
    encoder = EncoderConfig(4, patch_dim=9, width=8, n_heads=2)
    for patches, message in ((np.zeros((3, 4, 8)), "shape"), (np.full((3, 4, 9), np.nan), "NaN")):
        with pytest.raises(InputError, match=message):
            as_inputs(patches, encoder)


WORKER_SCRIPT = """
import numpy as np
import torch
from pottsattn.training.workers import choose_device, join_workers
from pottsattn.instances.training import pretrain
from test_training import ENCODER, HEADS, PretrainConfig, gradients
sequences = np.load("sequences.npy")
with join_workers(choose_device("cpu")) as workers:
    found = [gradients(sequences, loss, workers) for loss in ("byol", "infonce")]
    run = pretrain(sequences, ENCODER, HEADS, PretrainConfig(max_steps=4), rng=3, n_threads=1)
    if workers.leads:
        torch.save([*found, run.history.steps], "two.pt")
"""


def gradients(sequences, loss: str, workers: Workers) -> dict[str, torch.Tensor]:
    """Return the gradient of one batch, in double precision."""
    config = PretrainConfig(loss=loss, mask_fraction=0.6, masks=2)
    shared = InstanceObjective(ENCODER, HEADS, config, torch.Generator().manual_seed(0), workers)
    shared.double()
    inputs = as_inputs(sequences[:16], ENCODER)
    draws = torch.from_numpy(shared.draw(np.arange(16), np.random.default_rng(0)))
    wrapped = workers.wrap(shared)  # kept until its hooks have averaged the gradients
    wrapped(workers.share(inputs), workers.share(draws), None).backward()
    return {n: one.grad for n, one in shared.named_parameters() if one.grad is not None}


@pytest.mark.slow
def test_two_processes_train_what_one_does(sequences, tmp_path):
    """Batch norms and negatives are those of the whole batch."""
    np.save(tmp_path / "sequences.npy", sequences)
    (tmp_path / "train.py").write_text(WORKER_SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py"]
    paths = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    subprocess.run(
        [sys.executable, *launch], cwd=tmp_path, env=environment, check=True, timeout=300
    )
    *found, steps = torch.load(tmp_path / "two.pt", weights_only=False)
    assert list(steps) == [0, 1, 2, 3, 4]
    for loss, two in zip(("byol", "infonce"), found, strict=True):
        one = gradients(sequences, loss, Workers())
        assert one.keys() == two.keys()
        scale = max(tensor.abs().max() for tensor in one.values())
        assert scale > 0.01
        worst = max((one[name] - two[name]).abs().max() for name in one)
        assert worst < 1e-13 * scale


def test_one_process_gathers_what_it_has():
    tensor = torch.ones(2, 3)
    assert Workers().gather(tensor) is tensor
    assert copy.deepcopy(Workers()) == Workers()
