"""Options that are no values, or larger than any machine; and an error leaves stdout empty."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from pottsattn import SequenceDataset, learning_curve
from pottsattn.cli import main

SAMPLE = "sample --states 3 --coupling-scale 1 --sequences 5 --out new.h5"
CASES = [
    (f"{SAMPLE} --length {10**30}", "--length: must be at most 9223372036854775807"),
    (f"{SAMPLE} --length -{10**30}", "--length: must be at most 9223372036854775807"),
    (f"{SAMPLE} --length 8 --chains {2**63}", "--chains: must be at most"),
    (f"fit data.h5 --method attention --head-dimension {2**63} --out new.h5", "--head-dimension"),
    (f"fit data.h5 --method factored --heads {2**64} --out new.h5", "--heads: must be at most"),
    (f"instances --width {2**63} --steps 1 --out new.h5", "--width: must be at most"),
    (f"sweep sweep.toml --workers 1 --seed {2**63} --out new.h5", "seed must be at most"),
    ("info data.h5 --seed=--", "--seed: expected a value, got '--'"),
    ("info data.h5 --threads 1000000000", "--threads must be at most 1024"),
    ("fit data.h5 --method plm --couplings-l2=-- --out new.h5", "--couplings-l2: expected a value"),
    ("theory --states 3 --coupling-scale 1 --ridge 1 --alpha=--", "--alpha: expected a value"),
    ("sweep sweep.toml --workers 1000000000 --out new.h5", "--workers must be at most "),
    ("fit a.fasta --method plm --init a.npy --out new.h5", "cannot read a.npy"),
    ("fit a.fasta --method plm --ridge nan --out new.h5", "--ridge must be finite"),
    ("plan a.fasta --ridge -1 --out new.csv", "ridge must be"),
    ("bridge a.fasta --ridge -1 --out new.png", "ridge must"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    SequenceDataset(rng.integers(3, size=(30, 6)), 3).save("data.h5")
    np.save("a.npy", np.zeros(3))
    states = np.array(["A", "C", "D", "E", "-"])
    letters = ("".join(rng.choice(states, 12)) for _ in range(40))
    (tmp_path / "a.fasta").write_text("".join(f">{n}\n{s}\n" for n, s in enumerate(letters)))
    (tmp_path / "sweep.toml").write_text(
        "n_states = 2\ncoupling_scales = [0.5]\nlengths = [6]\ninstances = 1\nalphas = [2]\n"
        "ridges = [0.3]\nmethods = ['factored']\nn_test = 50\n"
    )
    return tmp_path


@pytest.mark.parametrize(("command", "said"), CASES)
def test_it_is_one_line_and_stdout_is_empty(folder, capsys, command, said):
    assert main(command.split()) == 1
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert not list(folder.glob("new*"))


def test_what_reading_did_is_said_once_the_command_has_succeeded(folder, capsys):
    assert main(["fit", "a.fasta", "--method", "mf", "--out", "fit.h5", "--threads", "1"]) == 0
    assert capsys.readouterr().out.startswith("40 ")


def test_figures_need_no_backend(folder):
    learning_curve(3, 1.0, [1.0], 0.1).save("curve.h5")
    command = [sys.executable, "-m", "pottsattn", "plot", "curve.h5", "--out", "curve.png"]
    run = subprocess.run(
        command, env={**os.environ, "MPLBACKEND": "nosuch"}, capture_output=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of sizes")
@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_a_full_disk_while_a_figure_is_drawn(folder, suffix):
    learning_curve(3, 1.0, [1.0], 0.1).save("curve.h5")
    (folder / f"a{suffix}").write_text("old")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))\n"
        "from pottsattn.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-B", "-c", code, "plot", "curve.h5", "--out", f"a{suffix}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"pottsattn: cannot write a{suffix}: File too large; nothing was changed\n"
    assert (folder / f"a{suffix}").read_text() == "old"
