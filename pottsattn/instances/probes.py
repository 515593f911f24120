"""What a representation knows: linear and nearest-neighbor probes, local fields, spread.

Every probe is trained on one part of labeled data and judged on the rest. Linear probes are
multinomial logistic regressions of standardized features with the penalty

    mean_m [ -log P(y_m | x_m) ] + l2 / 2 |W|^2,    l2 = 1e-4.

`field_r2` is the share of the variance of the true local fields of site i that a ridge regression
from token i explains, all sites together. `feature_spread` tells a collapse: sqrt(d) times the mean
standard deviation of the features after each vector is normalized, about 1 for features spread over
the sphere and 0 for vectors that are all the same.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.validate import InputError, check_array, check_at_least, check_sequences
from pottsattn.instances.accuracy import Accuracy, accuracy

Array = NDArray[np.float64]
LINEAR_L2 = 1e-4
FIELD_RIDGE = 1e-3  # of standardized tokens, per sample
N_NEIGHBORS = 20
N_TOKEN_SITES = 3
MAX_ITERATIONS = 2000


@dataclass(frozen=True)
class RSquared:
    """A share of explained variance on test data, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class ProbeScores:
    """The scores of a representation, accuracies with binomial standard errors.

    NaN stands for what the data do not allow, such as local fields that are not known.
    """

    linear_probe: float
    linear_probe_error: float
    knn: float
    knn_error: float
    token_linear_probe: float
    token_linear_probe_error: float
    field_r2: float
    field_r2_error: float
    feature_std: float

    def to_dict(self) -> dict[str, float]:
        """Return all scores by name."""
        return asdict(self)

    def __repr__(self) -> str:
        return (
            f"ProbeScores(linear_probe={self.linear_probe:.3f}, knn={self.knn:.3f}, "
            f"token_linear_probe={self.token_linear_probe:.3f}, field_r2={self.field_r2:.3f}, "
            f"feature_std={self.feature_std:.2f})"
        )


def evaluate(
    features: ArrayLike,
    labels: ArrayLike,
    n_train: int,
    *,
    tokens: ArrayLike | None = None,
    local_fields: ArrayLike | None = None,
) -> ProbeScores:
    """Return all scores of a representation.

    Parameters
    ----------
    features : shape (n_sequences, d)
        One vector per sequence.
    labels : integers, shape (n_sequences,)
    n_train
        How many of the first sequences train the probes; the rest judge.
    tokens : shape (n_sequences, length, d_token), optional
        One vector per site; without, the scores of tokens are NaN.
    local_fields : shape (n_sequences, length, n_states), optional
        True local fields, as `PottsMixture.local_fields`; without, `field_r2` is NaN.

    Raises
    ------
    InputError
        Wrong shapes, or no sequences left to train on or to judge by.
    """
    x = check_array("features", features, (None, None))
    y = _check_labels(labels, len(x))
    check_at_least("n_train", n_train, 1)
    if n_train >= len(x):
        raise InputError(f"n_train must be below the number of sequences, {len(x)}, got {n_train}")
    split = x[:n_train], y[:n_train], x[n_train:], y[n_train:]
    linear, neighbors = linear_probe(*split), nearest_neighbor_probe(*split)
    of_tokens, of_fields = Accuracy(math.nan, math.nan, 0), RSquared(math.nan, math.nan)
    if tokens is not None:
        t = check_array("tokens", tokens, (len(x), None, None))
        of_tokens = token_linear_probe(t[:n_train], y[:n_train], t[n_train:], y[n_train:])
        if local_fields is not None:
            h = check_array("local_fields", local_fields, (*t.shape[:2], None))
            of_fields = field_r2(t[:n_train], h[:n_train], t[n_train:], h[n_train:])
    return ProbeScores(
        linear_probe=linear.value,
        linear_probe_error=linear.error,
        knn=neighbors.value,
        knn_error=neighbors.error,
        token_linear_probe=of_tokens.value,
        token_linear_probe_error=of_tokens.error,
        field_r2=of_fields.value,
        field_r2_error=of_fields.error,
        feature_std=feature_spread(x[n_train:]),
    )


def linear_probe(
    train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, test_y: ArrayLike
) -> Accuracy:
    """Return the test accuracy of multinomial logistic regression.

    Parameters
    ----------
    train_x, test_x : shape (n, d)
        Features, standardized by the mean and deviation of the training part.
    train_y, test_y : integers, shape (n,)
        Classes.
    """
    from sklearn.linear_model import LogisticRegression

    x, y, x_test, y_test = _check_split(train_x, train_y, test_x, test_y)
    mean, scale = _standardization(x)
    model = LogisticRegression(C=1.0 / (LINEAR_L2 * len(x)), max_iter=MAX_ITERATIONS)
    model.fit((x - mean) / scale, y)
    return accuracy(model.predict((x_test - mean) / scale), y_test)


def nearest_neighbor_probe(
    train_x: ArrayLike,
    train_y: ArrayLike,
    test_x: ArrayLike,
    test_y: ArrayLike,
    n_neighbors: int = N_NEIGHBORS,
) -> Accuracy:
    """Return the test accuracy of the vote of the nearest training vectors by cosine.

    See `linear_probe` for the parameters; `n_neighbors` is 20 if left out, and at most the number
    of training vectors.
    """
    from sklearn.neighbors import KNeighborsClassifier

    x, y, x_test, y_test = _check_split(train_x, train_y, test_x, test_y)
    n_voters = min(check_at_least("n_neighbors", n_neighbors, 1), len(x))
    model = KNeighborsClassifier(n_voters, metric="cosine").fit(x, y)
    return accuracy(model.predict(x_test), y_test)


