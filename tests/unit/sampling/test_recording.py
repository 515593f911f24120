"""Data sets written as they are drawn: the same bytes however often a run is killed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pottsattn import ConvergenceWarning, InputError, SequenceDataset
from pottsattn._core.partial import PartialFile, describe_difference
from pottsattn._core.storage import content_hash
from pottsattn.model.ensembles import sk_potts
from pottsattn.model.potts import PottsModel
from pottsattn.sampling import job, recording
from pottsattn.sampling.sampler import sample, sample_to_file
from pottsattn.sampling.schedule import Schedule, Tempering

MODEL = sk_potts(20, 3, 1.0, 0)
SCHEDULE = Schedule(n_chains=24, n_warmup=50, thin_by=2)
SETTINGS = {
    "plain": {},
    "thinned": {"min_ess": 1990.0},
    "tempered": {"tempering": Tempering(n_tuning=20), "schedule": Schedule(6, 20, 3)},
    "clusters": {"schedule": Schedule(24, 20, 1, "metropolis", "two")},
}


@pytest.fixture(params=SETTINGS)
def options(request):
    return {"schedule": SCHEDULE, "rng": 7, **SETTINGS[request.param]}


@pytest.fixture
def small_steps(monkeypatch):
    """Many small chunks, records and segments, so that little data meets every case."""
    monkeypatch.setattr(recording, "CHUNK_BYTES", 20 * 37)
    monkeypatch.setattr(recording, "PATIENCE", 0.0)
    monkeypatch.setattr(job, "SEGMENT_SECONDS", 1e-9)


class Interruption(BaseException):
    pass


def stop_after(monkeypatch, n_records):
    """Make the process 'die' while it appends record `n_records`, with half of it written."""
    append, calls = PartialFile.append, itertools.count()

    def dying(self, arrays):
        append(self, arrays)
        if next(calls) == n_records:
            size = os.path.getsize(self.path)
            os.truncate(self.path, size - 11)
            raise Interruption

    monkeypatch.setattr(PartialFile, "append", dying)


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
def test_a_file_holds_what_memory_holds(options, tmp_path, small_steps):
    kept = sample(MODEL, 2001, **options)
    result = sample_to_file(MODEL, 2001, tmp_path / "a.h5", n_threads=2, **options)
    written = SequenceDataset.load(result.path)
    assert np.array_equal(written.sequences, kept.dataset.sequences)
    assert result.diagnoses == kept.diagnoses
    assert (result.thin_by, result.converged) == (kept.thin_by, kept.converged)
    assert np.array_equal(written.model.to_dense(), MODEL.to_dense())
    assert os.listdir(tmp_path) == ["a.h5"]
    assert result.resumed_from is None


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
def test_killed_runs_end_with_the_same_bytes(options, tmp_path, small_steps, monkeypatch):
    expected = sample_to_file(MODEL, 2001, tmp_path / "whole.h5", **options)
    path = tmp_path / "killed.h5"
    resumed = []
    for n_records in (0, 3, 8, 1, 21, 34, 5):
        with monkeypatch.context() as patch:
            stop_after(patch, n_records)
            with pytest.raises(Interruption):
                sample_to_file(MODEL, 2001, path, **options)
        assert not path.exists()
        assert Path(f"{path}.partial").exists()
    result = sample_to_file(MODEL, 2001, path, n_threads=1, progress=lambda d, t: None, **options)
    resumed.append(result.resumed_from)
    assert 0 < result.resumed_from <= 2001
    assert content_hash(path) == content_hash(expected.path)
    assert result.diagnoses == expected.diagnoses
    assert sorted(os.listdir(tmp_path)) == ["killed.h5", "whole.h5"]


def interrupted(path, monkeypatch, n_records=6, **options):
    with monkeypatch.context() as patch:
        stop_after(patch, n_records)
        with pytest.raises(Interruption):
            sample_to_file(MODEL, 2001, path, **{"schedule": SCHEDULE, "rng": 7, **options})
    return Path(f"{path}.partial")


@pytest.mark.parametrize(
    ("n_sequences", "change", "text"),
    [
        (2002, {}, "n_sequences: 2001 there, 2002 here"),
        (2001, {"schedule": Schedule(24, 50, 3)}, "thin_by: 2 there, 3 here"),
        (2001, {"rng": 8}, "random state"),
        (2001, {"min_ess": 10.0}, "min_ess: null there, 10.0 here"),
        (2001, {"tempering": Tempering()}, "tempering: null there"),
        (2001, {"facts": {"seed": 1}}, "seed: null there, 1 here"),
    ],
)
def test_other_options_are_refused_by_name(
    n_sequences, change, text, tmp_path, small_steps, monkeypatch
):
    partial = interrupted(tmp_path / "a.h5", monkeypatch)
    before = partial.read_bytes()
    with pytest.raises(InputError, match=f"other options.*{text}.*remove the file"):
        sample_to_file(
            MODEL, n_sequences, tmp_path / "a.h5", **{"schedule": SCHEDULE, "rng": 7, **change}
        )
    assert partial.read_bytes() == before
    with pytest.raises(InputError, match=r"model: .* there"):
        sample_to_file(sk_potts(20, 3, 1.1, 0), 2001, tmp_path / "a.h5", schedule=SCHEDULE, rng=7)


def test_damage_in_the_middle_costs_what_follows_it(tmp_path, small_steps, monkeypatch):
    path = tmp_path / "a.h5"
    partial = interrupted(path, monkeypatch, 70)
    data = bytearray(partial.read_bytes())
    data[3 * len(data) // 4] ^= 1
    partial.write_bytes(data)
    result = sample_to_file(MODEL, 2001, path, schedule=SCHEDULE, rng=7)
    whole = sample(MODEL, 2001, schedule=SCHEDULE, rng=7)
    assert np.array_equal(SequenceDataset.load(path).sequences, whole.dataset.sequences)
    assert 0 < result.resumed_from < 2001


@pytest.mark.parametrize("content", [b"", b"potts", b"something else\n" * 3, b"\0" * 200])
def test_what_is_no_partial_file(content, tmp_path):
    path = tmp_path / "a.h5"
    partial = Path(f"{path}.partial")
    partial.write_bytes(content)
    if len(content) < 20:  # killed while it was created
        sample_to_file(MODEL, 30, path, rng=0)
        assert path.exists()
    else:
        with pytest.raises(InputError, match="not the partial file of a run; remove it"):
            sample_to_file(MODEL, 30, path, rng=0)
        assert partial.read_bytes() == content


def test_two_processes_do_not_write_one_file(tmp_path):
    first = PartialFile(tmp_path / "a.partial", {"x": 1})
    with pytest.raises(InputError, match="in use by another process"):
        PartialFile(tmp_path / "a.partial", {"x": 1})
    first.close()
    PartialFile(tmp_path / "a.partial", {"x": 1}).close()


def test_differences_are_told_in_words():
    old = {"a": 1, "b": {"c": [1, 2], "d": 0}, "e": "x" * 99}
    assert describe_difference(old, old) == ""
    new = {"a": 2, "b": {"c": [1], "d": 0}, "f": None, "e": "x" * 99}
    assert describe_difference(old, new) == "a: 1 there, 2 here; c: [1, 2] there, [1] here"


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_full_disk_keeps_what_is_whole(tmp_path):
    """A limit on the size of files acts as a full disk does, and is lifted before the retry."""
    path = tmp_path / "a.h5"
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({{limit}}, {{limit}}))
from pottsattn.cli import main
sys.exit(main("sample --length 60 --states 4 --coupling-scale 1 --sequences 100000 --chains 200 "
              "--warmup 5 --thin 1 --out {path}".split()))
"""
    failed = subprocess.run(
        [sys.executable, "-c", script.format(limit=700_000)], capture_output=True, text=True
    )
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "cannot write" in failed.stderr
    assert "make room" in failed.stderr
    assert not path.exists()
    size = os.path.getsize(f"{path}.partial")
    assert 0 < size <= 700_000
    again = subprocess.run(
        [sys.executable, "-c", script.format(limit=-1)], capture_output=True, text=True
    )
    assert (again.returncode, again.stderr) == (0, "")
    assert "resumed from" in again.stdout
    assert SequenceDataset.load(path).n_sequences == 100_000


