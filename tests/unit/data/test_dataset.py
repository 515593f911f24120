"""Data sets: what a file keeps, what is refused, and splits that leak nothing."""

from __future__ import annotations

import gzip
import json

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn._core.storage import content_hash
from pottsattn.data import SequenceFile
from pottsattn.data.alignment.identity import identity_clusters
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.reading import read_dataset
from pottsattn.data.resampling import split


@pytest.fixture
def dataset(model, rng):
    """Weighted, with an alphabet, own columns and the true model in each form."""
    return SequenceDataset(
        rng.integers(3, size=(40, 4)),
        3,
        weights=rng.uniform(0.1, 1.0, size=40),
        alphabet="-AB",
        gap_index=0,
        columns=[2, 3, 5, 9],
        names=tuple(f"Käfer {number}" for number in range(40)),
        model=model,
        origin={"seed_entropy": "12"},
    )


def test_file_keeps_everything(dataset, tmp_path):
    path = tmp_path / "data.h5"
    dataset.save(path, note=np.int64(4))
    loaded = SequenceDataset.load(path)
    for name in ("sequences", "weights", "columns"):
        assert_allclose(getattr(loaded, name), getattr(dataset, name), rtol=0)
    assert (loaded.n_states, loaded.alphabet, loaded.gap_index) == (3, "-AB", 0)
    assert loaded.names == dataset.names
    assert (
        loaded.take([5, 2]).names
        == SequenceFile(path).dataset([5, 2]).names
        == ("Käfer 5", "Käfer 2")
    )
    assert loaded.sequences.dtype == np.uint8
    assert_allclose(loaded.model.to_dense(), dataset.model.to_dense(), rtol=0)
    with h5py.File(path) as file:
        provenance = json.loads(file.attrs["provenance"])
    assert (provenance["seed_entropy"], provenance["note"]) == ("12", 4)
    assert provenance["versions"]["pottsattn"]


def test_hash_is_of_the_numbers_only(dataset, tmp_path):
    dataset.save(tmp_path / "a.h5", time="now")
    SequenceDataset.load(tmp_path / "a.h5").save(tmp_path / "b.h5", time="later")
    dataset.take(slice(1, None)).save(tmp_path / "c.h5")
    first, second, shorter = (content_hash(tmp_path / f"{name}.h5") for name in "abc")
    assert first == second != shorter


def test_weights_enter_every_mean(rng):
    sequences = rng.integers(3, size=(50, 4))
    counts = rng.integers(1, 4, size=50)
    weighted = SequenceDataset(sequences, 3, weights=counts)
    repeated = SequenceDataset(np.repeat(sequences, counts, axis=0), 3)
    assert_allclose(weighted.site_frequencies(), repeated.site_frequencies(), rtol=1e-12)
    assert weighted.effective_size == repeated.effective_size == counts.sum()
    assert weighted.alpha == repeated.alpha == counts.sum() / 4
    assert_allclose(weighted.normalized_weights.sum(), 1.0)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"n_states": 2}, r"states 0\.\.1 .*found 0\.\.2"),
        ({"weights": np.ones(3)}, "weights"),
        ({"columns": [1, 2]}, "columns"),
        ({"alphabet": "AB"}, "alphabet 'AB' must have 3 letters"),
    ],
)
def test_facts_that_do_not_fit_are_refused(facts, text):
    with pytest.raises(InputError, match=text):
        SequenceDataset(**{"sequences": [[0, 1, 2], [2, 1, 0]], "n_states": 3, **facts})


def test_model_of_another_size_is_refused(tiny_model):
    with pytest.raises(InputError, match="does not fit sequences of length 3"):
        SequenceDataset([[0, 1, 2]], 3, model=tiny_model)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda file: file.attrs.__setitem__("n_states", 2), r"states 0\.\.1 .*found 0\.\.2"),
        (lambda file: file.__delitem__("sequences"), "damaged or incomplete"),
        (lambda file: file.attrs.__delitem__("n_states"), "damaged or incomplete"),
        (lambda file: file.attrs.__setitem__("provenance", "{"), "damaged or incomplete"),
        (lambda file: file["model"].__delitem__("fields"), "damaged or incomplete"),
    ],
)
def test_spoiled_files_are_named(tmp_path, tiny_model, spoil, text):
    path = tmp_path / "data.h5"
    SequenceDataset([[0, 1, 2, 0]], 3, model=tiny_model).save(path)
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(InputError, match=text) as caught:
        SequenceDataset.load(path)
    assert str(path) in str(caught.value)


