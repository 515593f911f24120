"""Masked modeling and pseudo-likelihood on one data set: where they coincide and where they part.

Three parts. At the same parameters the loss of one-site masks is -log PL / (L M), with the same
gradient (`bridge_identity`). On a training part of the data both are minimized, each by its own
program, and the optima laid side by side. Then every site is hidden with probability r, which is
another composite likelihood: its optimum is judged with the full context, as pseudo-likelihood's.

Where the objective stays the same it is minimized by L-BFGS; with fresh masks and on mini-batches
by Adam, whose weights are averaged. Trainings with fresh masks start at the pseudo-likelihood
optimum, or that of the fraction before. The others start at zero; where U is learned and nothing is
convex, at a point that pseudo-likelihood starts from as well.

Reference: Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), sections II and III.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import Progress
from pottsattn._core.validate import (
    ConvergenceWarning,
    check_at_least,
    check_generator,
    check_kind,
)
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.resampling import split
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.masked.masking import BoundMasking
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.penalty import DEFAULT_RIDGE, Ridge
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import Couplings
from pottsattn.studies.bridge.identity import check_identity, draw_layers
from pottsattn.studies.bridge.judge import MAX_PATTERNS, Judge, coupling_pairs_of
from pottsattn.studies.bridge.result import Bridge
from pottsattn.training.recipe import Recipe

Array = NDArray[np.float64]
MASK_FRACTIONS = (0.15, 0.3, 0.5, 0.75, 0.9)
MAX_SEQUENCES = 3000
GAP_TOLERANCE = 1e-10  # nats per site: differences down to 1e-6 nats in the held-out loss are shown
IDENTITY_WORK = 3e9  # multiplications of a pass over all masks, which sets its sequences
IDENTITY_SEQUENCES = 200
COMMON_STEPS = 5  # of pseudo-likelihood, to the point that both start from where U is learned
RATE, RATE_FROM_START = 0.1, 0.02  # of Adam; not out of the basin that all start in
# Predictions of a step with fresh masks, as a share of all sites and in number, at least: then the
# noise of the masks is far below the differences that are shown.
FRESH_PREDICTED, FEWEST_PREDICTIONS = 0.6, 30_000


def bridge(
    dataset: SequenceDataset,
    *,
    ridge: float | None = None,
    fields: str = "learned",
    color_similarity: str = "identity",
    n_heads: int = 1,
    mask_fractions: Sequence[float] = MASK_FRACTIONS,
    held_out: float = 0.2,
    max_sequences: int = MAX_SEQUENCES,
    identity_threshold: float = 0.8,
    rng: np.random.Generator | int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Bridge:
    """Return masked modeling and pseudo-likelihood of factored couplings side by side.

    Parameters
    ----------
    dataset
        Weighted sequences; a true model, if known, serves to judge.
    ridge, fields, color_similarity, n_heads
        As in `fit_pseudolikelihood`; ridge 0.2 if left out. With "identity" (one head) the problem
        is convex and its optimum one point. With "learned" both start at the same point, and what
        they find are stationary points.
    mask_fractions
        r of fresh masks; of static ones the first, the middle and the last of them.
    held_out
        Share of the sequences to judge by; whole clusters of an alignment, at `identity_threshold`.
    max_sequences
        At most so many sequences are used, drawn at random.
    rng
        Generator or seed of all choices: sequences, points, batches, masks.
    n_threads
        Threads on the CPU.
    progress
        Called with (done, total).

    Returns
    -------
    Bridge
        Interrupted by Ctrl-C: what was done.

    Raises
    ------
    InputError
        A wrong option value, or too few sequences.

    Warns
    -----
    ConvergenceWarning
        Some fit did not converge.
    """
    started = time.perf_counter()
    check_kind(
        "dataset", dataset, SequenceDataset, "wrap an array: SequenceDataset(array, n_states)"
    )
    dataset.refuse_ignored_gaps("the bridge")
    config = AttentionConfig(n_heads, color_similarity=color_similarity, fields=fields)
    check_at_least("max_sequences", max_sequences, 2)
    for fraction in mask_fractions:  # before minutes of work
        BoundMasking(length=dataset.length, n_states=dataset.n_states, mask_fraction=fraction)
    generator = check_generator(rng)
    chosen = dataset
    if dataset.n_sequences > max_sequences:
        numbers = generator.permutation(dataset.n_sequences)[:max_sequences]
        chosen = dataset.take(np.sort(numbers))
    train, test = split(chosen, held_out, rng=generator, identity_threshold=identity_threshold)
    ridge = DEFAULT_RIDGE if ridge is None else ridge
    fractions = sorted({float(fraction) for fraction in mask_fractions})
    middle = {0, len(fractions) // 2, len(fractions) - 1}
    plan = [("fresh", r) for r in fractions]
    plan += [("static", r) for at, r in enumerate(fractions) if at in middle]
    stages = _Stages(progress, 4 + len(plan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said once, in the end
        few = _few(train, generator)
        identity = tuple(
            check_identity(name, layer, few)
            for name, layer in draw_layers(
                dataset.length, dataset.n_states, n_heads, generator
            ).items()
        )
        stages.next()
        fits = _Fits(train, ridge, config, int(generator.integers(2**31)), n_threads, stages)
        optimum = fits.pseudolikelihood()
        if optimum.interrupted:
            raise KeyboardInterrupt("before the first fit was done")
        judge = Judge(train, test, optimum)
        found, masked, pairs = [judge.fit("pseudo-likelihood", optimum)], [], (optimum, optimum)
        interrupted = False
        for name, fit in fits.trained():
            if interrupted := fit.interrupted:
                break
            found.append(judge.fit(name, fit))
            pairs = (optimum, fit) if name == "full batch" else pairs
        for mode, fraction in () if interrupted else plan:
            fit = fits.masked(mode, fraction, optimum)
            if interrupted := fit.interrupted:
                break
            masked.append(judge.masked(mode, fraction, fit))
    result = Bridge(
        identity,
        tuple(found),
        tuple(masked),
        judge.bayes_loss,
        judge.error_of(judge.losses),
        {
            "ridge": ridge,
            "couplings_l2": optimum.penalty.couplings_l2,
            "fields_l2": optimum.penalty.fields_l2,
        },
        {
            "n_given": dataset.n_sequences,
            "n_used": chosen.n_sequences,
            "n_train": train.n_sequences,
            "n_held_out": test.n_sequences,
            "n_identity": few.n_sequences,
            "length": dataset.length,
            "n_states": dataset.n_states,
            "split_by": "clusters" if dataset.alphabet else "sequences",
            "fields": fields,
            "n_heads": n_heads,
            "color_similarity": color_similarity,
        },
        coupling_pairs_of(*pairs, generator),
        time.perf_counter() - started,
        interrupted,
    )
    if not result.converged and not interrupted:
        names = [fit.name for fit in result.fits if not fit.converged]
        names += [f"{fit.mode} masks r = {fit.fraction:g}" for fit in masked if not fit.converged]
        warnings.warn(f"not converged: {', '.join(names)}", ConvergenceWarning, stacklevel=2)
    return result


class _Stages:
    """Progress over stages of about the same length, each a hundred units."""

    def __init__(self, progress: Progress | None, n_stages: int) -> None:
        self._progress, self._n_stages, self._at = progress, n_stages, 0

    def next(self) -> None:
        """Begin the next stage."""
        self._at += 1
        self.inside(0, 1)

    def inside(self, done: int, total: int) -> None:
        """Tell how much of this stage is done."""
        if self._progress is not None:
            self._progress(100 * self._at + 100 * done // max(1, total), 100 * self._n_stages)


@dataclass
class _Fits:
    """The fits of a training part, under one penalty."""

    train: SequenceDataset
    ridge: float
    config: AttentionConfig
    seed: int
    n_threads: int | None
    stages: _Stages
    start: tuple[Array, Couplings] | None = None
    last: FitResult | None = None  # with fresh masks

    def pseudolikelihood(self) -> FitResult:
        """Return the factored pseudo-likelihood fit; where U is learned, the start that all share.

        The latter is a pseudo-likelihood fit that was stopped early.
        """
        config = self.config
        options: dict[str, Any] = {
            "ridge": self.ridge,
            "fields": config.fields,
            "n_heads": config.n_heads,
            "color_similarity": config.color_similarity,
            "n_threads": self.n_threads,
        }
        solver = Solver(GAP_TOLERANCE)
        if config.color_similarity == "learned":
            first = fit_pseudolikelihood(
                self.train,
                "factored",
                solver=Solver(max_steps=COMMON_STEPS),
                rng=self.seed,
                **options,
            )
            self.start = (first.fields, first.couplings)
            solver = Solver(1e-8, initial=self.start)
        fit = fit_pseudolikelihood(
            self.train, "factored", solver=solver, progress=self.stages.inside, **options
        )
        self.stages.next()
        return fit

    def trained(self) -> Iterator[tuple[str, FitResult]]:
        """Yield the fits by one-site masks: on the full batch, and on mini-batches.

        The latter predict a random quarter of the sites of a sequence.
        """
        ridge, length = Ridge(self.ridge), self.train.length
        yield "full batch", self._train(self._layer(self.start), Masking(), Recipe(), ridge)
        batch_size = max(1, min(1024, self.train.n_sequences // 2))
        recipe = self._random(batch_size)
        masking = Masking(max(1, length // 4))
        yield "mini-batch", self._train(self._layer(self.start), masking, recipe, ridge)

    def masked(self, mode: str, fraction: float, optimum: FitResult) -> FitResult:
        """Return the fit with every site hidden with probability `fraction`."""
        ridge = Ridge(self.ridge)
        if mode == "static":
            masking = Masking(None, fraction, "static")
            return self._train(self._layer(self.start), masking, Recipe(), ridge)
        start = optimum if self.last is None else self.last
        hidden = fraction * self.train.n_sequences * self.train.length
        fewest = min(MAX_PATTERNS, math.ceil(FEWEST_PREDICTIONS / hidden))
        n_masks = max(1, round(FRESH_PREDICTED / fraction), fewest)
        recipe = self._random(self.train.n_sequences)
        layer = self._layer((start.fields, start.couplings))
        self.last = self._train(layer, Masking(n_masks, fraction), recipe, ridge)
        return self.last

    def _random(self, batch_size: int) -> Recipe:
        """Return how random steps are taken."""
        rate = RATE if self.start is None else RATE_FROM_START
        return Recipe("adam", batch_size=batch_size, learning_rate=rate)

    def _train(
        self, layer: FactoredAttention, masking: Masking, recipe: Recipe, ridge: Ridge
    ) -> FitResult:
        fit = train_masked(
            self.train,
            layer,
            penalty=ridge,
            masking=masking,
            recipe=recipe,
            rng=self.seed,
            device="cpu",
            n_threads=self.n_threads,
            progress=self.stages.inside,
        )
        self.stages.next()
        return fit

    def _layer(self, start: tuple[Array, Couplings] | None) -> FactoredAttention:
        """Return a new layer at `start`, at zero without one."""
        layer = FactoredAttention(self.train.length, self.train.n_states, **vars(self.config))
        if start is not None:
            layer.set_parameters(*start)
        return layer


def _few(train: SequenceDataset, rng: np.random.Generator) -> SequenceDataset:
    """Return the sequences for the identity: copies with every site masked are made of them."""
    work = train.length**3 * train.n_states
    n_sequences = min(train.n_sequences, IDENTITY_SEQUENCES, max(8, int(IDENTITY_WORK / work)))
    return train.take(np.sort(rng.permutation(train.n_sequences)[:n_sequences]))