N_SEQUENCES = 500_000
COMMAND = (
    f"sample --length 50 --states 3 --coupling-scale 1 --sequences {N_SEQUENCES} --chains 128 "
    "--warmup 200 --thin 3 --json --out"
)


def start(path, *more, **options):
    arguments = [sys.executable, "-m", "pottsattn", *COMMAND.split(), str(path), *more]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_sigkill_at_random_moments(tmp_path, rng):
    whole = start(tmp_path / "whole.h5", "--threads", "2")
    assert json.loads(whole.communicate()[0])["resumed_from"] is None
    size = os.path.getsize(tmp_path / "whole.h5")
    killed, partial = tmp_path / "killed.h5", tmp_path / "killed.h5.partial"
    for number in range(10):
        process = start(killed, "--threads", str(1 + number % 2))
        if number % 3 == 0:  # at any time, be it while modules are imported
            time.sleep(rng.uniform(0.0, 1.0))
        else:  # when it has done some more
            before = partial.stat().st_size if partial.exists() else 0
            enough = before + rng.uniform(0.0, 0.2) * size
            while process.poll() is None and not (
                partial.exists() and partial.stat().st_size > enough
            ):
                time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not killed.exists()
    result = json.loads(start(killed).communicate()[0])
    assert 0 < result["resumed_from"] <= result["n_sequences"] == N_SEQUENCES
    assert content_hash(killed) == content_hash(tmp_path / "whole.h5")
    assert sorted(os.listdir(tmp_path)) == ["killed.h5", "whole.h5"]


