"""How a training ended, in plain words.

What may be called converged is said in `pottsattn._core.verdict`. A learning rate that falls to
zero stills any training: where the problem is convex a bound must agree, and where nothing bounds
the distance to the minimum the training must at least have left its start.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pottsattn._core.verdict import TOLERANCES, Verdict, at_infinity
from pottsattn.fitting.existence import never_seen
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.existence import can_grow, missing_optimum_of_masks
from pottsattn.fitting.masked.full_batch_verdict import judge_full_batch
from pottsattn.fitting.masked.steps import Training


def judge(training: Training) -> Verdict:
    """Return the verdict on a training that has finished, uninterrupted."""
    if why := _runs_away(training):
        return at_infinity(why)
    recipe = training.recipe
    step, loss = training.best
    is_past = training.at_rest and step < training.done and not training.judges_held_out
    if training.stopped_early or (recipe.stop_early and is_past):
        if step == 0:
            reason = (
                f"the held-out loss did not fall below that of the start, {loss:.4f} nats, in "
                f"{training.done} steps"
            )
            return Verdict(False, reason, "lower learning_rate or raise the penalty")
        reason = (
            f"the held-out loss was least at step {step}, {loss:.4f} nats, and did not fall for "
            f"{training.done - step} steps: parameters of that step"
        )
        if loss >= training.plateau:
            reason += f", not below the {training.plateau:.4f} of independent sites"
            return Verdict(False, reason, "raise learning_rate or max_steps")
        return Verdict(True, reason)
    if training.full_batch is not None:
        return judge_full_batch(training, training.full_batch)
    more = "raise max_steps"
    if not training.masking.masks_all_sites and training.masking.mask_mode == "fresh":
        more += " or masks"
    found = training.doubling
    if not math.isfinite(training.numbers.objective):
        return Verdict(False, "the training objective is not finite", "lower learning_rate")
    if recipe.schedule == "cosine":
        text = (
            f"the learning rate fell to zero over {training.done} steps, which stills any training"
        )
        return _judge_gap(training, text, "use the schedule averaged, or raise max_steps")
    if found is None:
        return Verdict(False, f"{training.done} steps are too few to judge", more)
    text = f"twice the {training.done} steps would gain about {found.gain:.1e}"
    text += f" ± {found.gain_error:.1e}" if found.error > 0.0 else ""
    text += " nats per site" + " on held-out sequences" * training.judges_held_out
    if recipe.stop_early and step < training.done:
        text += f"; parameters of step {step}, where the held-out loss was least"
    if not found.is_still:
        if not found.is_known:
            text += ", which is not known well enough"
        return Verdict(False, f"{text}, expected at most {found.most:.1e}", more)
    if found.loss_error > 0.0:
        what = "held-out loss" if training.judges_held_out else "loss"
        text += f"; the standard error of the {what} is {found.loss_error:.1e}"
    return _judge_gap(training, text, more)


def _judge_gap(training: Training, text: str, more: str) -> Verdict:
    """Return the verdict on a training that stands still, or whose rate fell to zero."""
    gradient = training.numbers.gradient
    shared: dict[str, Any] = {"gradient_norm": gradient.norm, "gradient_noise": gradient.noise}
    if math.isfinite(gradient.gap):
        most = TOLERANCES.random_gap
        text += f"; at most {gradient.gap:.1e} nats per site above the minimum"
        if gradient.gap > most:
            text, more = f"{text}, expected {most:.0e}", f"{more}, learning_rate or the penalty"
        return Verdict(gradient.gap <= most, text, more, gradient.gap, "bound", **shared)
    if _is_unbounded(training):
        text += "; without a penalty nothing bounds the distance to the minimum"
        return Verdict(False, text, "use the optimizer lbfgs, or a penalty", **shared)
    if training.recipe.schedule == "cosine":
        return Verdict(False, text, more, **shared)
    if why := _learned_nothing(training):
        return Verdict(False, f"{text}, but {why}", "raise learning_rate", **shared)
    return Verdict(True, text, **shared)


def _learned_nothing(training: Training) -> str | None:
    """Return what tells that a training stands still because it never moved, or None."""
    objective, loss = training.history().objective, training.numbers.train_loss
    if objective[0] - objective[-1] <= TOLERANCES.fall:  # NaN for a transformer
        return "it is that of the start"
    independent = training.data.independent_loss
    if not np.isnan(objective[0]) or loss < independent:
        return None
    return f"the loss, {loss:.4f} nats, is not below the {independent:.4f} of independent sites"


def _runs_away(training: Training) -> str | None:
    """Return why the optimum is at infinity, as far as that can be seen; None if it is not."""
    network, penalty = training.objective.network, training.objective.penalty
    if not isinstance(network, FactoredAttention):
        return None
    if not training.evaluation.draws_masks:
        return missing_optimum_of_masks(training)
    if network.learns_fields and penalty.fields_l2 == 0.0:
        return never_seen(training.data.frequencies())
    return None


def _is_unbounded(training: Training) -> bool:
    """Whether nothing was found that holds couplings in place."""
    network, penalty = training.objective.network, training.objective.penalty
    if not isinstance(network, FactoredAttention):
        return False
    is_free = penalty.couplings_l2 == 0.0 and can_grow(network)
    return network.is_convex or (training.evaluation.draws_masks and is_free)
