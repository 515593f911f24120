"""Sequence files: reads equal the array in memory, no chunk is read twice, errors are told."""

from __future__ import annotations

import gc
import os
import pickle
import tracemalloc
from multiprocessing import get_context

import h5py
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from pottsattn import InputError, SequenceDataset
from pottsattn.data import ChunkShuffle, SequenceFile, TorchSequences
from pottsattn.data import sequence_file as reading_module

N_SEQUENCES, LENGTH = 1003, 12  # the last chunk is shorter
LAYOUTS = {
    "rows": {"chunks": (100, LENGTH), "compression": "gzip"},
    "both ways": {"chunks": (126, 5), "compression": "gzip", "shuffle": True},
    "one": {"chunks": (4096, LENGTH), "maxshape": (None, LENGTH)},  # larger than the data
    "contiguous": {},
}


@pytest.fixture
def states(rng):
    return rng.integers(3, size=(N_SEQUENCES, LENGTH), dtype=np.uint8)


@pytest.fixture
def make(tmp_path, states):
    def make_file(layout="rows", weights=None, name="data.h5", array=states):
        path = tmp_path / name
        SequenceDataset(array, 3, weights=weights, alphabet="-AB", gap_index=0).save(path)
        with h5py.File(path, "r+") as file:
            del file["sequences"]
            file.create_dataset("sequences", data=array, **LAYOUTS[layout])
        return path

    return make_file


@pytest.fixture
def reads(monkeypatch):
    """Numbers of the chunks that were read from disk."""
    numbers = []
    read = reading_module._read_chunk

    def counted(*args):
        numbers.append(args[-1])
        return read(*args)

    monkeypatch.setattr(reading_module, "_read_chunk", counted)
    return numbers


