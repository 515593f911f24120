"""The loss on a sequence that was not there, from one fit: approximate leave-one-out.

Without sequence m the logits of a site are u_m + V g_m, exactly so for a linearised row, with its
score g = p - e_s and the response V of `curvature`. The mean loss at these logits is the estimate
of the test loss; the ridge that makes it least is the one to use, and no sequence has to be held
out for it.

References: Rad, Maleki, J. R. Stat. Soc. B 82, 965 (2020), for the exact Hessian; docs/theory.md,
where the same V links training and test loss, for full blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import n_threads_or_default, run_in_threads
from pottsattn._core.validate import InputError, check_generator
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.losses import squared_error
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.selection.curvature import (
    Curvature,
    FactoredCurvature,
    FullCurvature,
    row_state,
)
from pottsattn.model.potts import log_softmax

Array = NDArray[np.float64]
MOST_SEQUENCES = 1000  # that are left out, drawn by their weights


@dataclass(frozen=True)
class LeaveOneOut:
    """An estimate of the test loss, nats per site.

    Attributes
    ----------
    loss, error : float
        Mean over sites and (weighted) sequences, and its standard error over sequences.
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
    weights = dataset.normalized_weights
    chosen = np.flatnonzero(weights > 0.0)
    shares = weights[chosen]
    if len(chosen) > MOST_SEQUENCES:
        chosen = np.sort(check_generator(0).choice(len(weights), MOST_SEQUENCES, p=weights))
        shares = np.full(MOST_SEQUENCES, 1.0 / MOST_SEQUENCES)
    couplings, fields = fit.couplings, fit.fields

    def of_site(site: int) -> tuple[Array, Array]:
        state = row_state(dataset, fields[site], couplings.row(site), site)
        shifts = curvature.shifts(site, state, fit.penalty, chosen)
        moved = log_softmax(state.log_p[chosen] + shifts)
        own = state.states[chosen].astype(np.intp)
        left_out = -np.take_along_axis(moved, own[:, None], axis=1)[:, 0]
        return left_out - state.loss[chosen], state.loss

    rises, losses = np.zeros(len(chosen)), np.zeros(dataset.n_sequences)
    for rise, loss in run_in_threads(
        of_site, range(dataset.length), n_threads_or_default(n_threads)
    ):
        rises += rise / dataset.length
        losses += loss / dataset.length
    mean_rise, train = float(shares @ rises), float(weights @ losses)
    size = dataset.effective_size
    spread = squared_error(losses - train, weights, size)
    spread += squared_error(rises - mean_rise, shares, min(len(chosen), size))
    return LeaveOneOut(train + mean_rise, float(np.sqrt(spread)), train)


def check_rows(fit: FitResult) -> None:
    """Raise InputError unless the rows of a fit were solved one by one, convexly."""
    if not fit.is_site_wise:
        raise InputError(
            "leave-one-out and standard errors are for plm and for factored with identity color "
            f"similarity, site-wise; this is a fit of another kind ({fit.method})"
        )