def test_ctrl_c_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    from pottsattn.cli import main
    from pottsattn.sampling.runs import Workers

    path = tmp_path / "a.h5"
    add, calls = Workers.add, itertools.count()

    def press_ctrl_c(self, amount):
        add(self, amount)
        if next(calls) == 1500:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    monkeypatch.setattr(Workers, "add", press_ctrl_c)
    arguments = "sample --length 50 --states 3 --coupling-scale 1 --sequences 200000 --thin 2 --out"
    assert main([*arguments.split(), str(path)]) == 130
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "repeat the command to go on" in error
    assert os.path.exists(f"{path}.partial")
    monkeypatch.undo()
    assert main([*arguments.split(), str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["resumed_from"] >= 0


@pytest.mark.skipif(shutil.which("true") is None, reason="needs a Unix-like system")
def test_memory_does_not_grow_with_the_number_of_sequences(tmp_path):
    """Ten times the sequences, by at most 30 MB more resident memory."""
    peaks = []
    for n_sequences in (100_000, 1_000_000):
        script = (
            "import resource, sys; from pottsattn.cli import main; main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = "sample --length 100 --states 2 --coupling-scale 0.5 --thin 1 --chains 256"
        run = subprocess.run(
            [sys.executable, "-c", script, *arguments.split(), "--warmup", "5", "--sequences",
             str(n_sequences), "--out", str(tmp_path / "a.h5")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        peaks.append(int(run.stdout.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 30.0


def test_not_converged_data_are_kept_and_marked(tmp_path):
    frozen = PottsModel.factored(np.array([[0.0, 30.0], [30.0, 0.0]]), n_states=3)
    with pytest.warns(ConvergenceWarning, match="not converged"):
        sample_to_file(frozen, 400, tmp_path / "a.h5", schedule=SCHEDULE, rng=0, min_ess=100.0)
    import h5py

    with h5py.File(tmp_path / "a.h5") as file:
        assert not file.attrs["converged"]
        assert "effective sample size" in file.attrs["message"]
        assert file["trace/energy"].shape == (17, 24)
        assert file["sequences"].shape == (400, 2)
