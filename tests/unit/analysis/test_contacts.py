"""Ranking of pairs against brute force; precision and distance files by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fit_factory import make_fit
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError
from pottsattn.analysis.contacts import ContactRanking, rank_contacts
from pottsattn.analysis.distances import read_distances
from pottsattn.model.couplings import Couplings


def scores_by_hand(dense: np.ndarray, gap_index: int | None) -> np.ndarray:
    """Return Frobenius norms after APC, element by element."""
    length, _, n_states, _ = dense.shape
    norms = np.zeros((length, length))
    for i in range(length):
        for j in range(length):
            if i != j:
                block = (dense[i, j] + dense[j, i].T) / 2.0
                block = block - block.mean(axis=0) - block.mean(axis=1)[:, None] + block.mean()
                kept = [a for a in range(n_states) if a != gap_index]
                norms[i, j] = math.sqrt(sum(block[a, b] ** 2 for a in kept for b in kept))
    means = [sum(norms[i]) / (length - 1) for i in range(length)]
    mean = sum(means) / length
    return norms - np.outer(means, means) / mean


@pytest.mark.parametrize("gap_index", [None, 0])
@pytest.mark.parametrize("columns", [None, [1, 2, 7, 9]])
def test_ranking_is_that_of_brute_force(row_couplings, gap_index, columns):
    fit = make_fit(
        row_couplings,
        gap_index=gap_index,
        columns=None if columns is None else np.array(columns, dtype=np.int32),
    )
    ranking = rank_contacts(fit, min_separation=2)
    numbers = columns or [1, 2, 3, 4]
    score = scores_by_hand(row_couplings.to_dense(), gap_index)
    expected = sorted(
        (
            (score[i, j], numbers[i], numbers[j])
            for i in range(4)
            for j in range(i + 1, 4)
            if numbers[j] - numbers[i] >= 2
        ),
        reverse=True,
    )
    found = zip(ranking.first.tolist(), ranking.second.tolist(), strict=True)
    assert list(found) == [(i, j) for _, i, j in expected]
    assert_allclose(ranking.score, [value for value, _, _ in expected], atol=1e-14)
    assert ranking.length == 4


def test_no_pair_far_enough_is_an_error(row_couplings):
    with pytest.raises(InputError, match="no pair of columns is 4 apart"):
        rank_contacts(make_fit(row_couplings), min_separation=4)


def ranking_of(pairs: list[tuple[int, int]], length: int) -> ContactRanking:
    first, second = (np.array(side, dtype=np.int32) for side in zip(*pairs, strict=True))
    score = np.arange(len(pairs), 0, -1.0)
    return ContactRanking(first, second, score, score, length)


def test_precision_by_hand():
    ranking = ranking_of([(1, 2), (1, 3), (2, 3), (1, 4), (2, 4)], length=2)
    known = {(1, 2): 3.0, (2, 3): 9.0, (1, 4): 7.9, (2, 4): 8.0, (5, 6): 1.0}  # (1, 3) unknown
    precision = ranking.precision(known, cutoff=8.0)
    assert (precision.n_pairs, precision.n_contacts) == (4, 2)
    assert_allclose(precision.curve, [1.0, 1 / 2, 2 / 3, 1 / 2])  # 8.0 is not below the cutoff
    assert precision.at == {"L/2": 1.0, "L": 0.5, "2L": 0.5}
    assert precision.area == pytest.approx((1 + 1 / 2 + 2 / 3 + 1 / 2) / 4)
    assert precision.to_dict()["n_contacts"] == 2
    assert_allclose(ranking.distances(known), [3.0, np.nan, 9.0, 7.9, 8.0])


def test_precision_is_nan_where_pairs_run_out():
    precision = ranking_of([(1, 2), (1, 3), (2, 3)], length=2).precision({(1, 2): 1.0, (1, 3): 9.0})
    assert precision.at["L/2"] == 1.0
    assert precision.at["L"] == 0.5
    assert math.isnan(precision.at["2L"])
    assert math.isnan(precision.area)
    with pytest.raises(InputError, match=r"1-2\) is among the known distances \(columns 3-4"):
        ranking_of([(1, 2)], length=2).precision({(3, 4): 1.0})


def test_csv_leaves_unknown_distances_empty(tmp_path):
    ranking = ranking_of([(1, 2), (1, 3)], length=3)
    ranking.to_csv(tmp_path / "a.csv", {(1, 3): 4.5})
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "rank,i,j,score,frobenius,distance",
        "1,1,2,2.0,2.0,",
        "2,1,3,1.0,1.0,4.5",
    ]
    ranking.to_csv(tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().startswith("rank,i,j,score,frobenius\n")


def test_distances_of_any_layout_are_read(tmp_path):
    file = tmp_path / "distances.txt"
    file.write_text("# i j d\n\n2 1 A B 3.5\n".replace("A B", "0 1") + "1,2,4.0\n3 5 0\n 4 9 7e0\n")
    assert read_distances(file) == {(1, 2): 3.5, (4, 9): 7.0}  # smallest wins, 0 is unknown


@pytest.mark.parametrize("row", ["1 2", "1 two 3", "1.5 2 3", "1 2 nan", "1 2 inf", "nan 2 3"])
def test_faulty_rows_are_named_by_line(tmp_path, row):
    file = tmp_path / "distances.txt"
    file.write_text(f"# comment\n1 2 3.0\n{row}\n")
    with pytest.raises(InputError, match=r"distances\.txt, line 3: "):
        read_distances(file)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"1 2 0\n"])
def test_files_without_distances_are_refused(tmp_path, content):
    file = tmp_path / "distances.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match="no known distance"):
        read_distances(file)


def test_unreadable_files_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, text in (("binary", "not a text file"), ("missing", "No such file")):
        with pytest.raises(InputError, match=f"{name}: {text}"):
            read_distances(tmp_path / name)


def test_a_planted_contact_ranks_first():
    rng = np.random.default_rng(5)
    interactions = 0.1 * rng.normal(size=(1, 8, 8)) * (1.0 - np.eye(8))
    interactions[0, 1, 7] = interactions[0, 7, 1] = 2.0
    ranking = rank_contacts(make_fit(Couplings(interactions, np.eye(4)[None])), min_separation=1)
    assert (ranking.first[0], ranking.second[0]) == (2, 8)
    assert_array_equal(np.sort(ranking.score)[::-1], ranking.score)
