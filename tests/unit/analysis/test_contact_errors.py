"""Contacts on data drawn anew: clusters with replacement, null columns, refits, error bars."""

from __future__ import annotations

import numpy as np
import pytest
from fit_factory import make_fit
from fit_options import as_training
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError, SequenceDataset, fit_pseudolikelihood, sample
from pottsattn.analysis.contact_errors import NullScores, bootstrap_precision, null_scores
from pottsattn.analysis.contacts import rank_contacts
from pottsattn.data.resampling import cluster_bootstrap, cluster_labels, uncorrelated_columns
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.masked.settings import AttentionConfig
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.selection.refitting import refit
from pottsattn.model.couplings import Couplings, frobenius_score
from pottsattn.model.ensembles import chain, sk_potts
from pottsattn.training.recipe import Recipe

ANY = {"min_separation": 1}


@pytest.fixture(scope="module")
def drawn() -> SequenceDataset:
    return sample(sk_potts(8, 3, 1.5, rng=0), 300, rng=0).dataset


@pytest.fixture
def family() -> SequenceDataset:
    """Six clusters of 1 to 6 copies of sequences that share nothing."""
    rng = np.random.default_rng(2)
    parents = rng.integers(4, size=(6, 40))
    labels = np.repeat(np.arange(6), np.arange(1, 7))
    weights = 1.0 / np.repeat(np.arange(1.0, 7.0), np.arange(1, 7))
    return SequenceDataset(parents[labels], 4, weights=weights, alphabet="-ABC", gap_index=0)


def test_the_bootstrap_draws_whole_clusters_by_weight(family):
    labels = cluster_labels(family)
    assert len(np.unique(labels)) == 6
    samples = cluster_bootstrap(family, 400, rng=np.random.default_rng(0))
    for replica in samples[:20]:
        sizes = np.unique(replica.sequences, axis=0, return_counts=True)[1]
        assert set(sizes) <= set(range(1, 7))  # all copies or none
        assert replica.effective_size == pytest.approx(6.0)  # six draws of one cluster each
    n_distinct = [len(np.unique(replica.sequences, axis=0)) for replica in samples]
    assert np.mean(n_distinct) == pytest.approx(6 * (1 - (5 / 6) ** 6), abs=5 * 0.75 / 20)
    again = cluster_bootstrap(family, 2, rng=np.random.default_rng(0))
    assert_array_equal(again[1].sequences, samples[1].sequences)


def test_null_columns_keep_frequencies_and_lose_correlations(drawn):
    names = tuple(f"s{m}" for m in range(300))  # of no sequence of the null
    weighted = SequenceDataset(drawn.sequences, 3, weights=np.linspace(0.2, 1.0, 300), names=names)
    null = uncorrelated_columns(weighted, np.random.default_rng(0))
    assert null.n_sequences == round(weighted.effective_size)
    assert not null.is_weighted
    assert null.names == ()
    assert_allclose(
        null.site_frequencies(), weighted.site_frequencies(), atol=1.0 / null.n_sequences
    )

    def largest_z(data: SequenceDataset) -> float:
        f = data.site_frequencies()
        chi2 = [
            data.n_sequences
            * (
                (data.pair_frequencies(i)[j] - np.outer(f[i], f[j])) ** 2 / np.outer(f[i], f[j])
            ).sum()
            for i in range(8)
            for j in range(i)
        ]
        return max((np.array(chi2) - 4.0) / np.sqrt(8.0))  # 4 degrees of freedom

    assert largest_z(null) < 5.0 < largest_z(drawn)


FITS = {
    "plm": lambda data: fit_pseudolikelihood(data, ridge=1.0),
    "joint": lambda data: fit_pseudolikelihood(data, symmetric=True, fields="none"),
    "factored": lambda data: fit_pseudolikelihood(data, "factored"),
    "heads": lambda data: fit_pseudolikelihood(data, "factored", n_heads=2, ridge=2.0),
    "mf": lambda data: fit_mean_field(data, pseudocount=0.3),
    "attention": lambda data: train_masked(
        data,
        AttentionConfig(symmetric=True),
        recipe=Recipe(optimizer="lbfgs", max_steps=200),
        rng=3,
        n_threads=1,
    ),
}


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
def test_a_refit_to_the_same_data_is_the_same_fit(name, drawn, tmp_path):
    fit = FITS[name](drawn)
    fit.save(tmp_path / "fit.h5")
    again = refit(type(fit).load(tmp_path / "fit.h5"), drawn, gap_tolerance=1e-6, n_threads=1)
    scores = [frobenius_score(found.couplings) for found in (fit, again)]
    assert_allclose(
        scores[1], scores[0], atol=(2e-2 if name == "heads" else 2e-3) * scores[0].max()
    )
    assert again.penalty == fit.penalty
    with pytest.raises(InputError, match="give the data it was fitted to"):
        refit(fit, SequenceDataset(drawn.sequences[:, 1:], 3))


@pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
def test_a_refit_takes_every_option_of_a_training(drawn):
    options = {"n_heads": 2, "color_similarity": "learned", "attention": "softmax"}
    options |= {"head_dimension": 3, "masks": 2, "learning_rate": 0.03, "batch_size": 100}
    fit = train_masked(
        drawn, **as_training(max_steps=2, rng=3, schedule="cosine", n_threads=1, **options)
    )
    again = refit(fit, drawn, n_threads=1)
    differing = {name for name, value in fit.config.items() if again.config[name] != value}
    assert differing <= {"seed"}


def test_coupled_pairs_score_above_the_null_and_only_they():
    data = sample(chain(8, 3, 2.0), 400, rng=1).dataset
    fit = fit_pseudolikelihood(data)
    null = null_scores(fit, data, n_shuffles=3, rng=0, **ANY)
    ranking = rank_contacts(fit, **ANY)
    assert null.converged
    assert null.scores.shape == (3, 28)
    assert null.n_above(ranking.score) == 7  # the bonds of the chain
    assert set((ranking.second - ranking.first)[:7]) == {1}
    independent = uncorrelated_columns(data, np.random.default_rng(7))
    noise = rank_contacts(refit(fit, independent), **ANY)
    assert null.n_above(noise.score) <= 1


def test_expected_null_pairs_by_hand():
    null = NullScores(np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 4.0]]), converged=True, message="")
    assert_allclose(null.n_expected(np.array([5.0, 2.0, 1.0, -1.0])), [0.0, 1.5, 2.5, 3.0])
    assert null.n_above(np.array([5.0, 4.0, 4.1])) == 2


def test_the_bootstrap_error_is_the_spread_over_fresh_data():
    """Both spreads are of 16 areas, known to 18 % each; a planted fault has none."""
    truth = sk_potts(16, 3, 1.5, rng=4)
    strength = frobenius_score(truth.couplings)
    pairs = np.argwhere(np.triu(strength > np.quantile(strength, 0.8)))
    known = {(i + 1, j + 1): 20.0 for i in range(16) for j in range(i + 1, 16)}
    known |= {(int(i) + 1, int(j) + 1): 1.0 for i, j in pairs}
    fresh = [sample(truth, 200, rng=seed).dataset for seed in range(16)]
    fits = [fit_pseudolikelihood(data, solver=Solver(gap_tolerance=1e-3)) for data in fresh]
    areas = [rank_contacts(fit, **ANY).precision(known).area for fit in fits]
    errors = bootstrap_precision(fits[0], fresh[0], known, n_replicas=16, rng=0, **ANY)
    assert errors.converged
    assert errors.replicas.shape == (16, 4)
    assert abs(np.log(errors.area / np.std(areas, ddof=1))) < 4 * 0.18 * np.sqrt(2)
    assert errors.mean_area == pytest.approx(errors.replicas[:, 3].mean())
    assert errors.to_dict()["precision_error"]["L"] == errors.at["L"]


def test_ranking_without_correction_or_with_the_gap():
    blocks = np.random.default_rng(0).normal(size=(5, 5, 3, 3))
    blocks[np.arange(5), np.arange(5)] = 0.0
    fit = make_fit(Couplings(dense=blocks), gap_index=0)
    plain = rank_contacts(fit, apc=False, **ANY)
    assert_array_equal(plain.score, plain.frobenius)
    assert (np.diff(plain.score) <= 0.0).all()
    whole = rank_contacts(fit, apc=False, with_gap=True, **ANY)
    expected = np.sort(frobenius_score(fit.couplings)[np.triu_indices(5, 1)])[::-1]
    assert_allclose(whole.score, expected)
