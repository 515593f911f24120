"""Masks are a function of seed, sequence, visit and pattern, and as random as they should be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pottsattn import InputError
from pottsattn.fitting.masked.masking import BoundMasking
from pottsattn.fitting.masked.settings import HIDDEN_AS

LENGTH, N_STATES, N_SEQUENCES = 20, 4, 2000
ROWS = np.arange(N_SEQUENCES)
SEQUENCES = np.random.default_rng(5).integers(N_STATES, size=(N_SEQUENCES, LENGTH), dtype=np.uint8)
Z = 5.0  # standard errors
POLICIES = [
    {"masks": 3},
    {"masks": 3, "mask_mode": "static"},
    {"mask_fraction": 0.3, "masks": 2},
    {"mask_fraction": 0.3, "masks": 2, "mask_mode": "static"},
    {"mask_fraction": 0.3, "hidden_as": "bert"},
    {"mask_fraction": 0.3, "hidden_as": "replaced", "mask_mode": "static"},
]


def masking(**options) -> BoundMasking:
    return BoundMasking(length=LENGTH, n_states=N_STATES, **{"seed": 7, **options})


def batch(policy: BoundMasking, visit: int = 0, numbers=ROWS):
    weights = torch.ones(len(numbers), dtype=torch.float64)
    return policy.batch(numbers, SEQUENCES[numbers], weights, visit)


def hidden(policy: BoundMasking, visit: int = 0) -> np.ndarray:
    """Return which sites are predicted, shape (n_sequences, patterns, length)."""
    predicted = batch(policy, visit).predicted.numpy()
    return predicted.reshape(N_SEQUENCES, -1, LENGTH)


def assert_share(found: np.ndarray, share: float) -> None:
    """The mean of independent booleans is `share`, within standard errors."""
    error = np.sqrt(share * (1.0 - share) / found.size)
    assert abs(found.mean() - share) < Z * error


@pytest.mark.parametrize("options", POLICIES)
def test_masks_do_not_depend_on_batches_or_their_order(options, rng):
    policy = masking(**options)
    whole = batch(policy, visit=3)
    n_patterns = len(whole.context) // N_SEQUENCES
    numbers = rng.permutation(N_SEQUENCES)[:17]
    some = batch(policy, 3, numbers)
    for name in ("context", "predicted", "targets"):
        expected = getattr(whole, name).reshape(N_SEQUENCES, n_patterns, LENGTH)[numbers]
        assert torch.equal(getattr(some, name).reshape(expected.shape), expected), name


@pytest.mark.parametrize("options", POLICIES)
def test_seed_and_visit_decide_and_static_masks_stay(options):
    policy = masking(**options)
    first, again, later = batch(policy), batch(policy), batch(policy, visit=5)
    other = batch(dataclasses.replace(policy, seed=8))
    assert torch.equal(first.predicted, again.predicted)
    assert torch.equal(first.context, again.context)
    assert not torch.equal(first.predicted, other.predicted)
    assert torch.equal(first.predicted, later.predicted) == (policy.mask_mode == "static")
    assert torch.equal(first.context, later.context) == (
        policy.mask_mode == "static" or policy.mask_fraction is None
    )


@pytest.mark.parametrize("fraction", [0.02, 0.15, 0.5, 0.97])
def test_share_of_hidden_sites(fraction):
    found = hidden(masking(mask_fraction=fraction, masks=3))
    assert_share(found, fraction)
    for axes in [(0, 1), (0, 2)]:  # of every site, of every pattern
        shares = found.mean(axis=axes)
        error = np.sqrt(fraction * (1 - fraction) * len(shares) / found.size)
        assert np.abs(shares - fraction).max() < Z * error


def dependence(one: np.ndarray, other: np.ndarray, fraction: float) -> float:
    """Return the mean product of deviations in standard errors; under independence of order 1."""
    product = (one - fraction) * (other - fraction)  # of variance (r (1 - r))^2
    return abs(product.mean()) * np.sqrt(product.size) / (fraction * (1.0 - fraction))


def test_hidden_sites_are_independent(rng):
    """Of neighboring sites, sequences, patterns, visits and seeds."""
    fraction = 0.3
    policy = masking(mask_fraction=fraction, masks=2)
    now = hidden(policy)
    others = {
        "site": (now[:, :, :-1], now[:, :, 1:]),
        "sequence": (now[:-1], now[1:]),
        "pattern": (now[:, 0], now[:, 1]),
        "visit": (now, hidden(policy, visit=1)),
        "seed": (now, hidden(dataclasses.replace(policy, seed=8))),
    }
    for name, (one, other) in others.items():
        assert dependence(one, other, fraction) < Z, name
    copied = np.where(rng.random(now.shape) < 0.05, now, others["seed"][1])
    assert dependence(now, copied, fraction) > Z


def test_numbers_of_hidden_sites_are_binomial():
    """The variance of their number in a row is L r (1 - r): sites are independent jointly."""
    fraction = 0.3
    counts = hidden(masking(mask_fraction=fraction, masks=4)).sum(axis=2).ravel()
    variance = LENGTH * fraction * (1.0 - fraction)
    chi_square = ((counts - LENGTH * fraction) ** 2).sum() / variance
    # Kurtosis of a binomial: 3 + (1 - 6 r (1 - r)) / variance.
    error = np.sqrt(counts.size * (2.0 + (1.0 - 6.0 * fraction * (1 - fraction)) / variance))
    assert abs(chi_square - counts.size) < Z * error


@pytest.mark.parametrize("hidden_as", HIDDEN_AS)
def test_what_hidden_sites_show(hidden_as):
    masked = batch(masking(mask_fraction=0.4, hidden_as=hidden_as))
    context, targets = masked.context.numpy(), masked.targets.numpy()
    predicted = masked.predicted.numpy()
    assert np.array_equal(context[~predicted], targets[~predicted])
    shown, true = context[predicted], targets[predicted]
    nothing, random, _ = HIDDEN_AS[hidden_as]
    if nothing in (0.0, 1.0):
        assert (shown == N_STATES).all() == bool(nothing)
    else:
        assert_share(shown == N_STATES, nothing)
    if random == 0.0:
        return
    rest = shown[shown < N_STATES]
    for state in range(N_STATES):  # uniform whatever the true state is
        assert_share(rest == state, 1.0 / N_STATES)
    # A random state is the true one by chance.
    own = (1.0 - nothing - random + random / N_STATES) / (1.0 - nothing)
    assert_share(rest == true[shown < N_STATES], own)


@pytest.mark.parametrize("n_masks", [1, 3, 7, 20])
def test_no_site_comes_twice_in_a_cycle(n_masks):
    policy = masking(masks=n_masks)
    if policy.masks_all_sites:
        assert batch(policy).predicted is None
        return
    cycle = LENGTH // n_masks
    visits = [hidden(policy, visit)[:, 0] for visit in range(2 * cycle)]
    assert all((visit.sum(axis=1) == n_masks).all() for visit in visits)
    for start in (0, cycle):
        times = np.sum(visits[start : start + cycle], axis=0)
        assert times.max() == 1
        assert (times.sum(axis=1) == cycle * n_masks).all()
    assert not np.array_equal(visits[0], visits[cycle])


@pytest.mark.parametrize("n_masks", [1, 3, 7])
@pytest.mark.parametrize("visit", [0, 1])
def test_one_site_masks_are_uniform_over_sites(n_masks, visit):
    chosen = hidden(masking(masks=n_masks), visit)[:, 0]
    share = n_masks / LENGTH
    error = np.sqrt(share * (1.0 - share) / N_SEQUENCES)
    assert np.abs(chosen.mean(axis=0) - share).max() < Z * error
    # Pairs of neighbors come with the probability of drawing without replacement.
    both = (chosen[:, :-1] & chosen[:, 1:]).mean()
    expected = n_masks * (n_masks - 1) / LENGTH / (LENGTH - 1)
    assert abs(both - expected) < Z * np.sqrt((expected + 1e-4) / N_SEQUENCES)


def test_one_site_masks_show_everything():
    masked = batch(masking(masks=3))
    assert masked.one_site
    assert np.array_equal(masked.context.numpy(), SEQUENCES)
    assert np.array_equal(masked.targets.numpy(), SEQUENCES)


@pytest.mark.parametrize("options", POLICIES)
def test_predictions_and_distinct_share_are_those_counted(options, rng):
    policy = masking(**options)
    weights = rng.uniform(0.5, 1.5, size=N_SEQUENCES)
    found = hidden(policy)
    counted = weights @ found.sum(axis=(1, 2))
    predicted = policy.predictions(weights)
    if policy.mask_mode == "static" or policy.mask_fraction is None:
        np.testing.assert_allclose(predicted, counted, rtol=1e-12)
    else:
        variance = policy.mask_fraction * (1.0 - policy.mask_fraction) * LENGTH * policy.n_masks
        assert 0.0 < abs(predicted - counted) < Z * np.sqrt(variance * (weights**2).sum())
    if policy.mask_mode == "fresh":
        assert policy.distinct_share == 1.0
    elif policy.mask_fraction is None:
        assert policy.distinct_share == found.any(axis=1).mean()
    else:
        assert_share(found.any(axis=1), policy.distinct_share)


def test_weights_of_patterns_are_those_of_sequences():
    weights = torch.arange(N_SEQUENCES, dtype=torch.float64)
    masked = masking(mask_fraction=0.5, masks=3).batch(ROWS, SEQUENCES, weights, 0)
    assert torch.equal(masked.weights.reshape(-1, 3), weights[:, None].expand(-1, 3))
    part = masked.part(slice(4, 9))
    assert torch.equal(part.weights, masked.weights[4:9])
    assert torch.equal(part.predicted, masked.predicted[4:9])
    assert torch.equal(part.to(torch.device("cpu")).context, masked.context[4:9])


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_any_seed_will_do(seed):
    assert_share(hidden(masking(mask_fraction=0.3, seed=seed)), 0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_mode": "frozen"}, "mask_mode must be one of fresh, static; got 'frozen'"),
        ({"hidden_as": "bart"}, r"hidden_as must be one of .*did you mean bert"),
        ({"masks": 0}, "masks must be at least 1, got 0"),
        ({"masks": 21}, "masks must be at most the length 20, got 21"),
        ({"hidden_as": "bert"}, "hidden_as 'bert' needs a mask_fraction"),
        ({"mask_fraction": 0.0}, "mask_fraction must be above 0, got 0"),
        ({"mask_fraction": -0.1}, "mask_fraction must be above 0, got -0.1"),
        ({"mask_fraction": float("nan")}, "mask_fraction must be finite"),
        ({"mask_fraction": 1.0}, r"mask_fraction must be below 1, got 1.0: nothing would be seen"),
        ({"mask_fraction": 0.5, "masks": 0}, "masks must be at least 1"),
        ({"mask_fraction": 0.5, "n_states": 256}, "at most 255 states, got 256"),
    ],
)
def test_wrong_policies_are_named(options, message):
    sizes = {"length": LENGTH, "n_states": N_STATES}
    with pytest.raises(InputError, match=message):
        BoundMasking(**{**sizes, **options})


def test_many_patterns_of_a_fraction_are_allowed():
    assert masking(mask_fraction=0.1, masks=3 * LENGTH).n_masks == 3 * LENGTH
    with pytest.raises(TypeError, match="masks must be a whole number"):
        masking(masks=2.0)
