"""The loss on a sequence that was not there, from one fit: approximate leave-one-out.

Without sequence m the logits of a site are u_m + V g_m, exactly so for a linearised row, with its
score g = p - e_s and the response V of `curvature`. The mean loss at these logits is the estimate
of the test loss; the ridge that makes it least is the one to use, and no sequence has to be held
out for it.

Losses l_m of sequences that are left out scatter by their variance over M_eff, as those of a test
set would. They also share a fit: m is in the fit that m' is left out of, and the other way round.
What the one does to the loss of the other, d_mm', is zero on average, but the product d_mm' d_m'm
is not, and so

    error^2 = Var(l) / M_eff + mean over pairs d_mm' d_m'm,

the second as large as the first where there are as many parameters as data. Loss and rise over the
training loss are not independent: they correlate by 0.97 and more.

References: Rad, Maleki, J. R. Stat. Soc. B 82, 965 (2020), for the exact Hessian; docs/theory.md,
where the same V links training and test loss, for full blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import n_threads_or_default, run_in_threads
from pottsattn._core.validate import InputError
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.losses import squared_error
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.selection.curvature import FactoredCurvature, FullCurvature, draw
from pottsattn.fitting.selection.relatives import are_relatives, pulls_of_relatives
from pottsattn.fitting.selection.row_state import Curvature, row_state

Array = NDArray[np.float64]
MOST_SEQUENCES = 1000  # that are left out, drawn by their weights


@dataclass(frozen=True)
class LeaveOneOut:
    """An estimate of the test loss, nats per site.

    Attributes
    ----------
    loss, error : float
        Mean over sites and (weighted) sequences, and its standard error as an estimate of the loss
        of this fit on new sequences.
    train_loss : float
        Training loss.
    """

    loss: float
    error: float
    train_loss: float


def curvature_of(
    dataset: SequenceDataset, method: str, *, learn_fields: bool, with_modes: bool = False
) -> Curvature:
    """Return the curvature of a data set for "plm" or "factored" with U = I."""
    if method == "plm":
        return FullCurvature(dataset, learn_fields=learn_fields, with_modes=with_modes)
    return FactoredCurvature(dataset, learn_fields=learn_fields)


def leave_one_out(
    fit: FitResult,
    dataset: SequenceDataset,
    *,
    curvature: Curvature | None = None,
    n_threads: int | None = None,
) -> LeaveOneOut:
    """Return the approximate leave-one-out loss of a fit.

    Parameters
    ----------
    fit
        A converged fit of `dataset`, site-wise: plm, or factored with U = I.
    dataset
        Its training data. Of more than 1000 sequences so many, drawn by weight, are left out; the
        training loss is that of all.
    curvature
        Of `curvature_of`, to be used for several fits of the same data.

    Raises
    ------
    InputError
        A fit of another kind.
    """
    check_rows(fit)
    if curvature is None:
        learn_fields = fit.config["fields"] == "learned"
        curvature = curvature_of(dataset, fit.method, learn_fields=learn_fields)
    weights, length = dataset.normalized_weights, dataset.length
    chosen, shares = draw(dataset, MOST_SEQUENCES)
    pulls = pulls_of_relatives(dataset, chosen)
    couplings, fields = fit.couplings, fit.fields

    def of_site(site: int) -> tuple[Array, Array, Array, Array]:
        state = row_state(dataset, fields[site], couplings.row(site), site)
        if pulls is None:
            scores = state.score[chosen]
        else:
            scores = pulls @ state.score / curvature.leaving
        shifts = curvature.shifts(site, state, fit.penalty, chosen, scores)
        left_out = state.moved(shifts, chosen).loss
        influence = curvature.influence(site, state, fit.penalty)
        changes = influence.felt @ influence.pull.T
        return left_out - state.loss[chosen], state.loss, influence.without.loss, changes

    rises, losses = np.zeros(len(chosen)), np.zeros(dataset.n_sequences)
    judged = curvature.judged
    left_out, changes = np.zeros(len(judged)), np.zeros((len(judged), len(judged)))
    for rise, loss, left, change in run_in_threads(
        of_site, range(length), n_threads_or_default(n_threads)
    ):
        rises += rise / length
        losses += loss / length
        left_out += left / length
        changes += change / length
    mean_rise, train = float(shares @ rises), float(weights @ losses)
    spread = squared_error(
        left_out - curvature.shares @ left_out, curvature.shares, dataset.effective_size
    )
    pairs = np.outer(curvature.shares, curvature.shares) * ~are_relatives(dataset, judged)
    if pairs.any():
        spread += max(float((changes * changes.T * pairs).sum() / pairs.sum()), 0.0)
    if len(chosen) < np.count_nonzero(weights):  # the rise is that of a draw
        spread += squared_error(rises - mean_rise, shares, len(chosen))
    return LeaveOneOut(train + mean_rise, float(np.sqrt(spread)), train)


def check_rows(fit: FitResult) -> None:
    """Raise InputError unless the rows of a fit were solved one by one, convexly."""
    if not fit.is_site_wise:
        raise InputError(
            "leave-one-out and standard errors are for plm and for factored with identity color "
            f"similarity, site-wise; this is a fit of another kind ({fit.method})"
        )
