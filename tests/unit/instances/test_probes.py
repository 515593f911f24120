"""Probes of representations: known answers, errors, chance, collapse."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pottsattn import InputError
from pottsattn.instances.mixtures import PottsMixture, field_mixture, gauge_mixture
from pottsattn.instances.probes import (
    evaluate,
    feature_spread,
    field_r2,
    linear_probe,
    nearest_neighbor_probe,
    raw_linear_probe,
)

N_TRAIN, N_TEST = 1500, 500


@pytest.fixture(scope="module")
def gauge() -> PottsMixture:
    return gauge_mixture(3, 12, 3, degree=4, inverse_temperature=1.5, rng=0, n_threads=1)


def satisfied_edges(mixture: PottsMixture, sequences: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the number of satisfied edges by class: quadratic in one-hot sequences."""
    return mixture.log_likelihoods(sequences)


def test_linear_probe_of_two_gaussians_meets_their_overlap(rng: np.random.Generator) -> None:
    from scipy.stats import norm

    y = rng.integers(2, size=6000)
    x = rng.normal(size=(6000, 5)) * np.array([1.0, 10.0, 0.1, 1.0, 1.0])
    x[:, 0] += 2.0 * y
    found = linear_probe(x[:3000], y[:3000], x[3000:], y[3000:])
    assert abs(found.value - norm.cdf(1.0)) < 4.0 * found.error
    assert found.error == pytest.approx(np.sqrt(norm.cdf(1.0) * norm.cdf(-1.0) / 3000.0), rel=0.05)
    shuffled = linear_probe(x[:3000], rng.permutation(y[:3000]), x[3000:], y[3000:])
    assert shuffled.value < 0.65  # labels that do not belong to the vectors are seen


def test_neighbors_see_what_a_line_cannot(rng: np.random.Generator) -> None:
    angles = rng.uniform(0.0, 2.0 * np.pi, size=2000)
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    y = (np.sin(2.0 * angles) > 0.0).astype(int)  # opposite quarters
    split = x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:]
    assert nearest_neighbor_probe(*split).value > 0.95
    assert linear_probe(*split).value < 0.8  # no line gets more than three quarters right


def test_gauge_mixture_hides_its_class_from_every_linear_probe(gauge: PottsMixture) -> None:
    data = gauge.draw(N_TRAIN + N_TEST, rng=1, n_threads=1)
    x, y = data.sequences, data.labels
    raw = raw_linear_probe(x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], 3)
    assert abs(raw.value - 1.0 / 3.0) < 4.0 * raw.error
    edges = satisfied_edges(gauge, x)
    quadratic = linear_probe(edges[:N_TRAIN], y[:N_TRAIN], edges[N_TRAIN:], y[N_TRAIN:])
    bayes = gauge.bayes_accuracy(data)
    assert bayes.value > raw.value + 10.0 * raw.error
    assert quadratic.value > bayes.value - 4.0 * quadratic.error


def test_bayes_exceeds_the_linear_probe_of_a_field_mixture() -> None:
    mixture = field_mixture(3, 6, 3, degree=4, inverse_temperature=1.2, field_scale=0.5, rng=0)
    data = mixture.draw(N_TRAIN + N_TEST, rng=1, n_threads=1)
    x, y = data.sequences, data.labels
    raw = raw_linear_probe(x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], 3)
    bayes = mixture.bayes_accuracy(data)
    assert 1.0 / 3.0 + 4.0 * raw.error < raw.value < bayes.value - 2.0 * bayes.error


def test_evaluate_gives_all_scores(gauge: PottsMixture, rng: np.random.Generator) -> None:
    data = gauge.draw(800, rng=2, n_threads=1)
    fields = gauge.local_fields(data.sequences, data.labels)
    tokens = np.concatenate([fields, rng.normal(size=fields.shape)], axis=2)
    features = satisfied_edges(gauge, data.sequences)
    scores = evaluate(features, data.labels, 600, tokens=tokens, local_fields=fields)
    assert scores.linear_probe > 0.8
    assert scores.field_r2 > 0.99
    alone = evaluate(features, data.labels, 600)
    assert alone.linear_probe == scores.linear_probe
    assert np.isnan(alone.token_linear_probe)
    assert np.isnan(alone.field_r2)


def test_field_r2_of_noise_is_zero_and_of_half_the_signal_a_half(rng: np.random.Generator) -> None:
    signal = rng.normal(size=(2000, 4, 2))
    other = rng.normal(size=(2000, 4, 2))

    def score(tokens: NDArray[np.float64]) -> tuple[float, float]:
        found = field_r2(
            tokens[:1500], (signal + other)[:1500], tokens[1500:], (signal + other)[1500:]
        )
        return found.value, found.error

    value, error = score(signal)
    assert abs(value - 0.5) < 4.0 * error
    value, error = score(rng.normal(size=(2000, 4, 2)))
    assert abs(value) < 4.0 * error + 2.0 / 1500.0  # the fit of 2 slopes to noise costs 2 / n


def test_spread_tells_a_collapse(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2000, 32))
    assert feature_spread(x) == pytest.approx(1.0, abs=0.03)
    assert feature_spread(x * 1e-3 + 1.0) < 0.01
    assert feature_spread(np.zeros((5, 3))) == 0.0


def test_wrong_input_is_refused(rng: np.random.Generator) -> None:
    x = rng.normal(size=(10, 2))
    with pytest.raises(InputError, match="at least two classes"):
        linear_probe(x, np.zeros(10, int), x, np.zeros(10, int))
    with pytest.raises(InputError, match="labels must be integers"):
        evaluate(x, np.zeros(10), 5)
    with pytest.raises(InputError, match="n_train must be below"):
        evaluate(x, np.arange(10), 10)
