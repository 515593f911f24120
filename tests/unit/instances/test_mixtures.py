"""Mixtures of Potts models: log Z, conditionals, marginals, the Bayes classifier, files."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError, PottsModel
from pottsattn.instances.mixtures import (
    PottsMixture,
    field_mixture,
    gauge_mixture,
    union_of_cycles,
)
from pottsattn.likelihood.partition_function import integrate_log_partition
from pottsattn.model.exact import enumerate_states, solve_chain
from pottsattn.model.potts import log_softmax


@pytest.fixture(scope="module")
def small() -> PottsMixture:
    return field_mixture(3, 5, 4, degree=4, rng=1)


def test_log_partition_integral_meets_enumeration(small: PottsMixture) -> None:
    for label in range(2):
        part = integrate_log_partition(small.models[label], rng=label, n_threads=1)
        difference = abs(part.value - small.log_partition[label])
        assert 0.0 < part.error < 0.01
        assert difference < 4.0 * part.error
        # A coupling scale of 3 % more must be seen.
        shifted = enumerate_states(small.models[label].scaled(1.03)).log_partition
        assert abs(part.value - shifted) > 5.0 * part.error


def test_log_partition_integral_meets_the_transfer_matrix() -> None:
    links = [(site, site + 1) for site in range(31)]
    for seed in range(2):
        fields = np.random.default_rng(seed).normal(scale=0.8, size=(32, 6))
        model = PottsModel.from_edges(links, n_states=6, strengths=1.5, fields=fields)
        part = integrate_log_partition(model, rng=seed, n_rounds=100, n_threads=1)
        assert part.error < 0.03
        assert abs(part.value - solve_chain(model).log_partition) < 4.0 * part.error


def test_log_partition_integral_does_not_depend_on_threads(small: PottsMixture) -> None:
    one = integrate_log_partition(small.models[0], rng=5, n_rounds=5, n_threads=1)
    two = integrate_log_partition(small.models[0], rng=5, n_rounds=5, n_threads=2)
    assert one == two


def test_class_models_normalize_and_give_the_likelihoods(small: PottsMixture) -> None:
    for label in range(small.n_classes):
        exact = enumerate_states(small.model(label))
        assert_allclose(exact.log_partition, small.log_partition[label], rtol=1e-12)
        likelihoods = small.log_likelihoods(exact.states)[:, label]
        assert_allclose(np.exp(likelihoods), exact.probabilities, rtol=1e-10)


def test_local_fields_are_the_conditionals_of_the_class(small: PottsMixture) -> None:
    data = small.draw(20, rng=3, n_warmup=5, n_threads=1)
    fields = small.local_fields(data.sequences, data.labels)
    log_p = log_softmax(fields)
    for sequence, label, field in zip(data.sequences, data.labels, log_p, strict=True):
        expected = small.model(label).log_conditionals(sequence[None])[0]
        assert_allclose(field, expected, atol=1e-12)


def test_gauge_mixture_has_one_log_partition_and_uniform_sites() -> None:
    mixture = gauge_mixture(3, 6, 4, degree=4, inverse_temperature=0.7, rng=0)
    for label in range(mixture.n_classes):
        exact = enumerate_states(mixture.model(label))
        assert_allclose(exact.log_partition, mixture.log_partition[0], rtol=1e-12)
        assert_allclose(exact.site_marginals(), 0.25, rtol=1e-10)


def test_drawn_sites_are_uniform_and_pairs_are_not() -> None:
    mixture = gauge_mixture(2, 8, 3, degree=4, inverse_temperature=0.6, rng=0)
    data = mixture.draw(6000, rng=1, n_threads=1)
    assert abs(data.labels.mean() - 0.5) < 4.0 * 0.5 / np.sqrt(6000)
    sequences = data.sequences[data.labels == 0]
    counts = np.stack([(sequences == state).mean(axis=0) for state in range(3)])
    error = np.sqrt(2.0 / 9.0 / len(sequences))
    assert np.abs(counts - 1.0 / 3.0).max() < 4.5 * error
    i, j = mixture.models[0].couplings.neighbor_lists().pairs()[0][0]
    relabeled = mixture.relabelings[0][[i, j], sequences[:, [i, j]]]
    agreement = (relabeled[:, 0] == relabeled[:, 1]).mean()
    assert agreement > 1.0 / 3.0 + 10.0 * error


def test_drawn_sequences_follow_the_class_model(small: PottsMixture) -> None:
    data = small.draw(12000, rng=2, n_threads=1)
    for label in range(small.n_classes):
        sequences = data.sequences[data.labels == label]
        found = np.eye(4)[sequences].mean(axis=0)
        expected = enumerate_states(small.model(label)).site_marginals()
        z = (found - expected) / np.sqrt(expected * (1.0 - expected) / len(sequences))
        assert np.abs(z).max() < 4.5
    planted = np.abs(found - np.roll(expected, 1, axis=1)).max()
    assert planted > 0.1  # states relabeled once more would be seen


def test_bayes_accuracy_meets_the_posterior_and_exceeds_chance(small: PottsMixture) -> None:
    data = small.draw(4000, rng=7, n_threads=1)
    found = small.bayes_accuracy(data)
    posterior = small.posterior(data.sequences)
    assert_allclose(posterior.sum(axis=1), 1.0, rtol=1e-12)
    sure = posterior.max(axis=1)
    assert abs(found.value - sure.mean()) < 4.0 * np.hypot(found.error, sure.std() / 63.0)
    assert 1.0 / 3.0 + 20.0 * found.error < found.value < 1.0


def test_draws_repeat_and_do_not_depend_on_threads(small: PottsMixture) -> None:
    one = small.draw(50, rng=9, n_warmup=5, n_threads=1)
    two = small.draw(50, rng=9, n_warmup=5, n_threads=2)
    assert_array_equal(one.sequences, two.sequences)
    assert_array_equal(one.labels, two.labels)


def test_group_round_trip(small: PottsMixture) -> None:
    with h5py.File("mixture", "w", driver="core", backing_store=False) as file:
        small.to_group(file.create_group("mixture"))
        read = PottsMixture.from_group(file["mixture"])
    assert read.kind == "field"
    data = small.draw(10, rng=0, n_warmup=5, n_threads=1)
    assert_array_equal(read.log_likelihoods(data.sequences), small.log_likelihoods(data.sequences))


def test_union_of_cycles_joins_every_site() -> None:
    edges = union_of_cycles(20, 4, rng=0)
    degrees = np.bincount(edges.ravel(), minlength=20)
    assert degrees.min() >= 2
    assert degrees.max() <= 4
    assert (edges[:, 0] < edges[:, 1]).all()


def test_wrong_input_is_refused(small: PottsMixture) -> None:
    with pytest.raises(InputError, match="degree must be even"):
        union_of_cycles(8, 3)
    with pytest.raises(InputError, match="the mixture 5"):
        small.posterior(np.zeros((2, 6), np.uint8))
    with pytest.raises(InputError, match=r"labels must be 0\.\.2"):
        small.local_fields(np.zeros((1, 5), np.uint8), np.array([3]))
    with pytest.raises(InputError, match=r"label must be 0\.\.2"):
        small.model(3)
