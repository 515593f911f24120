"""Truth and estimate side by side: losses, coupling error, correlation.

The one module that sees both. Conventions of the package: losses in nats per masked site, mean over
(weighted) sequences and sites of -log P(s_i | s_-i) with full context, ignored gaps left out;
coupling_error = |J - J*|_F^2 / |J*|_F^2 over i != j, both in the zero-sum gauge, J as fitted.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import one_line
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import InputError, check_kind
from pottsattn._core.verdict import stated
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sites import on_sites_of
from pottsattn.fitting.losses import mean_and_error, sequence_losses
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import (
    Couplings,
    inner_product,
    zero_sum_projector,
)
from pottsattn.model.potts import PottsModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FitComparison:
    """One fit judged on test data; NaN where the truth is unknown."""

    file: str
    method: str
    test_loss: float  # nats per masked site
    test_loss_error: float  # standard error over test sequences
    train_loss: float  # nats per masked site
    coupling_error: float
    pearson: float
    n_parameters: int
    converged: bool
    seconds: float
    gap_policy: str = "state"  # "ignored": losses are of the sites that are no gaps
    test_overlap: float = math.nan  # share of test sequences among the training data
    excess: float = math.nan  # test loss above the Bayes loss
    excess_error: float = math.nan  # of differences that are paired sequence by sequence
    difference: float = math.nan  # test loss above that of the first fit, seen with equal gaps
    difference_error: float = math.nan


@one_line
@dataclass(frozen=True, eq=False)
class Comparison:
    """Several fits on the same test data."""

    fits: tuple[FitComparison, ...]
    bayes_loss: float  # loss of the true model on the same test data; NaN if unknown
    warnings: tuple[str, ...] = ()  # of fits that were trained on sequences of the test data

    def to_dict(self) -> dict[str, Any]:
        """Return {"fits": [...], "bayes_loss": ...}, the JSON of `pottsattn compare`."""
        return {"fits": [asdict(fit) for fit in self.fits], "bayes_loss": self.bayes_loss}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per fit; the Bayes loss is repeated in the last column."""
        header = [*(item.name for item in fields(FitComparison)), "bayes_loss"]
        write_csv(path, header, ([*asdict(fit).values(), self.bayes_loss] for fit in self.fits))

    def __str__(self) -> str:
        head = f"{'fit':24} {'method':10} {'test loss':>18} {'train loss':>10} "
        head += f"{'coupling error':>14} {'pearson':>8} {'seconds':>8}"
        shows_excess = not math.isnan(self.bayes_loss)
        if shows_excess:
            head += f" {'above Bayes':>18}"
        if len(self.fits) > 1:
            head += f" {'above the first':>18}"
        lines = [head]
        for fit in self.fits:
            loss = f"{fit.test_loss:.4f} ± {fit.test_loss_error:.4f}"
            lines.append(
                f"{fit.file[-24:]:24} {fit.method:10} {loss:>18} {fit.train_loss:10.4f} "
                f"{fit.coupling_error:14.4f} {fit.pearson:8.4f} {fit.seconds:8.1f}"
                + (_paired(fit.excess, fit.excess_error) if shows_excess else "")
                + (_paired(fit.difference, fit.difference_error) if len(self.fits) > 1 else "")
                + ("" if fit.gap_policy == "state" else "  gaps left out")
                + ("" if fit.converged else f"  {stated(False)}")
                + (
                    f"  TRAINED on {_percent(fit.test_overlap)} of the test sequences"
                    if fit.test_overlap > 0.0
                    else ""
                )
            )
        lines.append(f"Bayes loss {self.bayes_loss:.4f}; losses in nats per masked site")
        return "\n".join(lines).replace(" nan", "   -")

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"


def _paired(value: float, error: float) -> str:
    text = "-" if math.isnan(value) else f"{value:.4f} ± {error:.4f}"
    return f" {text:>18}"


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g} %"


