"""How a training ended, in plain words.

What may be called converged is said in `pottsattn._core.verdict`. A learning rate that falls to
zero stills any training: where the problem is convex a bound must agree, and where nothing bounds
the distance to the minimum the training must at least have left its start.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import entr

from pottsattn._core.verdict import TOLERANCES, Verdict, at_infinity
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.fitting.existence import missing_optimum, never_seen
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.full_batch_verdict import judge_full_batch, missing_optimum_of_masks
from pottsattn.fitting.masked.steps import Training

FEWEST_STEPS = 50  # fewer say nothing about convergence: the window is then a few tiny steps


def judge(training: Training, dataset: SequenceDataset | SequenceFile) -> Verdict:
    """Return the verdict on a training that has finished, uninterrupted."""
    if why := _runs_away(training, dataset):
        return at_infinity(why)
    recipe, history = training.recipe, training.history()
    step, loss = training.best
    if training.stopped_early or (recipe.stop_early and training.at_rest and step < training.done):
        if step == 0:
            reason = (
                f"the held-out loss did not fall below that of the start, {loss:.4f} nats, in "
                f"{training.done} steps"
            )
            return Verdict(False, reason, "lower learning_rate or raise the penalty")
        return Verdict(
            True,
            f"the held-out loss was least at step {step}, {loss:.4f} nats, and did not fall for "
            f"{training.done - step} steps: parameters of that step",
        )
    if training.full_batch is not None:
        return judge_full_batch(training, training.full_batch)
    more = "raise max_steps"
    if not training.masking.masks_all_sites and training.masking.mask_mode == "fresh":
        more += " or masks"
    start = (recipe.max_steps - recipe.patience) / training.steps_per_epoch
    before = int(np.searchsorted(history.epochs, start))
    fall = float(history.objective[before] - history.objective[-1])
    epochs = history.epochs[-1] - history.epochs[before]
    if not math.isfinite(fall):
        return Verdict(False, "the training objective is not finite", "lower learning_rate")
    text = f"the objective changed by {-fall:.1e} nats per site over the last {epochs:.0f} epochs"
    if recipe.stop_early and step < training.done:
        text += f"; parameters of step {step}, where the held-out loss was least"
    if recipe.max_steps < FEWEST_STEPS:
        return Verdict(False, f"{text}, but {recipe.max_steps} steps are too few to judge", more)
    if abs(fall) >= TOLERANCES.fall:
        return Verdict(False, f"{text}, expected less than {TOLERANCES.fall:.0e}", more)
    return _judge_gap(training, dataset, text, more)


def _judge_gap(
    training: Training, dataset: SequenceDataset | SequenceFile, text: str, more: str
) -> Verdict:
    """Return the verdict on a training that stands still."""
    numbers, network = training.numbers, training.objective.network
    gap, norm = numbers.optimality_gap, numbers.gradient_norm
    if math.isfinite(gap):
        most = TOLERANCES.random_gap
        text += f"; at most {gap:.1e} nats per site above the minimum"
        if gap > most:
            text, more = f"{text}, expected {most:.0e}", f"{more}, learning_rate or the penalty"
        return Verdict(gap <= most, text, more, gap, "bound", norm)
    is_convex = isinstance(network, FactoredAttention) and network.is_convex
    if is_convex and not math.isnan(norm):
        text += "; without a penalty nothing bounds the distance to the minimum"
        return Verdict(False, text, "use the optimizer lbfgs, or a penalty", gradient_norm=norm)
    if why := _learned_nothing(training, dataset):
        return Verdict(False, f"{text}, but {why}", "raise learning_rate", gradient_norm=norm)
    return Verdict(True, text, gradient_norm=norm)


def _learned_nothing(training: Training, dataset: SequenceDataset | SequenceFile) -> str | None:
    """Return what tells that a training stands still because it never moved, or None."""
    objective, loss = training.history().objective, training.numbers.train_loss
    if objective[0] - objective[-1] <= TOLERANCES.fall:  # NaN for a transformer
        return "it is that of the start"
    if not np.isnan(objective[0]) or isinstance(dataset, SequenceFile):
        return None
    independent = float(entr(dataset.site_frequencies()).sum(axis=1).mean())
    if loss < independent:
        return None
    return f"the loss, {loss:.4f} nats, is not below the {independent:.4f} of independent sites"


def _runs_away(training: Training, dataset: SequenceDataset | SequenceFile) -> str | None:
    """Return why the optimum is at infinity, as far as that can be seen; None if it is not."""
    network, penalty = training.objective.network, training.objective.penalty
    if not isinstance(network, FactoredAttention) or isinstance(dataset, SequenceFile):
        return None
    if training.masking.mask_mode == "static":
        return missing_optimum_of_masks(training)
    has_one_site_masks = training.masking.mask_fraction is None
    can_grow = network.attention == "free" or network.learns_similarity
    if has_one_site_masks and can_grow:
        return missing_optimum(
            dataset,
            penalty,
            *network.implied_couplings(),
            learn_fields=network.learns_fields,
            symmetric=network.symmetric,
        )
    if network.learns_fields and penalty.fields_l2 == 0.0:
        return never_seen(dataset.site_frequencies())
    return None