def token_linear_probe(
    train_tokens: ArrayLike, train_y: ArrayLike, test_tokens: ArrayLike, test_y: ArrayLike
) -> Accuracy:
    """Return the accuracy of the class from one token, the mean over three sites.

    Tokens have shape (n, length, d). The error is that of one site: the sites share the sequences.
    """
    train = check_array("train_tokens", train_tokens, (None, None, None))
    test = check_array("test_tokens", test_tokens, (None, *train.shape[1:]))
    scores = [
        linear_probe(train[:, site], train_y, test[:, site], test_y)
        for site in _spread_sites(train.shape[1])
    ]
    value = float(np.mean([score.value for score in scores]))
    error = float(np.mean([score.error for score in scores]))
    return Accuracy(value, error, len(test))


def raw_linear_probe(
    train_sequences: ArrayLike,
    train_y: ArrayLike,
    test_sequences: ArrayLike,
    test_y: ArrayLike,
    n_states: int,
) -> Accuracy:
    """Return the accuracy of `linear_probe` on the sequences themselves, one-hot."""
    one_hot = np.eye(n_states)
    train = check_sequences(train_sequences, n_states)
    test = check_sequences(test_sequences, n_states)
    return linear_probe(
        one_hot[train].reshape(len(train), -1),
        train_y,
        one_hot[test].reshape(len(test), -1),
        test_y,
    )


def field_r2(
    train_tokens: ArrayLike, train_fields: ArrayLike, test_tokens: ArrayLike, test_fields: ArrayLike
) -> RSquared:
    """Return the share of the variance of local fields that their own tokens explain.

    Parameters
    ----------
    train_tokens, test_tokens : shape (n, length, d)
    train_fields, test_fields : shape (n, length, n_states)
        True local fields, as `PottsMixture.local_fields`.

    Returns
    -------
    RSquared
        1 - sum of squared residuals / sum of squared deviations from the training mean of the site,
        over test sequences, sites and states. The error is that of this ratio over sequences.
    """
    train = check_array("train_tokens", train_tokens, (None, None, None))
    length = train.shape[1]
    fields = check_array("train_fields", train_fields, (len(train), length, None))
    test = check_array("test_tokens", test_tokens, (None, *train.shape[1:]))
    truth = check_array("test_fields", test_fields, (len(test), *fields.shape[1:]))
    residual, total = np.zeros(len(test)), np.zeros(len(test))  # by sequence
    for site in range(length):
        mean, scale = _standardization(train[:, site])
        x, x_test = (train[:, site] - mean) / scale, (test[:, site] - mean) / scale
        center = fields[:, site].mean(axis=0)
        gram = x.T @ x + FIELD_RIDGE * len(x) * np.eye(x.shape[1])
        slope = np.linalg.solve(gram, x.T @ (fields[:, site] - center))
        deviation = truth[:, site] - center
        total += (deviation**2).sum(axis=1)
        residual += ((deviation - x_test @ slope) ** 2).sum(axis=1)
    if total.sum() == 0.0:
        return RSquared(math.nan, math.nan)
    ratio = residual.sum() / total.sum()
    spread = (residual - ratio * total).std(ddof=1) if len(test) > 1 else math.nan
    return RSquared(float(1.0 - ratio), float(spread / total.mean() / math.sqrt(len(test))))


def feature_spread(features: ArrayLike) -> float:
    """Return sqrt(d) times the mean standard deviation of normalized vectors, shape (n, d)."""
    x = check_array("features", features, (None, None))
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    normalized = x / np.where(norms > 0.0, norms, 1.0)
    return float(math.sqrt(x.shape[1]) * normalized.std(axis=0).mean())


def _standardization(x: Array) -> tuple[Array, Array]:
    """Return (mean, deviation) of every feature; the deviation of a constant one is 1."""
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 1e-12, scale, 1.0)


def _spread_sites(length: int) -> list[int]:
    n_sites = min(N_TOKEN_SITES, length)
    return [(2 * number + 1) * length // (2 * n_sites) for number in range(n_sites)]


def _check_labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    y = np.asarray(labels)
    if y.shape != (n,) or y.dtype.kind not in "iu":
        raise InputError(
            f"labels must be integers of shape ({n},), got shape {y.shape}, dtype {y.dtype}"
        )
    return y


def _check_split(
    train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, test_y: ArrayLike
) -> tuple[Array, NDArray[Any], Array, NDArray[Any]]:
    x = check_array("train_x", train_x, (None, None))
    x_test = check_array("test_x", test_x, (None, x.shape[1]))
    y, y_test = _check_labels(train_y, len(x)), _check_labels(test_y, len(x_test))
    check_classes(y)
    return x, y, x_test, y_test


def check_classes(labels: NDArray[Any]) -> None:
    """Raise InputError unless the labels that train a probe hold two classes."""
    if len(np.unique(labels)) < 2:
        raise InputError("the training part must hold at least two classes")
