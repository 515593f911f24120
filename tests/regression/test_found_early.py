"""What cannot end well is refused before the long work, and leaves no FILE.partial."""

from __future__ import annotations

import os

import h5py
import numpy as np

from pottsattn import PottsModel
from pottsattn.cli.main import main


def test_fields_whose_energies_overflow_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    PottsModel.factored(np.zeros((4, 4)), np.eye(2)).save("model.h5")
    with h5py.File("model.h5", "r+") as file:
        place = next(name for name in ("fields", "model/fields") if name in file)
        file[place][1, 1] = 1e292
    assert (
        main(
            [
                "sample",
                "--model",
                "model.h5",
                "--sequences",
                "8",
                "--chains",
                "2",
                "--out",
                "out.h5",
            ]
        )
        == 1
    )
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert "energies overflow, found 1.0e+292" in error
    assert os.listdir() == ["model.h5"]


def test_one_class_is_refused_before_the_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = np.zeros(40, dtype=int)
    np.savez("one.npz", sequences=rng.integers(3, size=(40, 6)), labels=labels)
    done = []
    monkeypatch.setattr("pottsattn.instances.run.pretrain", lambda *_, **__: done.append(1))
    command = "instances --dataset one.npz --steps 2 --references none --out out.h5"
    assert main(command.split()) == 1
    assert "at least two classes" in capsys.readouterr().err
    assert (done, os.listdir()) == ([], ["one.npz"])
