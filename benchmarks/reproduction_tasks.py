"""The fits behind the figures of docs/reproduction.md: each task is a plain function of its sizes.

Part one: a generalized Potts model (random symmetric U) of L = 20 sites and C = 20 states, on which
factored attention, pseudo-likelihood and transformers are trained. Part two: SK-Potts models, for
which the replica theory knows the learning curve, and masks of more than one site.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pottsattn import SequenceDataset, fit_pseudolikelihood, train_masked
from pottsattn.analysis.comparison import compare, coupling_pairs
from pottsattn.fitting.losses import sequence_losses
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.selection.ridge_choice import choose_ridge
from pottsattn.model.ensembles import generalized, sk_potts
from pottsattn.sampling.sampler import sample
from pottsattn.training.recipe import Recipe

__all__ = ["make_data", "run"]

LENGTH, N_STATES, COUPLING_SCALE = 20, 20, 5.0
N_TEST, N_VALIDATION, MOST = 2000, 200, 20_000
# Transformers: found by trying on one seed; one layer gains next to nothing from more steps.
WIDTH, FEEDFORWARD, RATE, WARMUP, BATCH, SITES = 64, 64, 3e-3, 200, 64, 2
FEW_STEPS, STEPS = 2000, 3000  # of one layer, of more
MASKED_LENGTH, MASKED_STATES, MASKED_SCALE, MASKED_ALPHA = 80, 3, 1.5, 8
MASKED_RIDGE, MASKED_TEST = 0.1, 4000
FRESH_PATTERNS = 6
CLOSE = 1e-3  # nats per site


def make_data(seed: int, folder: Path) -> Path:
    """Write the data sets of a seed, if they are not there, and return their folder."""
    out = folder / f"seed-{seed}"
    if (out / "masked.h5").exists():
        return out
    out.mkdir(parents=True, exist_ok=True)
    model = generalized(LENGTH, N_STATES, COUPLING_SCALE, rng=seed)
    drawn = sample(model, N_TEST + N_VALIDATION + MOST, rng=seed + 100, n_threads=1).dataset
    # Successive sequences of a chain are not quite independent: shuffled, all parts are alike.
    drawn = drawn.take(np.random.default_rng(seed).permutation(drawn.n_sequences))
    drawn.take(slice(0, N_TEST)).save(out / "test.h5")
    drawn.take(slice(N_TEST, N_TEST + N_VALIDATION)).save(out / "validation.h5")
    drawn.take(slice(N_TEST + N_VALIDATION, None)).save(out / "train.h5")
    masked = sk_potts(MASKED_LENGTH, MASKED_STATES, MASKED_SCALE, rng=seed)
    n_sequences = MASKED_ALPHA * MASKED_LENGTH + MASKED_TEST
    sample(masked, n_sequences, rng=seed + 200, n_threads=1).dataset.save(out / "masked.h5")
    return out


def _load(data: Path, name: str, n_sequences: int | None = None) -> SequenceDataset:
    dataset = SequenceDataset.load(data / f"{name}.h5")
    return dataset if n_sequences is None else dataset.take(slice(0, n_sequences))


def _judged(fit: Any, test: SequenceDataset) -> dict[str, Any]:
    """Return losses, excess over the Bayes loss with its paired error, and coupling error."""
    row = compare({"fit": fit}, test).fits[0]
    excess = sequence_losses(fit, test) - sequence_losses(test.model, test)
    return {
        "test_loss": row.test_loss,
        "excess": float(excess.mean()),
        "excess_error": float(excess.std(ddof=1) / math.sqrt(len(excess))),
        "train_loss": fit.train_loss,
        "coupling_error": row.coupling_error,
        "pearson": row.pearson,
        "n_parameters": fit.n_parameters,
        "seconds": fit.seconds,
        "converged": fit.converged,
        "message": fit.message,
    }


def _curve(fit: Any, bayes: float) -> dict[str, list[float]]:
    history = fit.history
    return {
        "epochs": history.epochs.tolist(),
        "seconds": history.seconds.tolist(),
        "excess": (history.validation_loss - bayes).tolist(),
    }


def network(
    data: Path,
    seed: int,
    n_sequences: int,
    layers: int,
    heads: int,
    variant: str,
    steps: int | None = None,
) -> dict[str, Any]:
    """Train a transformer for a number of steps, over which its rate falls to zero."""
    steps = steps or (FEW_STEPS if layers == 1 else STEPS)
    train, validation = _load(data, "train", n_sequences), _load(data, "validation")
    transformer = MaskedTransformer(
        LENGTH,
        N_STATES,
        layers,
        heads,
        width=WIDTH,
        feedforward_width=FEEDFORWARD,
        variant=variant,
        generator=torch.Generator().manual_seed(seed),
    )
    fit = train_masked(
        train,
        transformer,
        masking=Masking(masks=SITES),
        recipe=Recipe(
            "adam",
            steps,
            schedule="cosine",
            batch_size=BATCH,
            learning_rate=RATE,
            warmup_steps=WARMUP,
            stop_early=True,
        ),
        validation=validation,
        rng=seed,
        n_threads=1,
    )
    bayes = float(sequence_losses(validation.model, validation).mean())
    return {**_judged(fit, _load(data, "test")), "curve": _curve(fit, bayes)}


def attention(data: Path, seed: int, n_sequences: int) -> dict[str, Any]:
    """Fit one layer of factored attention; keep true and fitted interactions."""
    train, validation = _load(data, "train", n_sequences), _load(data, "validation")
    fit = train_masked(
        train,
        AttentionConfig(color_similarity="learned", fields="none"),
        validation=validation,
        rng=seed,
        n_threads=1,
    )
    bayes = float(sequence_losses(validation.model, validation).mean())
    true, fitted = coupling_pairs(fit, train.model)
    return {
        **_judged(fit, _load(data, "test")),
        "curve": _curve(fit, bayes),
        "true": true.tolist(),
        "fitted": fitted.tolist(),
    }


def same_objective(data: Path, seed: int, n_sequences: int) -> dict[str, Any]:
    """Compare pseudo-likelihood and attention on one objective, and plmDCA on its own."""
    train, test = _load(data, "train", n_sequences), _load(data, "test")
    shared: dict[str, Any] = {"fields": "none", "n_threads": 1}
    one_head = {**shared, "color_similarity": "learned", "rng": seed}
    layer = AttentionConfig(color_similarity="learned", fields="none")
    trained = {"rng": seed, "n_threads": 1}
    fits = {
        "factored": fit_pseudolikelihood(
            train, "factored", solver=Solver(gap_tolerance=1e-9), **one_head
        ),
        "lbfgs": train_masked(train, layer, **trained),
        "adam": train_masked(
            train,
            layer,
            masking=Masking(masks=SITES),
            recipe=Recipe("adam", batch_size=1024),
            **trained,
        ),
    }
    least = min(fit.objective for fit in fits.values()) / LENGTH
    quick = fit_pseudolikelihood(train, "factored", solver=Solver(gap_tolerance=CLOSE), **one_head)
    choice = choose_ridge(train, "plm", **shared)
    full = fit_pseudolikelihood(
        train, "plm", ridge=choice.ridge, solver=Solver(gap_tolerance=CLOSE), **shared
    )
    rows = {name: _judged(fit, test) for name, fit in fits.items()}
    rows["plm"] = {**_judged(choice.fit, test), "ridge": choice.ridge, "above": 0.0}
    for name, fit in fits.items():
        rows[name]["above"] = fit.objective / LENGTH - least
        rows[name]["correlation"] = _correlation(fit, fits["factored"])
        if name != "factored":
            rows[name]["seconds_to_close"] = _seconds_to(fit.history, least + CLOSE)
    for name, fit, best in (
        ("factored", quick, least),
        ("plm", full, choice.fit.objective / LENGTH),
    ):
        is_close = fit.objective / LENGTH <= best + CLOSE
        rows[name]["seconds_to_close"] = fit.seconds if is_close else None
    return rows


def _correlation(first: Any, second: Any) -> float:
    """Return the correlation of all J_ij(a, b), i != j, in the zero-sum gauge, as fitted."""
    blocks = []
    for fit in (first, second):
        _, couplings = fit.couplings.zero_sum(fit.fields)
        blocks.append(couplings.to_dense().ravel())
    return float(blocks[0] @ blocks[1] / np.linalg.norm(blocks[0]) / np.linalg.norm(blocks[1]))


def _seconds_to(history: Any, objective: float) -> float | None:
    reached = np.flatnonzero(history.objective <= objective)
    return float(history.seconds[reached[0]]) if len(reached) else None


def masks(data: Path, seed: int, mode: str, n_patterns: int, fraction: float) -> dict[str, Any]:
    """Train attention with a fraction of the sites masked; fraction 0 is pseudo-likelihood."""
    drawn = _load(data, "masked")
    train = drawn.take(slice(0, MASKED_ALPHA * MASKED_LENGTH))
    test = drawn.take(slice(-MASKED_TEST, None))
    options: dict[str, Any] = {"ridge": MASKED_RIDGE, "n_threads": 1}
    layer = AttentionConfig(fields="none")
    if mode == "none":
        fit = fit_pseudolikelihood(train, "factored", fields="none", **options)
    elif mode == "static":
        fit = train_masked(
            train,
            layer,
            masking=Masking(masks=n_patterns, mask_fraction=fraction, mask_mode="static"),
            rng=seed,
            **options,
        )
    else:
        fit = train_masked(
            train,
            layer,
            masking=Masking(masks=n_patterns, mask_fraction=fraction),
            rng=seed,
            **options,
        )
    interactions = train.model.couplings.factors()[0][0]
    realized = math.sqrt((interactions**2).sum() / MASKED_LENGTH)
    return {**_judged(fit, test), "realized_scale": realized}


FUNCTIONS = {
    "network": network,
    "trend": network,
    "attention": attention,
    "same_objective": same_objective,
    "masks": masks,
}


def run(task: tuple[str, int, dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Run a task (function, seed, sizes) in this process."""
    name, seed, sizes = task
    torch.set_num_threads(1)
    return FUNCTIONS[name](make_data(seed, folder), seed, **sizes)
