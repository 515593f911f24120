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
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any, overload

import numpy as np
import torch

from pottsattn._core.checkpoint import CheckpointLike
from pottsattn._core.display import Progress
from pottsattn._core.stopwatch import Stopwatch
from pottsattn._core.threads import n_threads_or_default
from pottsattn._core.validate import (
    InputError,
    check_generator,
)
from pottsattn._core.verdict import Verdict
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.resampling import split
from pottsattn.data.sequence_file import SequenceFile
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.masking import BoundMasking
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.fitting.masked.objective import Network, Objective
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.masked.steps import Training
from pottsattn.fitting.masked.training_data import TrainingData
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.masked.verdict import judge
from pottsattn.fitting.penalty import Penalty, Ridge, penalty_or_ridge
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.training_record import TrainingRecord
from pottsattn.training.recipe import FullRecipe, Recipe
from pottsattn.training.steps import take_steps
from pottsattn.training.workers import choose_device, join_workers, limit_threads

# Where the recipe leaves the choice to the network.
DEFAULTS: dict[str, dict[str, Any]] = {
    "attention": {"max_steps": 20_000, "batch_size": 8192, "learning_rate": 0.1},
    "transformer": {
        "max_steps": 10_000,
        "batch_size": 512,
        "learning_rate": 5e-3,
        "warmup_steps": 50,
        "clip_norm": 1.0,
    },
}
FULL_BATCH_STEPS = 10_000  # of lbfgs, which ends at the optimum: a bound
HELD_OUT, MOST_HELD_OUT = 0.1, 2000  # share of the sequences where none are given, and at most
FEWEST = 100  # sequences of which some are held out without being asked for
Sequences = SequenceDataset | SequenceFile


