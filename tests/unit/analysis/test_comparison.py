"""Truth against estimate: every number against brute force over sites and states."""

from __future__ import annotations

import csv
import dataclasses
import math

import numpy as np
import pytest
from fit_factory import make_fit
from numpy.testing import assert_allclose

from pottsattn import InputError
from pottsattn.analysis.comparison import compare, coupling_error, coupling_pairs, pearson
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.losses import sequence_losses
from pottsattn.fitting.training_record import TrainingRecord
from pottsattn.model.couplings import Couplings
from pottsattn.model.ensembles import sk_potts
from pottsattn.model.potts import PottsModel


def centered(dense: np.ndarray) -> np.ndarray:
    """Return blocks in the zero-sum gauge by subtracting means over rows and columns."""
    dense = dense - dense.mean(axis=2, keepdims=True)
    return dense - dense.mean(axis=3, keepdims=True)


def pairs_of(dense: np.ndarray) -> np.ndarray:
    """Return J_ij(a, b) for i < j, one loop per index."""
    length, _, n_states, _ = dense.shape
    return np.array(
        [
            dense[i, j, a, b]
            for i in range(length)
            for j in range(i + 1, length)
            for a in range(n_states)
            for b in range(n_states)
        ]
    )


@pytest.fixture
def dataset(model, rng) -> SequenceDataset:
    return SequenceDataset(rng.integers(3, size=(30, 4)), 3, model=model)


def test_coupling_error_and_pearson_of_any_two_forms(row_couplings, model):
    fit = make_fit(row_couplings)
    fitted, true = row_couplings.to_dense(), model.to_dense()
    error = ((centered(fitted) - centered(true)) ** 2).sum() / (centered(true) ** 2).sum()
    assert coupling_error(fit, model) == pytest.approx(error, rel=1e-12)
    symmetrized = (fitted + fitted.transpose(1, 0, 3, 2)) / 2.0
    expected = np.corrcoef(pairs_of(centered(symmetrized)), pairs_of(centered(true)))[0, 1]
    assert pearson(fit, model) == pytest.approx(expected, rel=1e-12)


def test_coupling_pairs_are_those_of_i_below_j(row_couplings, model):
    fit = make_fit(row_couplings)
    true, fitted = coupling_pairs(fit, model)
    assert true.shape == fitted.shape == (6 * 9,) or true.shape == (6,)
    if true.shape != (6,):  # one interaction per pair only where both have one head
        dense = row_couplings.to_dense()
        symmetrized = centered((dense + dense.transpose(1, 0, 3, 2)) / 2.0)
        assert_allclose(true, pairs_of(centered(model.to_dense())), atol=1e-14)
        assert_allclose(fitted, pairs_of(symmetrized), atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, -2.0, 0.3])
def test_coupling_pairs_of_one_head_ignore_the_scale_and_sign_of_the_factors(scale, tiny_model):
    interactions, similarity = tiny_model.couplings.factors()
    fit = make_fit(Couplings(interactions / scale, scale * similarity))
    true, fitted = coupling_pairs(fit, tiny_model)
    assert true.shape == (6,)
    assert_allclose(true, interactions[0][np.triu_indices(4, 1)])
    assert_allclose(fitted, true)


def test_factored_couplings_are_compared_without_the_tensor(monkeypatch):
    truth = sk_potts(40, 5, 1.0, rng=0)
    fit = make_fit(truth.couplings.scaled(1.1), method="factored")
    for name in ("to_dense", "row"):
        monkeypatch.setattr(Couplings, name, lambda *_: pytest.fail("built the tensor"))
    assert coupling_error(fit, truth) == pytest.approx(0.01)
    assert pearson(fit, truth) == pytest.approx(1.0)
    assert len(coupling_pairs(fit, truth)[0]) == 40 * 39 // 2


