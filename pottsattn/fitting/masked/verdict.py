"""How a training ended: numbers on the full data, and in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.objective import mean_loss
from pottsattn.fitting.penalty import Penalty
from pottsattn.training.recipe import FullRecipe

if TYPE_CHECKING:
    from pottsattn.fitting.masked.steps import Training

OBJECTIVE_TOLERANCE = 1e-5  # nats per site
GAP_TOLERANCE = {"adam": 1e-3, "lbfgs": 1e-6}  # nats per site, for the bound that convexity gives
FEWEST_STEPS = 50  # fewer say nothing about convergence: the window is then a few tiny steps


@dataclass(frozen=True)
class FinalNumbers:
    """Of the network as it is returned, on the full training data.

    Attributes
    ----------
    objective : float
        Full-context loss, summed over sites, plus penalty.
    train_loss : float
        Nats per masked site, each site alone masked.
    gradient_norm, optimality_gap : float
        Of what was minimized; NaN for fresh masks of a fraction of the sites, whose objective is an
        average over masks, and for transformers.
    """

    objective: float
    train_loss: float
    gradient_norm: float
    optimality_gap: float


def final_numbers(training: Training) -> FinalNumbers:
    """Return objective, loss and gradient of the network that a training ends with."""
    objective, data, masking = training.objective, training.data, training.masking
    network = objective.network
    loss = mean_loss(objective, training.one_by_one(data), training.workers)
    with torch.no_grad():
        term = float(objective.penalty_term())
    total = data.length * data.observed_share * loss + term
    is_average = masking.mask_mode == "fresh" and masking.mask_fraction is not None
    if not isinstance(network, FactoredAttention) or is_average:
        return FinalNumbers(total, loss, math.nan, math.nan)
    network.zero_grad()
    for batch in training.full_batches():
        (data.length * objective.loss(batch)).backward()
    term_here = objective.penalty_term() / training.workers.count
    term_here.backward()  # type: ignore[no-untyped-call]
    squares = torch.zeros(data.length, dtype=torch.float64, device=training.device)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        gradient = training.workers.add_tensor(parameter.grad.double())
        if name in ("interactions", "scores"):
            squares += (gradient**2).sum(dim=(0, 2))
        elif name == "fields":
            squares += (gradient**2).sum(dim=1)
        else:
            squares += (gradient**2).sum()
    network.zero_grad()
    norm = float(squares.max().sqrt())
    return FinalNumbers(total, loss, norm, _gap(network, squares, objective.penalty))


def _gap(network: FactoredAttention, squares: torch.Tensor, penalty: Penalty) -> float:
    """Return the bound of strong convexity per site: |gradient|^2 / (4 l2)."""
    strength = min([penalty.couplings_l2] + [penalty.fields_l2] * network.learns_fields)
    if not network.is_convex or strength == 0.0:
        return math.nan
    worst = squares.mean() if network.symmetric else squares.max()  # rows are separate problems
    return float(worst) / (4.0 * strength)


def judge(training: Training) -> tuple[bool, str]:
    """Return whether a training that has finished, uninterrupted, converged; and a message."""
    recipe, history, numbers = training.recipe, training.history(), training.numbers
    step, loss = training.best
    if training.stopped_early or (recipe.stop_early and training.at_rest and step < training.done):
        if step == 0:
            return False, (
                f"the held-out loss did not fall below that of the start, {loss:.4f} nats, in "
                f"{training.done} steps; lower learning_rate or raise the penalty"
            )
        return True, (
            f"the held-out loss was least at step {step}, {loss:.4f} nats, and did not fall for "
            f"{training.done - step} steps: parameters of that step"
        )
    more = "raise max_steps"
    if not training.masking.masks_all_sites and training.masking.mask_mode == "fresh":
        more += " or masks"
    start = (recipe.max_steps - recipe.patience) / training.steps_per_epoch
    before = int(np.searchsorted(history.epochs, start))
    is_least = recipe.optimizer == "lbfgs" and numbers.optimality_gap <= GAP_TOLERANCE["lbfgs"]
    if training.at_rest or is_least:
        rested = "the objective came to rest after" if training.at_rest else "at the optimum after"
        return _judge_gap(f"{rested} {training.done} steps", numbers, recipe, more)
    fall = float(history.objective[before] - history.objective[-1])
    epochs = history.epochs[-1] - history.epochs[before]
    if not math.isfinite(fall):
        return False, "the training objective is not finite; lower learning_rate"
    text = f"the objective changed by {-fall:.1e} nats per site over the last {epochs:.0f} epochs"
    if recipe.stop_early and step < training.done:
        text += f"; parameters of step {step}, where the held-out loss was least"
    if recipe.max_steps < FEWEST_STEPS:
        return False, f"{text}, but {recipe.max_steps} steps are too few to judge; {more}"
    if abs(fall) >= OBJECTIVE_TOLERANCE:
        return False, f"{text}, expected less than {OBJECTIVE_TOLERANCE:.0e}; {more}"
    return _judge_gap(text, numbers, recipe, more)


def _judge_gap(text: str, numbers: FinalNumbers, recipe: FullRecipe, more: str) -> tuple[bool, str]:
    """A learning rate that falls to zero stills any training; a bound of convexity must agree."""
    gap, most = numbers.optimality_gap, GAP_TOLERANCE[recipe.optimizer]
    if math.isnan(gap):
        return True, text
    text += f"; at most {gap:.1e} nats per site above the minimum"
    if gap > most:
        return False, f"{text}, expected {most:.0e}; {more}, learning_rate or the penalty"
    return True, text
