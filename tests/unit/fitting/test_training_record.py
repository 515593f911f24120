"""Hashes of training data know them again, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pottsattn import SequenceDataset, fit_pseudolikelihood
from pottsattn._core.storage import content_hash
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.files import load_fit
from pottsattn.fitting import training_record
from pottsattn.fitting.training_record import TrainingRecord, hashed


@pytest.fixture
def data(rng):
    return SequenceDataset(rng.integers(4, size=(200, 12)), 4, weights=rng.uniform(size=200))


def test_equal_sequences_and_only_those_have_equal_hashes(rng):
    sequences = rng.integers(2, size=(4000, 10)).astype(np.uint8)  # 1024 states, all of them
    numbers = sequences.astype(int) @ 2 ** np.arange(10)
    found = hashed(SequenceDataset(sequences, 2))
    assert len({*zip(numbers.tolist(), found.tolist(), strict=True)}) == len({*numbers.tolist()})
    assert len(np.unique(found)) == len(np.unique(numbers))


def test_the_data_hash_knows_states_and_weights_but_no_order(data):
    record = TrainingRecord.of(data)
    turned = TrainingRecord.of(data.take(np.arange(200)[::-1]))
    assert turned.data_hash == record.data_hash
    plain = SequenceDataset(data.sequences, 4)
    ones = SequenceDataset(data.sequences, 4, weights=np.ones(200))
    assert TrainingRecord.of(plain).data_hash == TrainingRecord.of(ones).data_hash
    changed = data.sequences.copy()
    changed[0, 0] = (changed[0, 0] + 1) % 4
    for other in (
        SequenceDataset(changed, 4, weights=data.weights),
        SequenceDataset(data.sequences, 4),
        data.take(slice(1, None)),
    ):
        assert TrainingRecord.of(other).data_hash != record.data_hash


def test_a_file_is_its_data_in_memory(data, tmp_path, monkeypatch):
    data.save(tmp_path / "data.h5")
    monkeypatch.setattr(training_record, "BLOCK_ROWS", 7)
    of_file = TrainingRecord.of(SequenceFile(tmp_path / "data.h5"))
    assert of_file.data_hash == TrainingRecord.of(data).data_hash
    assert of_file.overlap(data) == 1.0


def test_of_many_sequences_a_share_is_kept_and_the_overlap_estimated(data, monkeypatch):
    monkeypatch.setattr(training_record, "MOST_KEPT", 50)
    half = data.take(slice(100))
    record = TrainingRecord.of(half)
    assert (len(record.hashes), record.n_distinct) == (50, 100)
    assert record.overlap(half) == 1.0
    assert record.overlap(data) == pytest.approx(0.5, abs=0.2)
    assert record.overlap(data.take(slice(100, None))) == 0.0


def test_files_keep_it_outside_the_content_hash(data, tmp_path):
    fit = fit_pseudolikelihood(data, "factored")
    fit.save(tmp_path / "fit.h5")
    found = load_fit(tmp_path / "fit.h5").training
    assert found.data_hash == fit.training.data_hash
    assert found.overlap(data) == 1.0
    assert found.repeat_share == 0.0
    replace(fit, training=None).save(tmp_path / "without.h5")
    assert content_hash(tmp_path / "without.h5") == content_hash(tmp_path / "fit.h5")
    assert load_fit(tmp_path / "without.h5").training is None


def test_more_hashes_than_an_attribute_of_old_hdf5_holds(data, rng, tmp_path):
    many = SequenceDataset(rng.integers(4, size=(20_000, 12)), 4)  # 160 kB; the bound was 64
    fit = replace(fit_pseudolikelihood(data, "factored"), training=TrainingRecord.of(many))
    fit.save(tmp_path / "fit.h5")
    found = load_fit(tmp_path / "fit.h5").training
    assert np.array_equal(found.hashes, np.unique(hashed(many)))
    assert found.overlap(many) == 1.0


def test_what_occurs_more_than_once_is_counted(data):
    twice = data.take(np.r_[np.arange(200), np.arange(50)])
    record = TrainingRecord.of(twice)
    assert record.repeat_share == pytest.approx(100 / 250)
    assert record.n_distinct == 200
    assert np.array_equal(record.hashes, np.unique(hashed(data)))