def test_an_alignment_becomes_a_weighted_data_set(tmp_path):
    path = tmp_path / "family.a2m.gz"
    path.write_bytes(gzip.compress(b">1\nMKLWAa\n>2\nMKLWA.\n>3\nACDEFc\n>4\nMKXWA.\n"))
    dataset = read_dataset(path, identity_threshold=0.9, n_threads=1)
    assert (dataset.n_sequences, dataset.length, dataset.n_states) == (3, 5, 21)
    assert dataset.weights.tolist() == [0.5, 0.5, 1.0]
    assert (dataset.alphabet[0], dataset.gap_index) == ("-", 0)
    assert "dropped for letters X x 1" in dataset.origin["source"]["summary"]


def test_npy_takes_the_largest_state_or_the_given_number(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, np.array([[0, 3], [1, 2]]))
    assert read_dataset(path).n_states == 4
    assert read_dataset(path, n_states=6).n_states == 6


def _save_npz(path):
    np.savez(path.with_suffix(".npz"), a=np.eye(2))
    path.with_suffix(".npz").rename(path)


@pytest.mark.parametrize(
    ("name", "make", "text"),
    [
        ("a.npy", lambda path: np.save(path, np.ones((2, 2))), "float64"),
        ("a.npy", lambda path: np.save(path, np.array([{}])), "not a .npy file of numbers"),
        ("a.npy", lambda path: path.write_bytes(b"no"), "not a .npy file of numbers"),
        ("a.npy", _save_npz, "an archive of arrays"),
        ("a.npy", lambda path: np.save(path, np.zeros((2, 2), int)), "n_states must be at least 2"),
        ("a.npy", lambda path: None, "no such file"),
        ("a.h5", lambda path: None, "no such file"),
        ("a.txt", lambda path: None, "no such file"),
        ("a.txt", lambda path: path.touch(), "is empty, expected an alignment"),
        ("a.txt", lambda path: path.write_text("1, 2\n"), "cannot tell the format .*expected an"),
        ("a.npy.gz", lambda path: path.touch(), "is empty, expected an alignment"),
    ],
)
def test_unreadable_data_is_named(tmp_path, name, make, text):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=text) as caught:
        read_dataset(path)
    assert str(path) in str(caught.value)


def _family(rng, alphabet):
    ancestors = rng.integers(4, size=(60, 30))
    sequences = ancestors[rng.integers(60, size=400)]
    mutated = rng.uniform(size=sequences.shape) < 0.05
    sequences = np.where(mutated, rng.integers(4, size=sequences.shape), sequences)
    return SequenceDataset(sequences, 4, weights=np.arange(1.0, 401.0), alphabet=alphabet)


@pytest.mark.parametrize("fraction", [0.1, 0.5])
@pytest.mark.parametrize("alphabet", ["", "ACGT"])
def test_split_is_a_partition_of_the_fraction(rng, alphabet, fraction):
    family = _family(rng, alphabet)
    kept, held_out = split(family, fraction, rng=3)
    largest = np.bincount(identity_clusters(family.sequences, 0.8)).max() if alphabet else 1
    assert abs(held_out.n_sequences - fraction * 400) < largest
    # Weights number the sequences, so they tell where each one went.
    numbers = np.concatenate([kept.weights, held_out.weights]).astype(int) - 1
    assert sorted(numbers) == list(range(400))
    assert_allclose(np.concatenate([kept.sequences, held_out.sequences]), family.sequences[numbers])
    again = split(family, fraction, rng=3)[1]
    assert_allclose(again.weights, held_out.weights, rtol=0)
    assert not np.array_equal(split(family, fraction, rng=4)[1].weights, held_out.weights)


def test_split_of_an_alignment_cuts_no_cluster(rng):
    family = _family(rng, "ACGT")
    labels = identity_clusters(family.sequences, 0.8)
    assert np.bincount(labels).max() > 1
    parts = split(family, 0.3, rng=0)
    kept, held_out = (set(labels[part.weights.astype(int) - 1]) for part in parts)
    assert not kept & held_out


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.01, np.nan])
def test_impossible_splits_are_refused(fraction):
    dataset = SequenceDataset(np.zeros((5, 3), int), 2)
    with pytest.raises(InputError, match="fraction"):
        split(dataset, fraction, rng=0)