def compare(
    fits: Mapping[str, FitResult | NetworkFit],
    test: SequenceDataset,
    truth: PottsModel | None = None,
) -> Comparison:
    """Return losses on test data and, where the truth is known, errors of the couplings.

    Parameters
    ----------
    fits
        Fits by name (such as the file name). One that ignores gaps is judged where the test
        sequences have none; its loss is not comparable to that of a fit with the gap as a state.
    test
        Sequences not used for training, with their weights.
    truth
        The true model; that of `test` if left out.

    Raises
    ------
    TypeError
        Objects of other kinds.
    InputError
        A fit, the test data and the truth are of different sizes or on different columns, or a fit
        is not finite.
    """
    check_kind("fits", fits, Mapping, "give fits by name, {name: fit}")
    for name, fit in fits.items():
        check_kind(f"fits[{name!r}]", fit, (FitResult, NetworkFit), "give what `load` returns")
    check_kind("test", test, SequenceDataset, "of a SequenceFile give `file.dataset()`")
    truth = test.model if truth is None else truth
    if truth is not None:
        check_kind("truth", truth, PottsModel, "of a fit give `fit.to_model()`")
    tests = _on_their_columns(fits, test)
    bayes_loss = math.nan
    if truth is not None:
        judged = (*tests.values(),) or (test,)
        for data in judged:
            size = (data.length, data.n_states)
            _check_size("the true model", (truth.length, truth.n_states), size)
        if not any(data.ignores_gaps for data in judged):
            bayes_losses = sequence_losses(truth, test)
            bayes_loss, _ = mean_and_error(bayes_losses, test)
    rows: list[FitComparison] = []
    warnings: list[str] = []
    for name, fit in fits.items():
        data = tests[name]
        losses = sequence_losses(fit, data)
        if not np.isfinite(losses).all():
            raise InputError(
                f"{name} gives losses that are not finite: its parameters are no numbers; fit again"
            )
        loss, error = mean_and_error(losses, data)
        excess = difference = (math.nan, math.nan)
        if not math.isnan(bayes_loss):
            excess = mean_and_error(losses - bayes_losses, data)
        if not rows:
            first = losses
        if fit.gap_policy == next(iter(fits.values())).gap_policy:
            difference = mean_and_error(losses - first, data)
        overlap = math.nan if fit.training is None else fit.training.overlap(data)
        if overlap > 0.0:
            warnings.append(_overlap_message(name, fit, overlap, data))
        errors = (math.nan, math.nan)
        if truth is not None and isinstance(fit, FitResult):  # a transformer has no couplings
            errors = coupling_error(fit, truth), pearson(fit, truth)
        rows.append(
            FitComparison(
                file=name,
                method=fit.method,
                test_loss=loss,
                test_loss_error=error,
                train_loss=fit.train_loss,
                coupling_error=errors[0],
                pearson=errors[1],
                n_parameters=fit.n_parameters,
                converged=fit.converged,
                seconds=fit.seconds,
                gap_policy=fit.gap_policy,
                test_overlap=overlap,
                excess=excess[0],
                excess_error=excess[1],
                difference=difference[0],
                difference_error=difference[1],
            )
        )
    return Comparison(tuple(rows), bayes_loss, tuple(warnings))


def _overlap_message(
    name: str, fit: FitResult | NetworkFit, overlap: float, data: SequenceDataset
) -> str:
    """Return what the reader of a test loss must know, and what chance alone would give."""
    assert fit.training is not None
    found = f"{_percent(overlap)} of the test sequences are among the training data of {name}"
    by_chance = fit.training.repeat_share
    if overlap > 0.5 > by_chance or fit.training.is_of(data):
        return f"{found}: its test loss is no loss on new sequences; hold data out (split)"
    if by_chance == 0.0:
        return f"{found}, no two of which are equal: its test loss is too low"
    return (
        f"{found}, where about {_percent(by_chance)} of new sequences would be by chance, for so "
        "many occur there more than once; above that its test loss is too low"
    )


def coupling_error(fit: FitResult, truth: PottsModel) -> float:
    """Return |J - J*|_F^2 / |J*|_F^2 over i != j in the zero-sum gauge, J as fitted; NaN if J* = 0.

    Factored couplings are compared without building the (L, L, C, C) tensor.
    """
    fitted_norm, product, norm = _products(fit.couplings, truth.couplings, symmetrize=False)
    return (fitted_norm - 2.0 * product + norm) / norm if norm > 0.0 else math.nan


