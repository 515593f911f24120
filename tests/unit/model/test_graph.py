"""Neighbor lists against their arrays, and the pairs of users against what is wrong with them."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
from conftest import random_couplings
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError
from pottsattn.model.couplings import Couplings
from pottsattn.model.ensembles import chain, lattice_2d
from pottsattn.model.graph import NeighborLists, read_edges
from pottsattn.model.potts import PottsModel


def random_interactions(rng, n_heads=2, length=6, share=0.4):
    """Return (H, L, L) with zeros; some entries are zero in one head only, one row in all."""
    interactions = rng.normal(size=(n_heads, length, length))
    interactions[rng.random(interactions.shape) > share] = 0.0
    interactions[:, 2] = 0.0
    return interactions


def test_neighbor_lists_match_nested_loops(row_couplings):
    if not row_couplings.is_factored:
        with pytest.raises(TypeError, match="dense"):
            row_couplings.neighbor_lists()
        return
    interactions, _ = row_couplings.factors()
    lists = row_couplings.neighbor_lists()
    assert (lists.starts.dtype, lists.neighbors.dtype) == (np.int64, np.int64)
    assert lists.starts.shape == (5,)
    assert lists.interactions.shape == (len(interactions), lists.starts[-1])
    for i in range(4):
        entries = slice(lists.starts[i], lists.starts[i + 1])
        neighbors = [j for j in range(4) if any(head[i, j] != 0.0 for head in interactions)]
        assert lists.neighbors[entries].tolist() == neighbors
        assert_array_equal(lists.interactions[:, entries], interactions[:, i, neighbors])


def test_entries_in_any_order_add_up_and_zeros_are_left_out(rng):
    interactions = random_interactions(rng)
    sites, neighbors = np.indices((6, 6)).reshape(2, -1)
    order = rng.permutation(72)
    lists = NeighborLists.from_entries(
        6,
        np.tile(sites, 2)[order],
        np.tile(neighbors, 2)[order],
        np.tile(interactions.reshape(2, -1), 2)[:, order],
    )
    expected = NeighborLists.from_dense(2.0 * interactions)
    for name in ("starts", "neighbors", "interactions"):
        assert_array_equal(getattr(lists, name), getattr(expected, name))
    assert lists.interactions.any(axis=0).all()
    assert len(expected.neighbors) == (interactions != 0.0).any(axis=0).sum() < 36


def test_operations_match_their_arrays(rng):
    first, second = random_interactions(rng), random_interactions(rng, n_heads=3)
    lists, other = NeighborLists.from_dense(first), NeighborLists.from_dense(second)
    transposed = first.transpose(0, 2, 1)
    assert_array_equal(lists.to_dense(), first)
    assert_array_equal(lists.transposed().to_dense(), transposed)
    assert_array_equal(lists.symmetrized().to_dense(), (first + transposed) / 2.0)
    assert_array_equal(lists.stacked(other).to_dense(), np.concatenate([first, second]))
    assert_array_equal(lists.scaled(-2.0).to_dense(), -2.0 * first)
    assert_array_equal(lists.diagonal(), np.einsum("hii->hi", first))
    assert_array_equal([matrix.toarray() for matrix in lists.matrices()], first)
    assert_allclose(lists.row_sums(), first.sum(axis=2), atol=1e-15)
    gram = np.einsum("hij,gij->hg", first, second)
    assert_allclose(lists.gram(other), gram, atol=1e-14)
    assert_allclose(lists.gram(second), gram, atol=1e-14)


def test_pairs_name_each_pair_once_and_keep_both_directions(rng):
    interactions = random_interactions(rng) * (1.0 - np.eye(6))
    lists = NeighborLists.from_dense(interactions)
    edges, (forward, backward) = lists.pairs()
    either = (interactions + 2.0 * interactions.transpose(0, 2, 1) != 0.0).any(axis=0)
    assert edges.tolist() == np.argwhere(np.triu(either)).tolist()
    assert_array_equal(forward, interactions[:, edges[:, 0], edges[:, 1]])
    again = NeighborLists.from_pairs(6, edges, forward, backward)
    assert_array_equal(again.to_dense(), interactions)


def test_no_interactions_at_all():
    empty = NeighborLists.from_dense(np.zeros((2, 5, 5)))
    assert_array_equal(empty.starts, np.zeros(6))
    assert empty.interactions.shape == (2, 0)
    for lists in (empty.transposed(), empty.symmetrized(), empty.scaled(2.0)):
        assert_array_equal(lists.to_dense(), np.zeros((2, 5, 5)))
    assert_array_equal(empty.gram(empty), np.zeros((2, 2)))
    assert_array_equal(empty.row_sums(), np.zeros((2, 5)))
    assert empty.pairs()[0].shape == (0, 2)


def test_sparse_couplings_build_no_square_array(rng, monkeypatch):
    couplings = random_couplings("sparse two-heads", rng)

    def refuse(self):
        raise AssertionError("built (L, L)")

    monkeypatch.setattr(NeighborLists, "to_dense", refuse)
    states = np.zeros((2, 4), dtype=np.uint8)
    for other in (couplings.scaled(2.0), couplings.transposed(), couplings.symmetrized()):
        assert other.is_sparse
        assert other.is_factored
        other.logits(states)
    assert couplings.zero_sum(np.zeros((4, 3)))[1].is_sparse
    couplings.diagonal(), couplings.symmetrized_row(1), couplings.neighbor_lists()
    with pytest.raises(AssertionError, match="built"):
        couplings.factors()


EDGES = "# a triangle and a tail\n0 1 0.5\n1, 2,-2e-1\n\n2\t0   # a strength of 1\n2 5\n"


@pytest.mark.parametrize("compress", [False, True])
def test_read_edges(tmp_path, compress):
    path = tmp_path / "edges"
    data = EDGES.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if compress else data)
    edges, strengths = read_edges(path)
    assert edges.dtype == np.int64
    assert edges.tolist() == [[0, 1], [1, 2], [2, 0], [2, 5]]
    assert strengths.tolist() == [0.5, -0.2, 1.0, 1.0]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"0 1\n0\n", r"edges, line 2: expected two sites .*got '0'"),
        (b"# head\n0 1 2 3\n", r"line 2: expected two sites .*got '0 1 2 3'"),
        (b"0 x\n", r"line 1: .*got '0 x'"),
        (b"0 1.0\n", r"line 1: expected two sites"),
        (b"0 1 nan\n", r"line 1: .*got '0 1 nan'"),
        (b"0 1\n\n3 3\n", r"line 3: site 3 is joined with itself"),
        (b"0 1\n2 1\n1 0 2\n", r"line 3: the pair 0 1 is already in line 1"),
        (b"-1 2\n", r"line 1: sites count from 0"),
        (b"1 99999999999\n", r"line 1: sites count from 0 to at most"),
        (b"# nothing\n", "holds no pair"),
        (b"\xff\xfe\x00", "not a text file"),
        (gzip.compress(EDGES.encode(), mtime=0)[:-9], "damaged gzip"),
        (b"\x1f\x8bno gzip", "cannot read"),
    ],
)
def test_wrong_edge_files_are_refused_by_line(tmp_path, content, text):
    path = tmp_path / "edges"
    path.write_bytes(content)
    with pytest.raises(InputError, match=text):
        read_edges(path)


def test_missing_edge_file(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(InputError, match=f"cannot read {path}"):
            read_edges(path)


def test_energy_looks_pairs_up_in_blocks(rng, monkeypatch):
    monkeypatch.setattr("pottsattn.model.graph.PAIRS_BLOCK", 30)
    lists = random_couplings("sparse two-heads", rng, length=5)
    model = PottsModel(np.zeros((5, 3)), lists.symmetrized())
    states = rng.integers(3, size=(25, 5), dtype=np.uint8)
    dense = PottsModel.dense(model.to_dense())
    assert_allclose(model.energy(states), dense.energy(states), atol=1e-13)


def test_from_edges_is_the_standard_model_of_its_pairs(rng):
    fields = rng.normal(size=(6, 3))
    model = PottsModel.from_edges(
        [(0, 3), (4, 1)], n_states=3, strengths=[0.5, -2.0], fields=fields, length=6
    )
    expected = np.zeros((6, 6, 3, 3))
    expected[0, 3] = expected[3, 0] = 0.5 * np.eye(3)
    expected[1, 4] = expected[4, 1] = -2.0 * np.eye(3)
    assert model.couplings.is_sparse
    assert_array_equal(model.to_dense(), expected)
    assert_array_equal(model.fields, fields)
    ring = PottsModel.from_edges([(1, 0), (1, 2)], color_similarity=np.ones((2, 2)), strengths=3)
    assert (ring.length, ring.n_states) == (3, 2)
    none = PottsModel.from_edges(np.zeros((0, 2), dtype=int), n_states=2, length=3)
    assert_array_equal(none.energy([[0, 1, 1]]), [0.0])
    assert_array_equal(ring.to_dense()[1, 0], np.full((2, 2), 3.0))


TAIL = np.array([[0, 1], [1, 2]])


@pytest.mark.parametrize(
    ("edges", "options", "text"),
    [
        ([(0, 1), (2, 2)], {}, r"join two sites, found edge 1: \(2, 2\)"),
        ([(0, 1), (1, -1)], {}, r"sites 0..1, found edge 1: \(1, -1\)"),
        (TAIL, {"length": 2}, r"sites 0..1, found edge 1: \(1, 2\)"),
        ([(0, 1), (1, 2), (1, 0)], {}, r"found edge 0: \(0, 1\) and edge 2: \(1, 0\)"),
        (np.zeros((0, 2), dtype=int), {}, "edges is empty: give length"),
        ([0, 1], {}, r"shape \(n_edges, 2\), got shape \(2,\)"),
        (TAIL + 0.5, {}, "integers .*float64"),
        (TAIL, {"strengths": [1.0]}, r"strengths must have shape \(2\)"),
        (TAIL, {"strengths": np.nan}, "strengths must be finite"),
        (TAIL, {"color_similarity": np.eye(4)}, "color_similarity"),
        (TAIL, {"color_similarity": np.arange(9.0).reshape(3, 3)}, "symmetric"),
        (TAIL, {"n_states": None}, "give n_states"),
        (TAIL, {"fields": np.zeros((2, 3))}, "fields"),
    ],
)
def test_wrong_edges_are_named(edges, options, text):
    with pytest.raises(InputError, match=text):
        PottsModel.from_edges(edges, **{"n_states": 3, **options})


@pytest.mark.parametrize("length", [65, 1025])
def test_sparse_models_stay_sparse_in_files(tmp_path, length):
    import h5py

    model = chain(length, 3, 0.7)
    path = tmp_path / "model.h5"
    model.save(path)
    loaded = PottsModel.load(path)
    assert loaded.couplings.is_sparse
    own, read = model.couplings.neighbor_lists(), loaded.couplings.neighbor_lists()
    for name in ("starts", "neighbors", "interactions"):
        assert_array_equal(getattr(read, name), getattr(own, name))
    with h5py.File(path) as file:  # as docs/formats.md says
        group = file["model"]
        assert_array_equal(group["color_similarity"], np.eye(3)[None])
        if length <= 1024:
            assert_array_equal(group["interactions"], own.to_dense())
        else:
            left = np.arange(length - 1)
            assert_array_equal(group["edges"], np.stack([left, left + 1], axis=1))
            assert_array_equal(group["strengths"], np.full((1, length - 1), 0.7))
            assert set(group) == {"fields", "color_similarity", "edges", "strengths"}


def test_edges_of_heads_that_are_symmetric_in_sum_only(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("pottsattn.model.potts.WRITTEN_AS_ARRAY", 1)
    interactions = random_interactions(rng, n_heads=1) * (1.0 - np.eye(6))
    couplings = Couplings(NeighborLists.from_dense(interactions), rng.normal(size=(1, 3, 3)))
    model = PottsModel(np.zeros((6, 3)), couplings.symmetrized())
    model.save(tmp_path / "model.h5")
    loaded = PottsModel.load(tmp_path / "model.h5")
    assert not np.array_equal(interactions[0], interactions[0].T)
    assert loaded.couplings.is_sparse
    assert_array_equal(loaded.couplings.factors()[0], model.couplings.factors()[0])


def test_a_large_lattice_fits_in_little_memory():
    tracemalloc.start()
    model = lattice_2d(128**2, 3, 1.0).scaled(0.5)
    states = np.zeros((2, 128**2), dtype=np.uint8)
    assert_allclose(model.energy(states), -(128.0**2))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e7  # bytes; one (L, L) array would take 2e9
