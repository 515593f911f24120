"""Results show themselves in one line, and data sets and models do what Python expects of them."""

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch
from fit_factory import make_fit
from numpy.testing import assert_array_equal

from pottsattn import FactoredAttention, InputError, PottsModel, SequenceDataset, compare, sample
from pottsattn._core.display import LONGEST
from pottsattn.analysis.contacts import rank_contacts
from pottsattn.analysis.moments import compare_moments
from pottsattn.analysis.scoring import scan_mutations, score_sequences
from pottsattn.data.alignment.reading import read_alignment
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.model.exact import enumerate_states
from pottsattn.theory.ensemble import phase_zone, susceptibility_spectrum


@pytest.fixture
def data(tiny_model, rng):
    return SequenceDataset(rng.integers(3, size=(9, 4)), 3, model=tiny_model)


def test_results_show_themselves_in_one_line(tmp_path, tiny_model, data):
    fit = make_fit(tiny_model.couplings, tiny_model.fields)
    lines = "".join(f">a long name of sequence {n}\nACDEFGH\n" for n in range(500))
    (tmp_path / "a.fasta").write_text(lines)
    ranking = rank_contacts(fit, min_separation=1)
    alignment = read_alignment(tmp_path / "a.fasta")
    results = [
        alignment, alignment.numbering, data, tiny_model, tiny_model.couplings, fit, ranking,
        ranking.precision({(1, 2): 3.0}), compare({"fit": fit}, data), score_sequences(fit, data),
        scan_mutations(fit, data.sequences[0]), compare_moments(data, data),
        enumerate_states(tiny_model), phase_zone(3, 1.0), susceptibility_spectrum(1.0, 3),
        sample(tiny_model, 20, rng=1),
    ]  # fmt: skip
    for result in results:
        shown = repr(result)
        assert "\n" not in shown
        assert len(shown) <= LONGEST, shown
        assert type(result).__name__ in shown
    assert "names=<500 entries>" in repr(alignment)


def test_data_sets_are_sequences(tmp_path, data):
    data.save(tmp_path / "data.h5")
    with SequenceFile(tmp_path / "data.h5") as file:
        for one in (data, file):
            assert len(one) == 9
            assert_array_equal(np.asarray(one), data.sequences)
            assert np.asarray(one, dtype=float).dtype == float
            assert_array_equal(list(one), data.sequences)
    assert np.shares_memory(np.asarray(data), data.sequences)
    assert not np.shares_memory(np.array(data), data.sequences)


def test_a_model_equals_its_copy(tmp_path, model):
    model.save(tmp_path / "model.h5")
    for same in (copy.copy(model), copy.deepcopy(model), PottsModel.load(tmp_path / "model.h5")):
        assert same == model
        assert hash(same) == hash(model)
    other = copy.deepcopy(model)
    other.fields[0, 0] += 1e-12
    assert other != model
    assert model.scaled(2.0) != model
    assert model != "model"


def test_one_sequence_is_told_how(tiny_model):
    with pytest.raises(InputError, match=r"got one sequence of length 4: give \[sequence\]"):
        tiny_model.energy([0, 1, 2, 0])
    assert tiny_model.energy([[0, 1, 2, 0]]).shape == (1,)


@pytest.mark.parametrize("wrong", [None, 3, "fit.h5", object(), np.zeros((3, 4)), {"a": 1}, [1]])
def test_compare_names_objects_of_other_kinds(tiny_model, data, wrong):
    fit = make_fit(tiny_model.couplings, tiny_model.fields)
    calls = [((wrong, data), "fits"), (({"a": fit}, wrong), "test must be a SequenceDataset")]
    truth = 1 if wrong is None else wrong  # None is that of the data
    calls += [(({"a": wrong}, data), "fits"), (({"a": fit}, data, truth), "truth must be a")]
    for arguments, words in calls:
        with pytest.raises(TypeError, match=words):
            compare(*arguments)


@pytest.mark.parametrize(
    "network", [FactoredAttention(5, 3), MaskedTransformer(5, 3, width=8)], ids=["layer", "network"]
)
@pytest.mark.parametrize(
    ("sequences", "mask", "error"),
    [
        (torch.zeros(2, 5, dtype=torch.uint8), torch.zeros(2, 5), TypeError),
        (torch.zeros(2, 5, dtype=torch.uint8), torch.ones(2, 5, dtype=torch.uint8), TypeError),
        (torch.zeros(2, 5, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.bool), InputError),
        (torch.zeros(2, 5, dtype=torch.uint8), torch.zeros(5, dtype=torch.bool), InputError),
        (torch.zeros(2, 4, dtype=torch.uint8), None, InputError),
        (torch.zeros(2, 4, dtype=torch.uint8), torch.zeros(2, 4, dtype=torch.bool), InputError),
        (torch.zeros(5, dtype=torch.uint8), None, InputError),
        (torch.zeros(2, 5), None, TypeError),
    ],
)
def test_networks_refuse_other_types_and_lengths(network, sequences, mask, error):
    with pytest.raises(error, match="must"):
        network(sequences, mask)


def test_every_result_of_arrays_has_a_representation_of_its_own():
    from pottsattn.exchange.plmc_file import PlmcFile
    from pottsattn.fitting.record import History
    from pottsattn.spatial.run import AttentionMaps, SpatialHistory

    for kind in (PlmcFile, History, AttentionMaps, SpatialHistory):
        shown = repr(kind(*(np.zeros((30, 30)) for _ in fields(kind))))
        assert "float64(30, 30)" in shown
        assert len(shown) <= LONGEST