def pearson(fit: FitResult, truth: PottsModel) -> float:
    """Return the correlation of all J_ij(a, b), i < j, symmetrized fit against truth; NaN if flat.

    Both are in the zero-sum gauge, where blocks have mean zero.
    """
    fitted_norm, product, norm = _products(fit.couplings, truth.couplings, symmetrize=True)
    scale = math.sqrt(fitted_norm * norm)
    return product / scale if scale > 0.0 else math.nan


def _products(
    fitted: Couplings, true: Couplings, *, symmetrize: bool
) -> tuple[float, float, float]:
    """Return |J|^2, J . J*, |J*|^2 in the zero-sum gauge, never holding a second tensor."""
    if fitted.is_factored and true.is_factored:
        first = _gauged(fitted.symmetrized() if symmetrize else fitted)
        second = _gauged(true)
        return (
            inner_product(first, first),
            inner_product(first, second),
            inner_product(second, second),
        )
    projector = zero_sum_projector(fitted.n_states)
    sums = np.zeros(3)
    for site in range(fitted.length):
        row = fitted.symmetrized_row(site) if symmetrize else fitted.row(site)
        first_row = projector @ row @ projector
        second_row = projector @ true.row(site) @ projector
        sums += [
            np.vdot(first_row, first_row),
            np.vdot(first_row, second_row),
            np.vdot(second_row, second_row),
        ]
    return float(sums[0]), float(sums[1]), float(sums[2])


def coupling_pairs(fit: FitResult, truth: PottsModel) -> tuple[Array, Array]:
    """Return (true, fitted) values of the couplings for i < j, symmetrized, zero-sum gauge.

    When both have one head, the interactions A_ij, with |U|_F of the fit fixed to the truth's and
    <U, U*> > 0, shape (L (L - 1) / 2,); otherwise every J_ij(a, b), flattened.
    """
    fitted, true = _gauged(fit.couplings.symmetrized()), _gauged(truth.couplings)
    upper = np.triu_indices(truth.length, 1)
    if _n_heads(fitted) == 1 and _n_heads(true) == 1:
        interactions = fitted.with_scale_of(true).factors()[0][0]
        return true.factors()[0][0][upper], interactions[upper]
    return true.to_dense()[upper].ravel(), fitted.to_dense()[upper].ravel()


def _gauged(couplings: Couplings) -> Couplings:
    return couplings.zero_sum(np.zeros((couplings.length, couplings.n_states)))[1]


def _n_heads(couplings: Couplings) -> int:
    return couplings.n_heads if couplings.is_factored else 0


def _on_their_columns(
    fits: Mapping[str, FitResult | NetworkFit], test: SequenceDataset
) -> dict[str, SequenceDataset]:
    """Return test data on the columns of the fits, the same for all, without gaps they ignore."""
    tests: dict[str, SequenceDataset] = {}
    sequences: dict[str, NDArray[np.uint8]] = {}
    for name, fit in fits.items():
        found = test
        if fit.alphabet and test.alphabet:
            try:
                found = on_sites_of(test, fit)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
        tests[name], sequences[name] = fit.as_seen(found), found.sequences
        size = (tests[name].length, tests[name].n_states)
        _check_size(name, (fit.length, fit.n_states), size)
        if fit.alphabet and test.alphabet and fit.alphabet != tests[name].alphabet:
            raise InputError(
                f"{name} has the alphabet {fit.alphabet!r}, the test data have "
                f"{tests[name].alphabet!r}"
            )
        first = next(iter(tests))
        if not np.array_equal(sequences[first], sequences[name]):
            raise InputError(
                f"{name} is a fit of other columns than {first}; compare fits of the same columns"
            )
    return tests


def _check_size(name: str, found: tuple[int, int], expected: tuple[int, int]) -> None:
    if found != expected:
        raise InputError(f"{name} has (length, n_states) = {found}, the test data have {expected}")
