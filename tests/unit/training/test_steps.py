"""The loop of all trainings: whatever ends it at whatever point, the numbers are the same."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pottsattn import InputError
from pottsattn._core.checkpoint import CheckpointFile
from pottsattn.training.steps import Ended, take_steps

STEPS = 6


class Killed(BaseException):
    pass


class Counting:
    """A training that adds up the numbers of its steps, in two halves that must stay together."""

    def __init__(self, at: tuple[str, int] | None = None, action=None, over_at: int = STEPS + 1):
        self.done, self.max_steps, self.over_at = 0, STEPS, over_at
        self.total, self.rows, self.ends = 0, [], 0
        self.at, self.action = at, action

    @property
    def is_over(self):
        return self.done >= self.over_at

    def reach(self, point: str) -> None:
        if (point, self.done) == self.at:
            self.action()

    def advance(self):
        self.reach("before")
        self.total += self.done
        self.reach("within")
        self.rows.append(self.total)
        self.done += 1
        self.reach("after")

    def finish(self):
        self.reach("finish")
        self.ends += 1

    def state(self):
        return {"done": self.done, "total": self.total, "rows": list(self.rows)}

    def restore(self, state):
        self.done, self.total, self.rows = state["done"], state["total"], state["rows"]


WHOLE = Counting()
for _ in range(STEPS):
    WHOLE.advance()


def press(times: int = 1):
    """Return an action: so many Ctrl-C."""

    def action():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    return action


def kill():
    raise Killed


def every_step(path) -> CheckpointFile:
    return CheckpointFile(path, seconds=0.0)


def assert_goes_on(path, resumed_from: int | None) -> None:
    training, seen = Counting(), []
    ended = take_steps(training, path, progress=lambda *at: seen.append(at))
    assert ended == Ended(False, "", resumed_from)
    assert training.state() == WHOLE.state()
    assert training.ends == 1
    assert seen == [(step, STEPS) for step in range((resumed_from or 0) + 1, STEPS + 1)]
    assert os.listdir(path.parent) == []


@pytest.fixture(autouse=True)
def no_bound_on_writing(monkeypatch):
    monkeypatch.setattr("pottsattn._core.checkpoint.SHARE", math.inf)


def test_all_steps_are_taken_and_told():
    training, seen = Counting(), []
    assert take_steps(training, progress=lambda *at: seen.append(at)) == Ended(False, "", None)
    assert training.state() == WHOLE.state()
    assert training.ends == 1
    assert seen == [(step, STEPS) for step in range(1, STEPS + 1)]


@pytest.mark.parametrize("point", ["before", "within", "after"])
@pytest.mark.parametrize("step", [0, 1, 4])
def test_a_killed_training_goes_on(point, step, tmp_path):
    at = (point, step + (point == "after"))
    with pytest.raises(Killed):
        take_steps(Counting(at, kill), every_step(tmp_path / "run.h5"))
    assert_goes_on(tmp_path / "run.h5", step or None)


def test_a_training_killed_at_its_end_takes_no_step_more(tmp_path):
    path = tmp_path / "run.h5"
    with pytest.raises(Killed):
        take_steps(Counting(("finish", STEPS), kill), path)  # never due: saved before the end
    assert_goes_on(path, STEPS)


@pytest.mark.parametrize("point", ["before", "within", "after"])
@pytest.mark.parametrize("step", [0, 3])
def test_one_ctrl_c_waits_for_the_end_of_its_step(point, step, tmp_path):
    path = tmp_path / "run.h5"
    training = Counting((point, step + (point == "after")), press())
    message = f"interrupted at step {step + 1} of {STEPS}; repeat the command to continue"
    assert take_steps(training, path) == Ended(True, message, None)
    assert (training.rows, training.ends) == (WHOLE.rows[: step + 1], 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_goes_on(path, step + 1)


@pytest.mark.parametrize("point", ["before", "within", "after"])
@pytest.mark.parametrize("step", [0, 3])
def test_a_second_ctrl_c_cuts_no_step_either(point, step, tmp_path):
    training = Counting((point, step + (point == "after")), press(2))
    assert take_steps(training, every_step(tmp_path / "run.h5")).interrupted
    assert (training.rows, training.ends) == (WHOLE.rows[: step + 1], 1)
    assert_goes_on(tmp_path / "run.h5", step + 1)


def test_ctrl_c_between_steps_is_that_of_a_whole_one(tmp_path):
    """As pressed twice while the state is written or progress shown."""

    def show(done: int, total: int) -> None:
        if done == 2:
            press(2)()

    training = Counting()
    assert take_steps(training, progress=show).message == f"interrupted at step 2 of {STEPS}"
    assert training.rows == WHOLE.rows[:2]


def test_ctrl_c_in_the_last_step_leaves_nothing_to_do(tmp_path):
    training = Counting(("within", STEPS - 1), press())
    assert take_steps(training, tmp_path / "run.h5") == Ended(False, "", None)
    assert os.listdir(tmp_path) == []


def test_a_training_may_end_before_its_last_step(tmp_path):
    training = Counting(over_at=4)
    assert take_steps(training, tmp_path / "run.h5") == Ended(False, "", None)
    assert (training.done, training.ends) == (4, 1)
    assert os.listdir(tmp_path) == []


def test_a_state_may_be_kept_and_must_be_of_the_same_training(tmp_path):
    file = CheckpointFile(tmp_path / "run.h5", keep=True)
    take_steps(Counting(), file, {"rate": 0.1})
    assert file.partial.exists()
    with pytest.raises(InputError, match=r"rate: 0\.1 there, 0\.2 here"):
        take_steps(Counting(), file, {"rate": 0.2})
    with pytest.raises(InputError, match="seconds must not be negative"):
        CheckpointFile("run.h5", seconds=-1.0)


class Pair:
    """One of two processes; the other one has read a state."""

    count = 2

    def __init__(self, leads: bool, state=None):
        self.leads, self._state = leads, state

    def from_leader(self, item):
        return self._state if item is None else item


def test_of_several_processes_one_writes_and_ctrl_c_ends_all(tmp_path):
    path = tmp_path / "run.h5"
    state = {"done": 2, "total": 1, "rows": [0, 1]}
    follower = Counting()
    ended = take_steps(follower, every_step(path), workers=Pair(False, state))
    assert ended.resumed_from == 2
    assert follower.state() == WHOLE.state()
    assert os.listdir(tmp_path) == []
    with pytest.raises(KeyboardInterrupt):
        take_steps(Counting(("within", 3), press()), every_step(path), workers=Pair(True))
    assert_goes_on(path, 4)


def test_the_loop_is_free_of_torch():
    script = "import sys, pottsattn.training.steps; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_seconds_of_earlier_processes_are_kept(tmp_path, monkeypatch):
    """Ten seconds from one look at the clock to the next: at the start and at every writing."""
    clock = itertools.count(0.0, 10.0)
    looks = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr("pottsattn._core.stopwatch.time", looks)
    assert take_steps(Counting()).earlier_seconds == 0.0
    path = every_step(tmp_path / "run.h5")
    for step in (2, 3):  # two steps are written, then one
        with pytest.raises(Killed):
            take_steps(Counting(("before", step), kill), path)
    assert take_steps(Counting(), path).earlier_seconds == 30.0
