"""Masked modeling: train a network to predict masked sites from the others.

With one-site masks the loss is, in expectation over masks, the pseudo-likelihood per site, so that
the minimum of factored attention is the pseudo-likelihood optimum at the same penalty
(docs/theory.md). The objective is that of `fit_pseudolikelihood`, summed over sites,
so both fits share one ridge. Masking more than one site at a time is another objective, and a
transformer another network; their losses are measured in the same way, with the full context.

Reference: Rende et al., Phys. Rev. Research 6, 023057 (2024), section III.
"""

from __future__ import annotations

import hashlib
import time
import warnings
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, overload

import numpy as np
import torch

from pottsattn._core.checkpoint import CheckpointLike
from pottsattn._core.display import Progress
from pottsattn._core.threads import n_threads_or_default
from pottsattn._core.validate import (
    ConvergenceWarning,
    InputError,
    check_choice,
    check_generator,
    check_nonnegative,
)
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.masking import Masking
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.fitting.masked.objective import Network, Objective, masked_losses
from pottsattn.fitting.masked.steps import Training
from pottsattn.fitting.masked.training_data import TrainingData
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.masked.verdict import judge
from pottsattn.fitting.record import Penalty, penalty_for
from pottsattn.fitting.result import FitResult
from pottsattn.training.recipe import Recipe
from pottsattn.training.steps import take_steps
from pottsattn.training.workers import choose_device, join_workers, limit_threads

__all__ = ["PRECISIONS", "masked_losses", "train_masked"]

PRECISIONS = ("single", "double", "bfloat16")
LEARNING_RATES = {"attention": 0.1, "transformer": 1e-3}
CLIP_NORMS = {"attention": None, "transformer": 1.0}
BATCH_SIZES = {"attention": 8192, "transformer": 128}
Sequences = SequenceDataset | SequenceFile


