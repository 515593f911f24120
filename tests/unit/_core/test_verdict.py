"""Verdicts on losses: earned by what was seen, with a reason and what to do."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn._core.validate import ConvergenceWarning
from pottsattn._core.verdict import Verdict, judge_bounded, judge_losses, stated

STEPS = np.arange(400)


def noise(size: float, seed: int = 0) -> np.ndarray:
    return size * np.random.default_rng(seed).standard_normal(len(STEPS))


def test_a_loss_that_came_to_rest_has_converged():
    found = judge_losses(1.0 + np.exp(-STEPS / 30.0) + noise(0.01), 400)
    assert found.converged
    assert "of its whole fall over the last fifth of 400 steps" in found.message


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (2.0 - 1e-6 * STEPS, "is not below that of the start"),  # a rate of 1e-8
        (2.0 + 0.0 * STEPS, "is not below that of the start"),
        (2.0 - STEPS / 400, "raise the steps"),  # as fast at the end as at the start
        (1.0 + np.exp(-STEPS / 200.0), "raise the steps"),
        (1.0 + 1.0 / (1.0 + STEPS / 20.0), "raise the steps"),
        (1.0 + STEPS / 400, "above that of the start"),
        (1.0 + np.exp(-STEPS / 30.0) + (STEPS / 500) ** 4, "lower the learning rate"),
    ],
)
def test_a_loss_that_did_not_move_or_still_moves_has_not_converged(losses, words, seed):
    found = judge_losses(losses + noise(0.01, seed), 400)
    assert not found.converged
    assert words in found.message


def test_noise_that_hides_the_fall_is_told():
    found = judge_losses(1.0 + np.exp(-STEPS / 30.0) + noise(0.2), 400)
    assert not found.converged
    assert "for less noise" in found.message or "raise the steps" in found.message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_known_proves_nothing(bad):
    losses = 1.0 + np.exp(-STEPS / 30.0)
    losses[200] = bad
    for found in (judge_losses(losses, 400), judge_bounded(losses - 1.0, 400)):
        assert not found.converged
        assert "numbers became too large" in found.message


def test_few_losses_are_not_judged():
    found = judge_losses(np.linspace(2.0, 1.0, 9), 9)
    assert found.message.startswith("9 losses are too few to judge")
    assert not found.converged


@pytest.mark.parametrize(
    ("excess", "converged"),
    [((1.0, 0.5, 0.019), True), ((1.0, 0.021), False), ((1.0, 1.0), False), ((1.0, 2.0), False)],
)
def test_what_is_left_of_a_known_smallest_loss_is_judged(excess, converged):
    found = judge_bounded(np.array(excess), 7)
    assert found.converged == converged
    assert bool(found.remedy)


def test_the_words_of_a_verdict():
    assert stated(True, "whatever") == "converged"
    assert (
        stated(False, "too short; raise the steps") == "NOT converged: too short; raise the steps"
    )
    assert stated(False) == "NOT converged"
    assert Verdict(True, "flat", "raise the steps").message == "flat"
    with pytest.warns(ConvergenceWarning, match="too short; raise the steps"):
        Verdict(False, "too short", "raise the steps").warn()