NOTHING: list[int] = []
INDICES = {
    "all": slice(None),
    "part": slice(95, 310),
    "inside": slice(110, 120),
    "last": slice(-7, None),
    "beyond": slice(990, 5000),
    "empty": slice(20, 20),
    "empty backwards": slice(150, 50),
    "beyond the end": slice(2000, 3000),
    "reversed": slice(None, None, -1),
    "steps": slice(3, 900, 70),
    "steps back": slice(-1, 5, -131),
    "first": 0,
    "from the end": -1,
    "numpy integer": np.int32(400),
    "sorted": np.array([0, 99, 100, 101, 1002]),
    "unsorted": np.array([1002, 5, 700, 5, -1, 6]),
    "small unsigned": np.array([255, 3], dtype=np.uint8),
    "list": [3, 1],
    "empty list": NOTHING,
    "mask": np.arange(N_SEQUENCES) % 97 == 3,
    "empty mask": np.zeros(N_SEQUENCES, dtype=bool),
    "tensor": torch.tensor([900, 20]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_index_gives_what_the_array_gives(make, states, reads, layout, index):
    path = make(layout)
    for cache_bytes in (0, 1 << 20):
        found = SequenceFile(path, cache_bytes=cache_bytes)[index]
        assert found.dtype == np.uint8
        assert_array_equal(found, states[np.s_[:0] if index is NOTHING else index], strict=True)
        assert sorted(reads) == sorted(set(reads)), "a chunk was read twice"
        reads.clear()


def test_results_are_copies(make, states):
    file = SequenceFile(make())
    for index in (3, slice(0, 50), [1, 2]):
        file[index][:] = 9
        assert_array_equal(file[index], states[index])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("most", [None, 1, 30, 100, 250, 5000])
def test_chunks_are_all_sequences_in_order(make, states, reads, layout, most):
    file = SequenceFile(make(layout), cache_bytes=0)
    found = list(file.chunks(most))
    assert_array_equal(np.concatenate(found), states, strict=True)
    assert max(map(len, found)) <= (most or file.chunk_size)
    assert len(reads) == -(-N_SEQUENCES // file.chunk_size)


def test_random_rows_of_a_file_that_h5py_chunked(tmp_path, reads, rng):
    array = rng.integers(3, size=(20_000, 30), dtype=np.uint8)
    SequenceDataset(array, 3).save(tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5") as file:
        rows, columns = file["sequences"].chunks
    assert rows < 5000
    assert columns < 30
    wanted = rng.integers(20_000, size=10_000)
    assert_array_equal(SequenceFile(tmp_path / "data.h5", cache_bytes=0)[wanted], array[wanted])
    assert sorted(reads) == list(range(-(-20_000 // rows)))


def test_memory_is_bounded(tmp_path, rng):
    array = rng.integers(3, size=(20_000, 200), dtype=np.uint8)
    path = tmp_path / "long.h5"
    SequenceDataset(array, 3).save(path)
    with h5py.File(path, "r+") as file:
        del file["sequences"]
        file.create_dataset("sequences", data=array, chunks=(500, 200), compression="gzip")

    def peak(cache_bytes):
        file = SequenceFile(path, cache_bytes=cache_bytes)
        file[0]  # what opening takes
        gc.collect()
        tracemalloc.start()
        for chunk in file.chunks():
            del chunk
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(0) < 4 * 100_000
    assert 5 * 100_000 < peak(1_000_000) < 14 * 100_000
    assert peak(1 << 30) > array.nbytes * 0.9  # the bound is what bounds it


def test_data_set_of_a_part_keeps_weights_model_and_labels(tmp_path, model, rng):
    path = tmp_path / "data.h5"
    whole = SequenceDataset(
        rng.integers(3, size=(40, 4)),
        3,
        weights=rng.uniform(0.1, 1.0, size=40),
        alphabet="-AB",
        gap_index=0,
        columns=[2, 3, 5, 9],
        model=model,
        origin={"phase_zone": "safe", "seed_entropy": "12"},
    )
    whole.save(path)
    loaded = SequenceDataset.load(path)
    file = SequenceFile(path)
    assert len(file) == file.n_sequences == 40
    for index in (slice(5, 20), [7, 3], np.arange(40) < 9, slice(None)):
        part, expected = file.dataset(index), loaded.take(index)
        for name in ("sequences", "weights", "columns"):
            assert_array_equal(getattr(part, name), getattr(expected, name), strict=True)
        for name in ("n_states", "alphabet", "gap_index", "origin"):
            assert getattr(part, name) == getattr(expected, name)
        assert_array_equal(part.model.to_dense(), model.to_dense())
    assert file.dataset(-1).weights == whole.weights[-1:]
    with pytest.raises(InputError, match="empty"):
        file.dataset(slice(3, 3))
    assert SequenceFile(path).dataset().model is not None


def test_without_weights_model_and_gap(tmp_path):
    path = tmp_path / "data.h5"
    SequenceDataset([[0, 1, 2]], 3).save(path)
    file = SequenceFile(path)
    assert (file.weights, file.model, file.gap_index, file.alphabet) == (None, None, None, "")
    assert file.dataset().weights is None
    assert "n_sequences=1, length=3, n_states=3" in repr(file)


@pytest.mark.parametrize("index", [N_SEQUENCES, -N_SEQUENCES - 1, [0, 5000], [True, False]])
def test_index_outside_is_an_index_error(make, index):
    with pytest.raises(IndexError, match="1003"):
        SequenceFile(make())[index]


@pytest.mark.parametrize("index", [True, 1.0, "a", None, (1, 2), [0.5], [[1]], np.bool_(True)])
def test_index_of_a_wrong_kind_is_a_type_error(make, index):
    with pytest.raises(TypeError, match="index must"):
        SequenceFile(make())[index]


def test_iteration_ends(make, states):
    assert_array_equal(list(SequenceFile(make())), states)


def test_closes_and_opens_again(make, states):
    fcntl = pytest.importorskip("fcntl")
    path = make()
    with SequenceFile(path) as file:
        assert file._handle is None  # lazily
        assert_array_equal(file[3], states[3])
        handle = file._handle.file
    assert not handle
    assert_array_equal(file[3], states[3])
    with path.open("r+b") as writer:
        with pytest.raises(BlockingIOError):
            fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
        del file, handle  # with its last user, not at the next collection
        fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_path_outlives_a_change_of_directory(make, states, tmp_path, monkeypatch):
    path = make()
    monkeypatch.chdir(tmp_path)
    file = SequenceFile(path.name)
    monkeypatch.chdir("/")
    assert_array_equal(file[3], states[3])


def test_pickles_small(make, states, rng):
    weights = rng.uniform(size=N_SEQUENCES)
    file = SequenceFile(make(weights=weights), cache_bytes=1 << 20)
    file[:], file.weights, file.model
    data = pickle.dumps(file)
    assert len(data) < 3000
    copy = pickle.loads(data)
    assert_array_equal(copy[5:200], states[5:200])
    assert_array_equal(copy.weights, weights)
    assert copy.n_cached_chunks == file.n_cached_chunks


def _sums(file, queue):
    for _ in range(5):
        total = sum(int(chunk.sum()) for chunk in file.chunks())
        queue.put((total, file._handle.process == os.getpid()))
        file.close()


def test_parent_and_forked_children_read_at_the_same_time(make, states):
    context = get_context("fork")
    file = SequenceFile(make(), cache_bytes=0)
    file[0]
    inherited = file._handle
    queue = context.Queue()
    children = [context.Process(target=_sums, args=(file, queue)) for _ in range(2)]
    for child in children:
        child.start()
    for _ in range(5):
        assert_array_equal(file[:], states)
    assert [queue.get(timeout=20) for _ in range(10)] == [(states.sum(), True)] * 10
    for child in children:
        child.join()
    assert file._handle is inherited


def test_only_sequence_files_are_read(tmp_path, tiny_model):
    path = tmp_path / "model.h5"
    tiny_model.save(path)
    with pytest.raises(InputError, match=r"expected pottsattn\.sequences/1"):
        SequenceFile(path)
    with pytest.raises(InputError, match="no such file"):
        SequenceFile(tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("sequences", "text"),
    [
        (np.zeros((4, 12), dtype=np.int64), r"uint8 of shape .* got int64"),
        (np.zeros((4, 3), dtype=np.uint8), r"\(M, L\) \(.*L = 12 of attribute columns\), found"),
        (np.zeros(4, dtype=np.uint8), r"sequences must be .* found uint8 of shape \(4,\)"),
        (None, "damaged or incomplete"),
    ],
)
def test_spoiled_files_are_named(make, sequences, text):
    path = make()
    with h5py.File(path, "r+") as file:
        del file["sequences"]
        if sequences is not None:
            file["sequences"] = sequences
    with pytest.raises(InputError, match=text) as caught:
        SequenceFile(path)
    assert str(path) in str(caught.value)


def test_states_out_of_range_are_found_where_they_are(make, states):
    path = make()
    with h5py.File(path, "r+") as file:
        file["sequences"][250, 3] = 7
    file = SequenceFile(path)
    assert_array_equal(file[:200], states[:200])
    with pytest.raises(InputError, match=r"states 0\.\.2, found 7 in sequences 200\.\.299"):
        file[299]


def test_damaged_chunk_is_named(make, states):
    path = make()
    with h5py.File(path) as file:
        place = file["sequences"].id.get_chunk_info(2)
    with path.open("r+b") as stream:
        stream.seek(place.byte_offset)
        stream.write(b"\xff" * place.size)
    file = SequenceFile(path)
    assert_array_equal(file[:200], states[:200])
    with pytest.raises(InputError, match="damaged from sequence 200 on"):
        file[:]


def test_another_file_in_its_place_is_noticed(make, states):
    path = make(weights=np.ones(N_SEQUENCES))
    copy = pickle.dumps(SequenceFile(path))
    opened = SequenceFile(path)
    opened[0]
    os.replace(make(name="other.h5", array=states[:500]), path)
    assert_array_equal(opened[:], states)  # an open file stays what it was
    for read in (lambda file: file[0], lambda file: file.weights):
        with pytest.raises(InputError, match="not the file it was"):
            read(pickle.loads(copy))


def test_a_locked_file_is_waited_for(make, states, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    path = make()
    file = SequenceFile(path)
    with path.open("r+b") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        monkeypatch.setattr("pottsattn._core.storage.LOCK_PATIENCE", 0.0)
        for read in (SequenceFile, SequenceDataset.load, lambda path: file[0]):
            with pytest.raises(InputError, match="locked, as by a program that writes to it"):
                read(path)
        monkeypatch.setattr("pottsattn._core.storage.LOCK_PATIENCE", 60.0)
        monkeypatch.setattr(
            "pottsattn._core.storage.time.sleep", lambda s: fcntl.flock(writer, fcntl.LOCK_UN)
        )
        assert_array_equal(file[0], states[0])


def test_torch_items_and_batches(make, states):
    data = TorchSequences(make(weights=np.arange(1.0, N_SEQUENCES + 1)))
    for index in INDICES.values():
        weights = data[index][1]
        assert weights.shape == data[index][0].shape[:-1]
    data = TorchSequences(make())
    assert len(data) == N_SEQUENCES
    assert data[3].dtype == torch.int64
    assert_array_equal(data[-1], states[-1])
    assert_array_equal(data[4:9], states[4:9])
    assert_array_equal(data[torch.tensor([9])], states[9:10])
    assert_array_equal(torch.stack(data.__getitems__([7, 500, 3])), states[[7, 500, 3]])
    assert TorchSequences(data.file, dtype=torch.uint8)[3].dtype == torch.uint8


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_loader_gives_every_sequence_once(make, states, is_weighted, n_workers, stacked):
    number = np.arange(1.0, N_SEQUENCES + 1)
    data = TorchSequences(make(weights=number if is_weighted else None), dtype=torch.uint8)
    order = ChunkShuffle(data, generator=torch.Generator().manual_seed(1))
    if stacked:
        batches = BatchSampler(order, 64, drop_last=False)
        loader = DataLoader(data, batch_size=None, sampler=batches, num_workers=n_workers)
    else:
        loader = DataLoader(data, batch_size=64, sampler=order, num_workers=n_workers)
    assert len(loader) == 16
    expected = list(ChunkShuffle(data, generator=torch.Generator().manual_seed(1)))
    assert sorted(expected) == list(range(N_SEQUENCES))
    found = list(loader)
    if is_weighted:
        assert_array_equal(torch.cat([weights for _, weights in found]), number[expected])
        assert found[0][1].dtype == torch.float32
        found = [batch for batch, _ in found]
    assert_array_equal(torch.cat(found), states[expected])


@pytest.mark.parametrize("batch_size", [7, 64, 450])
def test_shuffled_epoch_reads_every_chunk_once(make, reads, batch_size):
    path = make()
    data = TorchSequences(SequenceFile(path, cache_bytes=3 * 100 * LENGTH))
    assert data.file.n_cached_chunks == 3

    def reads_of_an_epoch(order):
        data.file.close()
        reads.clear()
        for _ in DataLoader(data, batch_size=batch_size, sampler=order):
            pass
        return len(reads)

    order = ChunkShuffle(data, generator=torch.Generator().manual_seed(2))
    assert [reads_of_an_epoch(order) for _ in range(5)] == [11] * 5
    # The count can fail: a plain shuffle reads chunks again and again.
    assert reads_of_an_epoch(RandomSampler(data, generator=torch.Generator())) > 22


def test_shuffle_is_reproducible_and_new_in_every_epoch(make):
    data = TorchSequences(make())

    def epochs(n_taken):
        order = ChunkShuffle(data, generator=torch.Generator().manual_seed(3), n_buffer_chunks=2)
        first = [number for number, _ in zip(order, range(n_taken), strict=False)]
        return first, list(order)

    (short, after_short), (whole, after_whole) = epochs(10), epochs(N_SEQUENCES)
    assert short == whole[:10]
    assert after_short == after_whole != whole
    assert sorted(after_whole) == list(range(N_SEQUENCES))
    assert {number // 100 for number in whole[:100]} == {number // 100 for number in whole[:20]}
    fresh = [list(ChunkShuffle(data)) for _ in range(2)]
    assert fresh[0] != fresh[1]


@pytest.mark.parametrize(("n_buffer_chunks", "is_uniform"), [(4, True), (2, False)])
def test_shuffle_is_uniform_if_all_chunks_fit(tmp_path, n_buffer_chunks, is_uniform):
    path = tmp_path / "small.h5"
    SequenceDataset(np.zeros((8, 3), dtype=int), 2).save(path)
    with h5py.File(path, "r+") as file:
        del file["sequences"]
        file.create_dataset("sequences", data=np.zeros((8, 3), np.uint8), chunks=(2, 3))
    order = ChunkShuffle(
        TorchSequences(path),
        generator=torch.Generator().manual_seed(4),
        n_buffer_chunks=n_buffer_chunks,
    )
    n_epochs = 2000
    places = np.argsort([list(order) for _ in range(n_epochs)], axis=1)
    # Sequences 0 and 2 lie in different chunks: how far apart are they visited?
    distance = np.abs(places[:, 0] - places[:, 2])
    expected = 2.0 * (8 - np.arange(1, 8)) / 56.0
    counts = np.bincount(distance, minlength=8)[1:]
    z = (counts / n_epochs - expected) / np.sqrt(expected * (1.0 - expected) / n_epochs)
    assert (np.abs(z).max() < 5.0) == is_uniform


def test_wrong_shuffles_are_refused(make):
    file = SequenceFile(make(), cache_bytes=3000)
    with pytest.raises(TypeError, match="TorchSequences"):
        ChunkShuffle(file)
    with pytest.raises(InputError, match=r"at most the 2 chunks .* cache_bytes=3600"):
        ChunkShuffle(TorchSequences(file), n_buffer_chunks=3)
    with pytest.raises(InputError, match="at least 1"):
        ChunkShuffle(TorchSequences(file), n_buffer_chunks=0)
    with pytest.raises(InputError, match="at least 0"):
        SequenceFile(file.path, cache_bytes=-1)
