"""Reading alignments: what is kept, what is dropped, and what the message says."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse.csgraph import connected_components

from pottsattn import InputError
from pottsattn.data.alignment.alphabets import ALPHABETS
from pottsattn.data.alignment.identity import identity_clusters, sequence_weights
from pottsattn.data.alignment.reading import Alignment, read_alignment


@pytest.fixture
def write(tmp_path):
    def _write(content, name="a.fasta"):
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return _write


def letters(alignment):
    return ["".join(alignment.alphabet[a] for a in row) for row in alignment.sequences]


@pytest.mark.parametrize(
    "content",
    [
        ">one\nMKL-\n>two\nMRLW\n",
        "\n>one desc\nMK\nL-\n\n>two\nM\nRLW",  # wrapped, blank lines, no newline at the end
        ">one\r\nMK\r\nL-\r\n>two\r\nMR LW \r\n",
        ">one\rMKL-\r>two\rMRLW\r",
        ">one\nMKLaa.-\n>two\nMRL..wW\n",  # an insert column is lower case or '.' in every row
        ">one\nmKL.\n>two\nMrLW\n",  # any other lower case is upper case, and '.' a gap
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_one_alignment_in_many_forms(write, content, compress):
    raw = gzip.compress(content.encode()) if compress else content
    alignment = read_alignment(write(raw))
    assert letters(alignment) == ["MKL-", "MRLW"]
    assert (alignment.kind, alignment.gap_index, alignment.n_read) == ("protein", 0, 2)
    assert alignment.alphabet == ALPHABETS["protein"]
    assert alignment.columns.tolist() == [1, 2, 3, 4]


def test_inserts_are_counted_and_said(write):
    alignment = read_alignment(write(">1\nMa.KL\n>2\nM.cRL\n"))
    assert letters(alignment) == ["MKL", "MRL"]
    assert alignment.n_insert_columns == 2
    assert alignment.summary == "2 sequences of 3 protein columns, 2 insert columns dropped"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (">1\nACGT-\n>2\nACGTN\n", "DNA"),
        (">1\nacgtA\n>2\nACGTA\n", "DNA"),
        (">1\nACGU-\n>2\nACGUR\n", "RNA"),
        (">1\nACGTE\n", "protein"),
        (">1\nACGTU\n>2\nACGTA\n", "DNA"),  # the bulk decides: U is read as T
        (">1\nACGTU\n>2\nACGUU\n", "RNA"),
        (">1\nNRDK\n>2\nASVH\n", "protein"),  # ambiguity codes, hardly any base
        (">1\n----\n", "protein"),
    ],
)
def test_alphabet_is_detected(write, content, kind):
    assert read_alignment(write(content)).kind == kind


UNKNOWN = ">1\nMKLX\n>2\nMRLW\n>3\nBKXW\n"


def test_unknown_letters_drop_their_sequence(write):
    alignment = read_alignment(write(UNKNOWN))
    assert letters(alignment) == ["MRLW"]
    assert (alignment.n_read, alignment.unknown) == (3, {"X": 2, "B": 1})
    assert "2 sequences dropped for letters B x 1, X x 2" in alignment.summary


def test_unknown_letters_become_gaps(write):
    alignment = read_alignment(write(UNKNOWN), unknown="gap")
    assert letters(alignment) == ["MKL-", "MRLW", "-K-W"]
    assert alignment.unknown == {"X": 2, "B": 1}
    assert "letters B x 1, X x 2 read as gaps" in alignment.summary


@pytest.mark.parametrize(
    ("content", "unknown", "text"),
    [
        (UNKNOWN, "error", r"'X' in record 1 \(1\), column 4, is an ambiguity code"),
        (UNKNOWN, "dorp", "unknown must be one of .*did you mean drop"),
        (">1\nMKLW\n>2 x\nMK*W\n", "gap", r"'\*' in record 2 \(2 x\), column 3, is in no alphabet"),
        (">1\nMKLX\n", "drop", "all 1 sequences hold ambiguity codes.*'gap'"),
        (">1\nMKL\n>two\nMK\n", "drop", r"record 2 \(two\) has 2 columns, the first record has 3"),
        (">\nMKL\n>\nMK\n", "drop", r"record 2 \(#2\)"),
        (">1\n>2\n", "drop", "the sequences are empty"),
        ("", "drop", "is empty"),
        (" \n\n", "drop", "is empty"),
        (
            "AC GT\n",
            "drop",
            "cannot tell the format .* line 1 starts with 'AC GT', expected an",
        ),
        ("# STOCKHOLM 1.0\n", "drop", "does not end with '//'"),
        (b">1\nMK\x00L\n", "drop", "is a binary file"),
        (">1\nmkl\n>2\nmk.\n", "drop", "every column is an insert.*upper case"),
        (">1\nM\n>2\nK\n", "drop", "length must be at least 2, got 1"),
        (gzip.compress(b">1\nMKL\n" * 99, mtime=0)[:-12], "drop", "damaged gzip"),
        (b"\x1f\x8b\x00garbage", "drop", "damaged gzip"),
    ],
)
def test_wrong_alignments_are_named(write, content, unknown, text):
    path = write(content)
    with pytest.raises(InputError, match=text) as caught:
        read_alignment(path, unknown=unknown)
    assert str(path) in str(caught.value) or unknown == "dorp"


@pytest.mark.parametrize(("name", "text"), [("", "directory"), ("no.fa", "No such file")])
def test_unreadable_paths_are_named(tmp_path, name, text):
    with pytest.raises(InputError, match=text):
        read_alignment(tmp_path / name)


def test_any_bytes_give_an_alignment_or_a_clear_error(write):
    rng = np.random.default_rng(5)
    seeds = [
        b">one\nMKL-\n>two\nMRLW\n>three\nMKaX\n",
        b">1\r\nACGT-N\r\n>2\r\nAC..aT\r\n",
        gzip.compress(b">one\nMKL-\n>two\nMRLW\n", mtime=0),
    ]
    alphabet = np.frombuffer(b">\n\r .-acgtACGTMKLX*\x00\xff\x1f\x8b", dtype=np.uint8)
    n_read, messages = 0, []
    for trial in range(200):
        if trial % 4 == 3:
            content = rng.choice(alphabet, size=rng.integers(40)).tobytes()
        else:
            mutated = np.frombuffer(seeds[trial % 4], dtype=np.uint8).copy()
            places = rng.integers(len(mutated), size=rng.integers(1, 4))
            mutated[places] = rng.choice(alphabet, size=len(places))
            content = mutated.tobytes()[: rng.integers(1, 3 * len(mutated))]
        path = write(content)
        try:
            alignment = read_alignment(path, unknown=rng.choice(["drop", "gap", "error"]))
        except InputError as error:
            messages.append(str(error))
            continue
        assert isinstance(alignment, Alignment)
        n_sequences, length = alignment.sequences.shape
        assert 1 <= n_sequences <= alignment.n_read
        assert length == len(alignment.columns) >= 2
        assert alignment.sequences.max() < len(alignment.alphabet)
        n_read += 1
    assert n_read >= 20
    assert len(messages) >= 20
    assert not any("\n" in message for message in messages)


@pytest.fixture
def family(rng):
    """Copies of few ancestors with mutations: clusters of all sizes, chained ones too."""
    ancestors = rng.integers(4, size=(12, 20))
    sequences = ancestors[rng.integers(12, size=600)]
    mutated = rng.uniform(size=sequences.shape) < 0.15
    return np.where(mutated, rng.integers(4, size=sequences.shape), sequences).astype(np.uint8)


def identities(sequences):
    return (sequences[:, None, :] == sequences[None, :, :]).mean(axis=2)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.85, 1.0])
def test_weights_match_the_quadratic_reference(family, threshold):
    expected = 1.0 / (identities(family) >= threshold - 1e-12).sum(axis=1)
    for n_threads in (1, 2):
        weights = sequence_weights(family, threshold, n_threads=n_threads)
        assert_allclose(weights, expected, rtol=0)


@pytest.mark.parametrize("n_states", [2, 21, 256])
@pytest.mark.parametrize("shape", [(1, 2), (15, 63), (16, 64), (17, 65), (300, 200), (1100, 130)])
def test_counts_are_exact_for_every_number_of_words_blocks_and_tiles(rng, shape, n_states):
    n_sequences, length = shape
    ancestors = rng.integers(n_states, size=(7, length))
    sequences = ancestors[rng.integers(7, size=n_sequences)]
    rate = rng.choice([0.0, 0.05, 0.12, 0.3], size=(n_sequences, 1))
    mutated = rng.uniform(size=shape) < rate
    sequences = np.where(mutated, rng.integers(n_states, size=shape), sequences).astype(np.uint8)
    sequences[::5] = 0  # as empty places of a block
    n_equal = np.stack([(sequences == one).sum(axis=1) for one in sequences])
    for threshold in (0.8, 1.0):
        limit = int((1.0 - threshold) * length + 1e-9)
        expected = (length - n_equal <= limit).sum(axis=1)
        for n_threads in (1, 3):
            weights = sequence_weights(sequences, threshold, n_threads=n_threads)
            assert np.array_equal(weights, 1.0 / expected)
        n_clusters, _ = connected_components(length - n_equal <= limit)
        assert identity_clusters(sequences, threshold).max() + 1 == n_clusters


@pytest.mark.parametrize("threshold", [0.8, 0.9])
def test_clusters_are_connected_components(family, threshold):
    n_clusters, expected = connected_components(identities(family) >= threshold - 1e-12)
    labels = identity_clusters(family, threshold)
    assert 12 < n_clusters < 600
    assert labels.max() == n_clusters - 1
    assert len(set(zip(labels.tolist(), expected.tolist(), strict=True))) == n_clusters


@pytest.mark.parametrize("threshold", [0.0, 1.01, np.nan])
def test_impossible_thresholds_are_refused(family, threshold):
    with pytest.raises(InputError, match="identity_threshold"):
        sequence_weights(family, threshold)


def test_a_real_family_reads_as_documented(data_dir):
    alignment = read_alignment(data_dir / "PF00014.fasta.gz", unknown="gap")
    assert (alignment.kind, alignment.n_read) == ("protein", 4915)
    assert alignment.sequences.shape == (4915, 53)
    weights = sequence_weights(alignment.sequences, 0.8)
    assert 1.0 < weights.sum() < len(weights)
