"""Ctrl-C and SIGTERM end a command with status 130 at every moment, and nothing is lost.

They came out of imports as tracebacks, or as errors of NumPy and Numba; SIGTERM killed; a second
Ctrl-C cut what the first had set going; workers died of signals, or outlived their parent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from pottsattn import InputError
from pottsattn._core import interrupts
from pottsattn._core.executors import LocalProcesses
from pottsattn._core.interrupts import hear_signals, interrupts_wait, understood
from pottsattn.cli import info, main
from pottsattn.demo import job
from pottsattn.instances import mixtures
from pottsattn.sampling import Schedule
from pottsattn.studies.sweep import one_fit
from pottsattn.studies.sweep.tasks import Instance
from pottsattn.training.steps import take_steps

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
BOTH = pytest.mark.parametrize("number", interrupts.SIGNALS)
PRESSED_IN_AN_IMPORT = """
import signal, sys
number, module, *sys.argv[1:] = sys.argv[1:]

class Pressing:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            signal.raise_signal(int(number))

sys.meta_path.insert(0, Pressing())
from pottsattn.__main__ import main
sys.exit(main())
"""
FIT = "fit a.npy --method attention --max-steps 3 --out fit.h5 --threads 1"


def test_the_entry_imports_nothing():
    script = "import sys; old = {*sys.modules}; import pottsattn; print({*sys.modules} - old)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "{'pottsattn'}\n"


@pytest.mark.parametrize(
    ("number", "module"),
    [
        (signal.SIGINT, "pottsattn.cli"),
        (signal.SIGTERM, "numpy"),
        (signal.SIGINT, "numpy._core"),
        (signal.SIGINT, "numba.core.types"),
        (signal.SIGTERM, "threadpoolctl"),
        (signal.SIGINT, "torch.nn"),
    ],
)
def test_a_signal_in_an_import_is_one_line(number, module, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(2, size=(20, 4)))
    command = [sys.executable, "-c", PRESSED_IN_AN_IMPORT, str(int(number)), module, *FIT.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 130
    # The signal waits for the import, and may then come when the training has begun.
    if done.stdout:
        assert (done.stdout.count("NOT converged: interrupted"), done.stderr) == (1, "")
    else:
        assert done.stderr == "pottsattn: interrupted\n"
    assert set(os.listdir(tmp_path)) <= {"a.npy", "fit.h5", "fit.h5.partial"}


def run(monkeypatch, body) -> int:
    """Return the exit status of a command that does `body`."""
    monkeypatch.setattr(info, "_info", body)
    return main(["info", "x"])


def in_an_error(number, error):
    """Return a command in which a signal becomes `error`."""

    def body(arguments):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as pressed:
            raise error from pressed

    return body


@BOTH
@pytest.mark.parametrize("error", [RuntimeError("in LLVM"), ImportError("numpy"), OSError(5, "x")])
def test_whatever_a_signal_became_is_an_interrupt(number, error, monkeypatch, capsys):
    assert run(monkeypatch, in_an_error(number, error)) == 130
    assert capsys.readouterr() == ("", "pottsattn: interrupted\n")


@BOTH
def test_an_error_while_what_is_done_is_kept_is_told(number, monkeypatch, capsys):
    full = InputError("cannot write a.h5: no space left")
    assert run(monkeypatch, in_an_error(number, full)) == 130
    assert capsys.readouterr().err == f"pottsattn: interrupted {full}\n"


def test_errors_without_a_signal_stay_what_they_are(monkeypatch):
    def fail(arguments):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(monkeypatch, fail)


@BOTH
def test_a_signal_that_a_destructor_swallows_is_heard(number, monkeypatch, capsys):
    class Swallowing:
        def __del__(self):
            signal.raise_signal(number)

    def body(arguments):
        Swallowing()
        time.sleep(5)
        pytest.fail("it must have ended")

    assert run(monkeypatch, body) == 130
    assert capsys.readouterr() == ("", "pottsattn: interrupted\n")


@BOTH
def test_further_signals_do_not_cut_what_the_first_has_set_going(number, monkeypatch, capsys):
    def body(arguments):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            signal.raise_signal(number)  # pressed again at once
            understood()
            monkeypatch.setattr(interrupts, "SAME", 0.0)  # and long after
            for each in interrupts.SIGNALS:
                signal.raise_signal(each)
            return 17
        pytest.fail("the first was not heard")

    assert run(monkeypatch, body) == 17
    assert capsys.readouterr() == ("", "")


def test_a_signal_that_nobody_understood_can_be_repeated(monkeypatch):
    monkeypatch.setattr(interrupts, "SAME", 0.0)
    with hear_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


@BOTH
def test_a_signal_in_the_last_step_of_a_training_ends_what_follows_it(number, monkeypatch, capsys):
    class OneStep:
        done, max_steps, is_over = 0, 1, False

        def advance(self):
            self.done = 1
            signal.raise_signal(number)

        def finish(self):
            pass

    def body(arguments):
        assert not take_steps(OneStep()).interrupted
        time.sleep(5)
        pytest.fail("it must have ended")

    assert run(monkeypatch, body) == 130
    assert capsys.readouterr() == ("", "pottsattn: interrupted\n")


def test_sequences_that_were_interrupted_are_no_data(monkeypatch):
    """A demo, a sweep or a mixture went on with the few there were."""
    few = SimpleNamespace(interrupted=True)
    for room, draw in [
        (job, lambda: job._sample(job.Settings(), 0, 1)),
        (one_fit, lambda: one_fit._draw(Instance(3, 1.0, 6, 0, 10, 10, Schedule()))),
        (mixtures, lambda: mixtures.field_mixture(2, 6, 3, rng=0).draw(10, rng=0)),
    ]:
        monkeypatch.setattr(room, "sample", lambda *_, **__: few)
        with pytest.raises(KeyboardInterrupt):
            draw()


@BOTH
def test_signals_wait_for_the_outermost_step(number):
    reached = []

    def press():
        with hear_signals(), interrupts_wait():
            with interrupts_wait():
                signal.raise_signal(number)
                signal.raise_signal(number)
                reached.append("inner")
            reached.append("outer")

    with pytest.raises(KeyboardInterrupt):
        press()
    assert reached == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@BOTH
def test_ignored_signals_stay_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with hear_signals(), interrupts_wait():
            signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def own_process(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@BOTH
def test_workers_leave_signals_to_their_parent(number):
    with LocalProcesses(1) as processes:
        task = processes.submit(own_process, 1.0)
        while not processes.process_ids():
            time.sleep(0.001)
        (worker,) = processes.process_ids()
        os.kill(worker, number)  # in its first moment
        assert task.result(60) == worker
        task = processes.submit(own_process, 0.3)
        os.kill(worker, number)
        assert task.result(60) == worker


ORPHAN = """
import time
from pottsattn._core.executors import LocalProcesses

if __name__ == "__main__":
    processes = LocalProcesses(1)
    processes.submit(time.sleep, 0).result()
    processes.submit(time.sleep, 600)
    print(*processes.process_ids(), flush=True)
    time.sleep(600)
"""


def test_a_worker_ends_with_its_parent(tmp_path):
    (tmp_path / "parent.py").write_text(ORPHAN)
    command = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 30
    while is_alive(worker):
        assert time.monotonic() < deadline, "the worker sleeps on"
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    """Whether a process runs: one that has ended may wait for somebody to ask how."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
