"""Files of weights: read back to the bit, and refused with the line that is wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pottsattn import InputError
from pottsattn.data.reading import read_dataset
from pottsattn.data.weights import read_weights, write_weights


@pytest.mark.parametrize("name", ["w.csv", "w.txt", "w.npy", "W.CSV"])
def test_weights_read_back_to_the_bit(tmp_path, rng, name):
    weights = 1.0 / rng.integers(1, 50, size=40) * rng.uniform(size=40)
    write_weights(tmp_path / name, weights)
    assert np.array_equal(read_weights(tmp_path / name, 40), weights)


@pytest.mark.parametrize(
    "text", ["1\n0.5\n2e-1", "weight\n1\n.5\n0.2\n\n", "\ufeffw\r\n1\r\n0.5\r\n.2"]
)
def test_text_of_other_programs_is_read(tmp_path, text):
    (tmp_path / "w.txt").write_bytes(text.encode())
    assert read_weights(tmp_path / "w.txt", 3).tolist() == [1.0, 0.5, 0.2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "holds 2 weights, the data 3 sequences"),
        ("1\n2\n3\n4\n", "holds 4 weights, the data 3 sequences"),
        ("", "holds 0 weights"),
        ("1\n-2\n3\n", "weight 2 is -2.0, expected a number of at least 0"),
        ("1\nnan\n3\n", "weight 2 is nan"),
        ("1\n2\ninf\n", "weight 3 is inf"),
        ("0\n0\n0\n", "sum must be above 0"),
        ("1e308\n1e308\n1e308\n", "their sum is not finite"),
        ("1\nx\n3\n", "line 2 is 'x', expected one number"),
        ("1,2\n1\n2\n3\n", "line 1 is '1,2'"),
        ("w\n1\n\n3\n", "line 3 is ''"),
    ],
)
def test_wrong_weights_are_named(tmp_path, text, message):
    path = tmp_path / "w.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_weights(path, 3)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("array", [np.ones((3, 1)), np.array(["a", "b", "c"]), np.float64(1.0)])
def test_arrays_that_are_no_column_are_refused(tmp_path, array):
    np.save(tmp_path / "w.npy", array)
    with pytest.raises(InputError, match="expected one column of numbers"):
        read_weights(tmp_path / "w.npy", 3)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "w.npy").write_text("text")
    with pytest.raises(InputError, match=r"not a \.npy file"):
        read_weights(tmp_path / "w.npy", 3)
    with pytest.raises(InputError, match=r"missing\.csv: No such file"):
        read_weights(tmp_path / "missing.csv", 3)
    for bad in ([-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(InputError, match="weights must"):
            write_weights(tmp_path / "new.csv", bad)
    assert not (tmp_path / "new.csv").exists()


def test_weights_replace_those_of_the_data(tmp_path):
    (tmp_path / "a.fasta").write_text(">1\nACDX\n>2\nACDE\n>3\nACDE\n")
    write_weights(tmp_path / "w.csv", [0.25, 4.0])
    dataset = read_dataset(tmp_path / "a.fasta", weights=tmp_path / "w.csv")
    assert dataset.weights.tolist() == [0.25, 4.0]
    with pytest.raises(InputError, match=r"the data 3 sequences; .*`unknown`"):
        read_dataset(tmp_path / "a.fasta", weights=tmp_path / "w.csv", unknown="gap")