@overload
def train_masked(
    dataset: Sequences, layer: FactoredAttention | AttentionConfig | None = None, **options: Any
) -> FitResult: ...
@overload
def train_masked(dataset: Sequences, layer: MaskedTransformer, **options: Any) -> NetworkFit: ...
def train_masked(  # type: ignore[misc]
    dataset: Sequences,
    layer: Network | AttentionConfig | None = None,
    *,
    ridge: float | None = None,
    penalty: Penalty | Ridge | None = None,
    masking: Masking | None = None,
    recipe: Recipe | None = None,
    validation: Sequences | None = None,
    rng: np.random.Generator | int | None = None,
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
        The network, trained in place, or the factored attention to build with the seed of the
        training: `AttentionConfig()` if left out.
    ridge, penalty
        Penalties of factored attention as in `fit_pseudolikelihood`; a transformer has none.
        With static masks `couplings_l2` = ridge / (2 alpha share), see
        `BoundMasking.distinct_share`.
    masking
        What is masked. If left out, every site of every sequence is predicted from all the others,
        for a transformer one site.
    recipe
        How it is trained: `Recipe()` if left out. An objective that stays the same is then
        minimized to its optimum.
    validation
        Held-out sequences: their loss is recorded along the training. Where it ends early and none
        are given, a tenth of `dataset`, at most 2000 sequences, is held out (`data.split`).
    rng
        Generator or seed for starting values, batches and masks.
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
        has the loss of at most 2000 training sequences, for which it takes L passes, and that
        where periods end only. `converged` (docs/limits.md): by lbfgs, at the optimum, to 1e-6 nats
        per site where it is convex, else where as many steps again would gain at most 1e-5; by
        adam, where twice the steps would gain no more than 1e-5 or the standard error of that
        (of a transformer, half that of its loss) and, where the problem is convex, the bound on the
        distance to its minimum is at most 1e-2; or the held-out loss, once it had fallen, ended the
        training. Interrupted by Ctrl-C: what was learned so
        far, not converged.

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
    record = TrainingRecord.of(dataset)
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
    network = AttentionConfig() if layer is None else layer
    if isinstance(network, AttentionConfig):
        generator = torch.Generator().manual_seed(seed)
        sizes = data.length, data.n_states
        network = FactoredAttention(*sizes, generator=generator, **vars(network))
    method = "transformer" if isinstance(network, MaskedTransformer) else "attention"
    _check_size(network, data)
    _check_gaps(network, data, held_out)
    masks = _bound(masking or Masking(), network, data, seed)
    steps = _completed(recipe or Recipe(), method, masks, dataset)
    if steps.stop_early and held_out is None:
        dataset, data, held_out = _hold_out(dataset, seed)
    penalty = _penalty(network, dataset, masks, ridge, penalty, steps.weight_decay)
    chosen = choose_device(device)
    is_double = steps.precision == "double"
    network.to(device=chosen, dtype=torch.float64 if is_double else torch.float32)
    config = {
        **network.architecture,
        "masks": masks.n_masks,
        "mask_fraction": masks.mask_fraction,
        "mask_mode": masks.mask_mode,
        "hidden_as": masks.hidden_as,
        **asdict(steps),
        "n_held_out": 0 if held_out is None else held_out.n_sequences,
        "device": chosen.type,
        "seed": seed,
    }
    objective = Objective(
        network, penalty, n_threads_or_default(n_threads), in_half=steps.precision == "bfloat16"
    )
    watch = Stopwatch()
    with ExitStack() as stack:
        workers = stack.enter_context(join_workers(chosen))
        stack.enter_context(limit_threads(n_threads, workers.count))
        facts = {}
        if checkpoint is not None and workers.leads:
            facts = {**config, "penalty": asdict(penalty), "data": data.fingerprint()}
            facts["validation"] = None if held_out is None else held_out.fingerprint()
            facts["start"] = _fingerprint(network)
        training = Training(objective, data, held_out, masks, steps, workers, seed)
        ended = take_steps(training, checkpoint, facts, progress=progress, workers=workers)
    verdict = Verdict(False, ended.message) if ended.interrupted else judge(training)
    numbers = training.numbers
    if not ended.interrupted:
        verdict.warn()
    shared: dict[str, Any] = {
        "method": method,
        "n_sequences": dataset.n_sequences,
        "effective_size": dataset.effective_size,
        "objective": numbers.objective,
        "train_loss": numbers.train_loss,
        "penalty": penalty,
        "gradient_norm": numbers.gradient.norm,
        "optimality_gap": numbers.gradient.gap,
        "estimated_gap": training.estimated_gap,
        "n_evaluations": training.n_evaluations,
        "n_parameters": network.n_parameters,
        "seconds": ended.earlier_seconds + watch.seconds,
        "compile_seconds": watch.compile_seconds,
        "converged": verdict.converged,
        "interrupted": ended.interrupted,
        "message": verdict.message,
        "resumed_from": ended.resumed_from,
        "alphabet": dataset.alphabet,
        "gap_index": dataset.gap_index,
        "columns": dataset.columns,
        "numbering": dataset.numbering,
        "gap_policy": data.gap_policy,
        "history": training.history(),
        "training": record,
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
        raise InputError(
            "a transformer cannot ignore gaps; keep them as a state (`gap_policy='state'`)"
        )
    if network.learns_similarity and not network.learns_fields:
        raise InputError(
            "ignored gaps with a learned color similarity need fields: without them it carries "
            "fields, which a gap would switch off; use fields learned"
        )


def _completed(recipe: Recipe, method: str, masks: BoundMasking, dataset: Sequences) -> FullRecipe:
    """Return the recipe with what it leaves open: an objective that stays the same is minimized."""
    stays = masks.masks_all_sites or masks.mask_mode == "static"
    solves = stays and method == "attention" and isinstance(dataset, SequenceDataset)
    optimizer = recipe.optimizer or ("lbfgs" if solves and not recipe.asks_for_adam else "adam")
    defaults = DEFAULTS[method] | {"optimizer": optimizer}
    if optimizer == "lbfgs":
        defaults["max_steps"] = FULL_BATCH_STEPS
    if method == "transformer" and optimizer == "adam" and recipe.schedule == "averaged":
        is_enough = isinstance(dataset, SequenceDataset) and dataset.n_sequences >= FEWEST
        defaults["stop_early"] = is_enough
    return recipe.completed(**defaults)


def _hold_out(dataset: Sequences, seed: int) -> tuple[SequenceDataset, TrainingData, TrainingData]:
    """Return what is kept of the sequences to train on, twice, and what is held out."""
    if not isinstance(dataset, SequenceDataset):
        raise InputError("early stopping of data that stream needs held-out data: give validation")
    share = min(HELD_OUT, MOST_HELD_OUT / dataset.n_sequences)
    kept, held_out = split(dataset, share, rng=seed)
    return kept, TrainingData(kept), TrainingData(held_out)


def _bound(masking: Masking, network: Network, data: TrainingData, seed: int) -> BoundMasking:
    """Return the masking of these data; one site of a sequence costs a transformer a pass."""
    is_left_out = masking.masks is None and masking.mask_fraction is None
    if is_left_out and isinstance(network, MaskedTransformer):
        masking = replace(masking, masks=1)
    return BoundMasking(
        **vars(masking),
        length=data.length,
        n_states=data.n_states,
        seed=seed,
        gap_policy=data.gap_policy,
    )


def _penalty(
    network: Network,
    dataset: Sequences,
    masking: BoundMasking,
    ridge: float | None,
    penalty: Penalty | Ridge | None,
    weight_decay: float,
) -> Penalty:
    if isinstance(network, MaskedTransformer):
        if ridge is not None or penalty is not None:
            raise InputError("a transformer has no couplings to penalize; use weight_decay")
        return Penalty(0.0, 0.0)
    if weight_decay > 0.0:
        raise InputError("weight_decay is for a transformer; factored attention has a ridge")
    return penalty_or_ridge(ridge, penalty).of(dataset, masking.distinct_share)


def _fingerprint(network: Network) -> str:
    """Return a hash of the parameters that a training starts from."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
