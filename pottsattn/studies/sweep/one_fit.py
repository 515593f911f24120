"""One fit of a sweep, in whatever process: sample (or reuse the sample), fit, compare."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from threadpoolctl import threadpool_limits

from pottsattn.analysis.comparison import compare
from pottsattn.analysis.coupling_scale import realized_coupling_scale
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.result import FitResult
from pottsattn.model.ensembles import sk_potts
from pottsattn.sampling.sampler import sample
from pottsattn.studies.sweep.table import SweepRow
from pottsattn.studies.sweep.tasks import FitTask, Instance
from pottsattn.training.recipe import Recipe


def run_task(task: FitTask) -> SweepRow:
    """Return what one fit gave: the same bits in every process of one kind of machine."""
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore")  # the row says whether the fit converged
        dataset, sample_converged = _draw(task.instance)
        fit = _fit(task, dataset.take(slice(0, task.n_sequences)))
        if fit.interrupted:  # Ctrl-C, where the fit runs in the main thread
            raise KeyboardInterrupt
        test = dataset.take(slice(-task.instance.n_test, None))
        return sweep_row(
            fit,
            test,
            ridge_kind=task.ridge_kind,
            ridge=task.ridge,
            alpha=task.alpha,
            seed=task.instance.seed,
            coupling_scale=task.instance.coupling_scale,
            mask_fraction=task.mask_fraction,
            mask_mode=task.mask_mode,
            masks=task.masks,
            sample_converged=sample_converged,
        )


def sweep_row(
    fit: FitResult,
    test: SequenceDataset,
    *,
    ridge_kind: str,
    ridge: float,
    alpha: float,
    seed: int,
    coupling_scale: float,
    mask_fraction: float | None = None,
    mask_mode: str | None = None,
    masks: int | None = None,
    sample_converged: bool,
) -> SweepRow:
    """Return the row of a fit, judged on test sequences that hold the true model."""
    judged = compare({fit.method: fit}, test)
    assert test.model is not None
    return SweepRow(
        method=fit.method,
        ridge_kind=ridge_kind,
        alpha=alpha,
        ridge=ridge,
        seed=seed,
        test_loss=judged.fits[0].test_loss,
        train_loss=fit.train_loss,
        coupling_error=judged.fits[0].coupling_error,
        bayes_loss=judged.bayes_loss,
        seconds=fit.seconds,
        converged=fit.converged,
        length=test.length,
        n_states=test.n_states,
        coupling_scale=coupling_scale,
        realized_scale=realized_coupling_scale(test.model.couplings),
        mask_fraction=mask_fraction,
        mask_mode=mask_mode,
        masks=masks,
        sample_converged=sample_converged,
    )


@lru_cache(maxsize=1)
def _draw(instance: Instance) -> tuple[SequenceDataset, bool]:
    """Return all sequences of an instance, and whether their chains converged.

    They are kept, as the next fit is most often on the same.
    """
    generator = np.random.default_rng(instance.entropy)
    model = sk_potts(instance.length, instance.n_states, instance.coupling_scale, generator)
    n_sequences = instance.n_train + instance.n_test
    drawn = sample(model, n_sequences, schedule=instance.schedule, rng=generator, n_threads=1)
    if drawn.interrupted:
        raise KeyboardInterrupt
    return drawn.dataset, drawn.converged


def _fit(task: FitTask, train: SequenceDataset) -> FitResult:
    if task.method != "attention":
        return fit_pseudolikelihood(
            train, task.method, ridge=task.ridge, fields="none", n_threads=1
        )
    changes = task.mask_fraction is not None and task.mask_mode == "fresh"
    # An objective that stays the same is minimized to its optimum.
    recipe = Recipe("adam", task.max_steps) if changes else Recipe()
    return train_masked(
        train,
        AttentionConfig(fields="none"),
        ridge=task.ridge,
        masking=Masking(task.masks, task.mask_fraction, task.mask_mode or "fresh"),
        recipe=recipe,
        rng=task.instance.seed,
        device="cpu",
        n_threads=1,
    )