@overload
def train_masked(
    dataset: Sequences, layer: FactoredAttention | None = None, **options: Any
) -> FitResult: ...
@overload
def train_masked(dataset: Sequences, layer: MaskedTransformer, **options: Any) -> NetworkFit: ...
def train_masked(  # type: ignore[misc]
    dataset: Sequences,
    layer: Network | None = None,
    *,
    n_heads: int = 1,
    attention: str = "free",
    head_dimension: int | None = None,
    color_similarity: str = "identity",
    fields: str = "learned",
    symmetric: bool = False,
    ridge: float | None = None,
    couplings_l2: float | None = None,
    fields_l2: float = 0.01,
    masks: int | None = None,
    mask_fraction: float | None = None,
    mask_mode: str = "fresh",
    hidden_as: str = "dropped",
    optimizer: str = "adam",
    max_steps: int = 300,
    batch_size: int | None = None,
    accumulate: int = 1,
    learning_rate: float | None = None,
    schedule: str = "cosine",
    warmup_steps: int = 0,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    precision: str | None = None,
    rng: np.random.Generator | int | None = None,
    validation: Sequences | None = None,
    stop_early: bool = False,
    checkpoint: CheckpointLike | None = None,
    device: str = "auto",
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> FitResult | NetworkFit:
    """Return a network trained by masked modeling.

    Started by `torchrun`, the processes share every batch; all return the same fit.

    Parameters
    ----------
    dataset
        Weighted sequences, in memory or in a file that is read as it is needed; the true model, if
        any, is not looked at.
    layer
        The network, which may be a transformer; trained in place. If left out: factored attention
        of `n_heads`, `attention`, `head_dimension`, `color_similarity`, `fields`, `symmetric`.
    ridge, couplings_l2, fields_l2
        Penalties of factored attention as in `fit_pseudolikelihood`; ridge 0.2 if neither is given.
        With static masks `couplings_l2` = ridge / (2 alpha share), see `Masking.distinct_share`.
    masks, mask_fraction, mask_mode, hidden_as
        What is masked: see `Masking`. If left out, every site of every
        sequence is predicted from all the others, for a transformer one site.
    optimizer
        "adam", with batches, or "lbfgs": full-batch steps until nothing changes, for objectives
        that stay the same (masks of all sites, or static ones).
    max_steps, batch_size, accumulate
        Steps; sequences a step at most (an epoch is cut into batches of nearly equal size), 8192
        for factored attention and 128 for a transformer if left out; parts of a batch whose
        gradients are added up, to save memory. With lbfgs `batch_size` is that of the parts.
    learning_rate, schedule, warmup_steps
        Of Adam: the highest rate, 0.1 for factored attention and 1e-3 for a transformer if left
        out; "cosine", which falls to zero, or "constant"; steps over which it rises from zero.
    weight_decay
        Of AdamW, for a transformer.
    clip_norm
        Longer gradients of the mean loss are scaled to this norm; 1 for a transformer if left out,
        not at all for factored attention.
    precision
        "single" (of adam), "double" (of lbfgs), or "bfloat16": matrix products in half precision.
    rng
        Generator or seed for starting values, batches and masks.
    validation
        Held-out sequences: their loss is recorded along the training.
    stop_early
        End the training when the held-out loss has not fallen over a fifth of `max_steps`, and
        return the parameters of the least one.
    checkpoint
        The file that the fit will be saved to, or a `CheckpointFile`: the state of the training is
        kept in FILE.partial, a killed training continues from it to the same bits, and it is
        removed in the end. Needs a seed.
    device
        "auto" (CUDA if there is one), "cpu" or "cuda".
    n_threads
        Threads on the CPU. On a busy machine one is often faster, unless OMP_WAIT_POLICY=PASSIVE is
        set before Python starts.
    progress
        Called with (steps done, steps).

    Returns
    -------
    FitResult or NetworkFit
        With a history; `NetworkFit` for a transformer, which has no couplings, and whose history
        has the loss of at most 2000 training sequences, for which it takes L passes, and that in
        the last fifth only. `converged`: the objective on the full training data changed by less
        than 1e-5 nats per site over the last fifth of at least 50 steps and, where the problem is
        convex, is at most 1e-3 above its minimum by the bound of convexity (lbfgs: 1e-6); or the
        held-out loss, once it had fallen, ended the training. Interrupted by Ctrl-C: what was
        learned so far, not converged.

    Raises
    ------
    InputError
        A wrong option value, a network that does not fit the data, or a FILE.partial of another
        training.

    Warns
    -----
    ConvergenceWarning
        The training objective was still changing.
    """
    data = TrainingData(dataset)
    held_out = None if validation is None else TrainingData(validation)
    if held_out is not None and (held_out.length, held_out.n_states) != (
        data.length,
        data.n_states,
    ):
        raise InputError(
            f"the validation data have (length, n_states) = {held_out.length, held_out.n_states}, "
            f"the training data {data.length, data.n_states}"
        )
    if checkpoint is not None and rng is None:
        raise InputError("a checkpoint needs a seed, by which the next run continues it; give rng")
    seed = int(check_generator(rng).integers(2**63))
    method = "transformer" if isinstance(layer, MaskedTransformer) else "attention"
    if method == "transformer" and masks is None and mask_fraction is None:
        masks = 1
    masking = Masking(
        data.length,
        data.n_states,
        masks,
        mask_fraction,
        mask_mode,
        hidden_as,
        seed,
        data.gap_policy,
    )
    recipe = Recipe(
        optimizer,
        max_steps,
        BATCH_SIZES[method] if batch_size is None else batch_size,
        accumulate,
        LEARNING_RATES[method] if learning_rate is None else learning_rate,
        schedule,
        warmup_steps,
        weight_decay,
        stop_early,
        CLIP_NORMS[method] if clip_norm is None else clip_norm,
    )
    if layer is None:
        layer = FactoredAttention(
            data.length,
            data.n_states,
            n_heads,
            attention=attention,
            head_dimension=head_dimension,
            color_similarity=color_similarity,
            fields=fields,
            symmetric=symmetric,
            generator=torch.Generator().manual_seed(seed),
        )
    network = layer
    _check_size(network, data)
    _check_gaps(network, data, held_out)
    penalty = _penalty(network, dataset, masking, ridge, couplings_l2, fields_l2, weight_decay)
    default_precision = "double" if optimizer == "lbfgs" else "single"
    precision = check_choice("precision", precision or default_precision, PRECISIONS)
    chosen = choose_device(device)
    network.to(device=chosen, dtype=torch.float64 if precision == "double" else torch.float32)
    config = {
        **network.architecture,
        "masks": masking.n_masks,
        "mask_fraction": mask_fraction,
        "mask_mode": mask_mode,
        "hidden_as": hidden_as,
        **asdict(recipe),
        "precision": precision,
        "device": chosen.type,
        "seed": seed,
    }
    objective = Objective(
        network, penalty, n_threads_or_default(n_threads), in_half=precision == "bfloat16"
    )
    started = time.perf_counter()
    with ExitStack() as stack:
        workers = stack.enter_context(join_workers(chosen))
        stack.enter_context(limit_threads(n_threads, workers.count))
        facts = {}
        if checkpoint is not None and workers.leads:
            facts = {**config, "penalty": asdict(penalty), "data": data.fingerprint()}
            facts["validation"] = None if held_out is None else held_out.fingerprint()
            facts["start"] = _fingerprint(network)
        training = Training(objective, data, held_out, masking, recipe, workers, seed)
        ended = take_steps(training, checkpoint, facts, progress=progress, workers=workers)
    converged, message = (False, ended.message) if ended.interrupted else judge(training)
    numbers = training.numbers
    if not converged and not ended.interrupted:
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
    shared: dict[str, Any] = {
        "method": method,
        "n_sequences": dataset.n_sequences,
        "effective_size": dataset.effective_size,
        "objective": numbers.objective,
        "train_loss": numbers.train_loss,
        "penalty": penalty,
        "gradient_norm": numbers.gradient_norm,
        "optimality_gap": numbers.optimality_gap,
        "n_evaluations": training.n_evaluations,
        "n_parameters": network.n_parameters,
        "seconds": time.perf_counter() - started,
        "converged": converged,
        "interrupted": ended.interrupted,
        "message": message,
        "resumed_from": ended.resumed_from,
        "alphabet": dataset.alphabet,
        "gap_index": dataset.gap_index,
        "columns": dataset.columns,
        "gap_policy": data.gap_policy,
        "history": training.history(),
        "config": config,
        "origin": {"data": dataset.origin},
    }
    if isinstance(network, MaskedTransformer):
        return NetworkFit.of(network, **shared)
    learned_fields, couplings = network.implied_couplings()
    return FitResult(
        fields=learned_fields, couplings=couplings, symmetric=network.symmetric, **shared
    )


def _check_size(network: Network, data: TrainingData) -> None:
    size = (network.length, network.n_states)
    if size != (data.length, data.n_states):
        raise InputError(
            f"the layer is for {size} (length, n_states), the data are "
            f"{(data.length, data.n_states)}"
        )


def _check_gaps(network: Network, data: TrainingData, held_out: TrainingData | None) -> None:
    if held_out is not None and held_out.gap_policy != data.gap_policy:
        raise InputError(
            f"gaps of the training data are {data.gap_policy}, those of the validation data "
            f"{held_out.gap_policy}; expected one policy"
        )
    if data.gap_policy == "state":
        return
    if isinstance(network, MaskedTransformer):
        raise InputError("a transformer cannot ignore gaps; keep them as a state (--gaps state)")
    if network.learns_similarity and not network.learns_fields:
        raise InputError(
            "ignored gaps with a learned color similarity need fields: without them it carries "
            "fields, which a gap would switch off; use fields learned"
        )


def _penalty(
    network: Network,
    dataset: Sequences,
    masking: Masking,
    ridge: float | None,
    couplings_l2: float | None,
    fields_l2: float,
    weight_decay: float,
) -> Penalty:
    if isinstance(network, MaskedTransformer):
        if ridge is not None or couplings_l2 is not None:
            raise InputError("a transformer has no couplings to penalize; use weight_decay")
        return Penalty(0.0, 0.0)
    if check_nonnegative("weight_decay", weight_decay) > 0.0:
        raise InputError("weight_decay is for a transformer; factored attention has a ridge")
    return penalty_for(
        dataset,
        ridge=ridge,
        couplings_l2=couplings_l2,
        fields_l2=fields_l2,
        share=masking.distinct_share,
    )


def _fingerprint(network: Network) -> str:
    """Return a hash of the parameters that a training starts from."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