def test_losses_are_those_of_conditionals_by_enumeration(model, dataset):
    expected = np.zeros((30, 4))
    for m, sequence in enumerate(dataset.sequences):
        for i in range(4):
            changed = np.tile(sequence, (3, 1))
            changed[:, i] = np.arange(3)
            weights = np.exp(-model.energy(changed))
            expected[m, i] = -math.log(weights[sequence[i]] / weights.sum())
    assert_allclose(sequence_losses(model, dataset), expected.mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize("chunk", [1, 25, 100])
def test_losses_in_chunks_equal_losses_in_one_go(model, dataset, monkeypatch, chunk):
    whole = sequence_losses(model, dataset)
    monkeypatch.setattr(
        "pottsattn.model.couplings.LOGITS_BLOCK", chunk
    )  # 12 values per sequence: 1, 2 and 8 rows
    assert_allclose(sequence_losses(model, dataset), whole, rtol=1e-14)


def test_copies_that_share_a_weight_give_the_same_error_bar(model, dataset):
    copies = dataclasses.replace(
        dataset, sequences=np.repeat(dataset.sequences, 10, axis=0), weights=np.full(300, 0.1)
    )
    fits = {"a": make_fit(model.couplings, 0.0 * model.fields)}
    once, often = (compare(fits, data).fits[0] for data in (dataset, copies))
    assert often.test_loss == pytest.approx(once.test_loss, rel=1e-12)
    assert often.test_loss_error == pytest.approx(once.test_loss_error, rel=1e-12)
    expected = sequence_losses(fits["a"], dataset).std() / np.sqrt(30)
    assert once.test_loss_error == pytest.approx(expected, rel=1e-12)


def test_another_alphabet_is_refused(model, dataset):
    fit = dataclasses.replace(make_fit(model.couplings, model.fields), alphabet="ABC")
    with pytest.raises(InputError, match="alphabet 'ABC', the test data have 'CAB'"):
        compare({"a": fit}, dataclasses.replace(dataset, alphabet="CAB"))


def test_the_truth_is_a_perfect_fit(model, dataset):
    row = compare({"a": make_fit(model.couplings, model.fields)}, dataset)
    (fit,) = row.fits
    assert fit.test_loss == pytest.approx(row.bayes_loss, rel=1e-14)
    assert row.bayes_loss == pytest.approx(sequence_losses(model, dataset).mean())
    assert fit.coupling_error == pytest.approx(0.0, abs=1e-14)
    assert fit.pearson == pytest.approx(1.0)


def test_a_gauge_change_is_no_error(model, dataset, rng):
    dense = model.to_dense()
    shift = rng.normal(size=(4, 4, 1, 3)) * (1.0 - np.eye(4))[:, :, None, None]
    fit = make_fit(Couplings(dense=dense + shift), model.fields)  # a constant per s_j: no effect
    (row,) = compare({"a": fit}, dataset).fits
    assert row.coupling_error == pytest.approx(0.0, abs=1e-14)
    assert row.test_loss == pytest.approx(compare({}, dataset).bayes_loss, rel=1e-12)


def test_error_is_the_standard_error_over_sequences(model, dataset, row_couplings):
    fit = make_fit(row_couplings)
    (row,) = compare({"a": fit}, dataset).fits
    losses = sequence_losses(fit, dataset)
    assert row.test_loss == pytest.approx(losses.mean())
    assert row.test_loss_error == pytest.approx(losses.std() / math.sqrt(30))


def test_weights_of_the_test_data_are_honored(tiny_model, rng):
    sequences = rng.integers(3, size=(5, 4))
    weights = np.array([2.0, 0.0, 1.0, 0.0, 0.0])
    fit = make_fit(tiny_model.couplings.scaled(0.5))
    weighted = compare({"a": fit}, SequenceDataset(sequences, 3, weights=weights), tiny_model)
    repeated = compare({"a": fit}, SequenceDataset(sequences[[0, 0, 2]], 3), tiny_model)
    assert weighted.bayes_loss == pytest.approx(repeated.bayes_loss)
    assert weighted.fits[0].test_loss == pytest.approx(repeated.fits[0].test_loss)


def test_truth_is_optional_and_can_be_replaced(tiny_model, dataset, rng):
    fit = make_fit(tiny_model.couplings, tiny_model.fields)
    unknown = compare({"a": fit}, SequenceDataset(dataset.sequences, 3))
    assert math.isnan(unknown.bayes_loss)
    assert math.isnan(unknown.fits[0].coupling_error)
    assert math.isnan(unknown.fits[0].pearson)
    assert "nan" not in str(unknown)
    assert compare({"a": fit}, dataset, tiny_model).fits[0].coupling_error < 1e-14


def test_no_couplings_have_no_relative_error():
    zero = PottsModel.factored(np.zeros((4, 4)), n_states=3)
    fit = make_fit(zero.couplings)
    assert math.isnan(coupling_error(fit, zero))
    assert math.isnan(pearson(fit, zero))


def test_other_sizes_are_refused_by_name(tiny_model, dataset):
    with pytest.raises(InputError, match=r"long has .* = \(5, 3\), the test data have \(4, 3\)"):
        compare({"long": make_fit(sk_potts(5, 3, 1.0, rng=0).couplings)}, dataset)
    with pytest.raises(InputError, match=r"the true model has .* = \(4, 2\)"):
        compare({}, dataset, sk_potts(4, 2, 1.0, rng=0))


def test_comparison_says_what_has_not_converged(tiny_model, dataset, tmp_path):
    fits = {
        "good.h5": make_fit(tiny_model.couplings),
        "bad.h5": make_fit(tiny_model.couplings, converged=False),
    }
    result = compare(fits, dataset)
    _, good, bad, last = str(result).splitlines()
    assert ("NOT converged" in good, "NOT converged" in bad) == (False, True)
    assert last.endswith("nats per masked site")
    assert [fit["file"] for fit in result.to_dict()["fits"]] == ["good.h5", "bad.h5"]
    result.to_csv(tmp_path / "table.csv")
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [row["converged"] for row in rows] == ["1", "0"]
    assert float(rows[0]["bayes_loss"]) == result.bayes_loss


def test_differences_are_paired_sequence_by_sequence(model, dataset, rng):
    """Two nearly equal fits: their losses scatter, their difference hardly does."""
    fits = {
        "a": make_fit(model.couplings.scaled(0.8), model.fields),
        "b": make_fit(model.couplings.scaled(0.81), model.fields),
    }
    result = compare(fits, dataset)
    first, second = result.fits
    losses = [sequence_losses(fit, dataset) for fit in (*fits.values(), model)]
    for value, error, paired in (
        (second.difference, second.difference_error, losses[1] - losses[0]),
        (second.excess, second.excess_error, losses[1] - losses[2]),
        (first.excess, first.excess_error, losses[0] - losses[2]),
    ):
        assert value == pytest.approx(paired.mean(), abs=1e-14)
        assert error == pytest.approx(paired.std() / math.sqrt(30), rel=1e-9)
    assert (first.difference, first.difference_error) == (0.0, 0.0)
    assert second.difference_error < 0.1 * second.test_loss_error
    head, row, *_ = str(result).splitlines()
    assert head.endswith("above Bayes    above the first")
    assert row.endswith(f"{0.0:.4f} ± {0.0:.4f}")
    assert math.isnan(compare(fits, SequenceDataset(dataset.sequences, 3)).fits[1].excess)


def test_test_sequences_of_the_training_are_counted_and_told(model, rng):
    long = sk_potts(30, 4, 1.0, rng=0)
    train, new = (SequenceDataset(rng.integers(4, size=(40, 30)), 4) for _ in range(2))
    fit = make_fit(long.couplings, training=TrainingRecord.of(train))
    fits = {"a.h5": fit}

    def judged(sequences):
        result = compare(fits, SequenceDataset(sequences, 4))
        return result.fits[0].test_overlap, result.warnings, str(result)

    overlap, told, text = judged(train.sequences[::-1])
    assert overlap == 1.0
    assert told == (
        "100 % of the test sequences are among the training data of a.h5: its test loss is no loss "
        "on new sequences; hold data out (split)",
    )
    assert "TRAINED on 100 % of the test sequences" in text
    assert judged(new.sequences)[:2] == (0.0, ())
    overlap, told, _ = judged(np.concatenate([new.sequences, train.sequences[:10]]))
    assert overlap == 0.2
    assert "20 % of the test sequences are among" in told[0]
    assert "no two of which are equal" in told[0]
    fits = {"old.h5": make_fit(long.couplings)}  # of a version that kept no hashes
    overlap, told, _ = judged(train.sequences)
    assert math.isnan(overlap)
    assert told == ()


def test_chance_repeats_of_small_systems_are_told_as_such(tiny_model, rng):
    """81 states: new sequences are nearly all among 300 old ones, and nobody cheated."""
    train, new = (SequenceDataset(rng.integers(3, size=(300, 4)), 3) for _ in range(2))
    fit = make_fit(tiny_model.couplings, training=TrainingRecord.of(train))
    result = compare({"a": fit}, new)
    chance = fit.training.repeat_share
    assert chance > 0.5
    assert result.fits[0].test_overlap == pytest.approx(chance, abs=0.1)
    assert f"where about {100 * chance:.3g} % of new sequences would be by chance" in str(
        result.warnings
    )


def test_the_training_data_are_known_where_most_sequences_repeat(tiny_model, rng):
    train = SequenceDataset(rng.integers(3, size=(300, 4)), 3)
    fit = make_fit(tiny_model.couplings, training=TrainingRecord.of(train))
    (told,) = compare({"a": fit}, train.take(rng.permutation(300))).warnings
    assert told.endswith("its test loss is no loss on new sequences; hold data out (split)")


def test_a_fit_that_is_not_finite_is_refused(tiny_model, dataset):
    dense = tiny_model.to_dense()
    dense[0, 1, 0, 0] = np.nan
    with pytest.raises(InputError, match="bad gives losses that are not finite"):
        compare({"bad": make_fit(Couplings(dense=dense))}, dataset)
