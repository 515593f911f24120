"""Standard errors of fields and couplings, from the curvature at the optimum.

"laplace": H^-1 / M_eff, the covariance of the posterior whose prior is the penalty. "sandwich":
H^-1 G H^-1 / M_eff with G the mean of the squared scores, the covariance of the estimate itself
over data sets, penalty held fixed; it holds for a misspecified model too, and leaves out the bias
of the penalty: where data say nothing, the penalty alone speaks, and the sandwich is next to zero.
To ask whether a coupling may be zero take laplace. Factored rows have their exact Hessian. For full
blocks it is approximated (`selection.curvature`), and the errors are those of zero-sum
blocks.

References: White, Econometrica 50, 1 (1982); MacKay, Neural Comput. 4, 448 (1992).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import n_threads_or_default, run_in_threads
from pottsattn._core.validate import check_choice, check_kind
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.result import CouplingErrors, FitResult
from pottsattn.fitting.selection.leave_one_out import check_rows, curvature_of
from pottsattn.fitting.selection.row_state import row_state

Array = NDArray[np.float64]
KINDS = ("laplace", "sandwich")


@dataclass(frozen=True)
class _Row:
    site: int
    fields: Array
    couplings: Array


def standard_errors(
    fit: FitResult,
    dataset: SequenceDataset,
    kind: str = "sandwich",
    *,
    n_threads: int | None = None,
) -> CouplingErrors:
    """Return standard errors of the parameters of a fit.

    Parameters
    ----------
    fit
        A converged fit of `dataset`: plm, or factored with U = I, site-wise.
    dataset
        Its training data.
    kind
        "laplace" or "sandwich". Around the fit the sandwich does not cover the truth, least of all
        large couplings, at which the penalty pulls: it tells how fits to other data would scatter.

    Returns
    -------
    CouplingErrors
        `fields` (L, C), zero where none are learned; `couplings` (L, L), of the interactions, for
        factored fits, and (L, L, C, C), indexed [i, j, a, b], of the zero-sum blocks, for plm, zero
        for i = j. Fields are those of h for factored fits, those of the mean logits for plm; both
        less their mean over states (see `CouplingErrors`).

    Raises
    ------
    InputError
        A fit of another kind, or an unknown `kind`.
    """
    check_kind("dataset", dataset, SequenceDataset, "give the training data")
    check_choice("kind", kind, KINDS)
    check_rows(fit)
    learn_fields = fit.config["fields"] == "learned"
    curvature = curvature_of(dataset, fit.method, learn_fields=learn_fields, with_modes=True)

    def of_site(site: int) -> _Row:
        row = fit.couplings.row(site)
        state = row_state(dataset, fit.fields[site], row, site)
        squares = curvature.variances(site, state, fit.penalty, sandwich=kind == "sandwich")
        return _Row(site, np.sqrt(squares[0]), np.sqrt(squares[1]))

    shape = (fit.length,) * 2 + ((fit.n_states,) * 2 if fit.method == "plm" else ())
    fields, couplings = np.zeros((fit.length, fit.n_states)), np.zeros(shape)
    workers = n_threads_or_default(n_threads)
    for row in run_in_threads(of_site, range(fit.length), workers):
        if learn_fields:
            fields[row.site] = row.fields
        couplings[row.site] = row.couplings
    return CouplingErrors(kind, fields, couplings)


def with_standard_errors(
    fit: FitResult,
    dataset: SequenceDataset,
    kind: str = "sandwich",
    *,
    n_threads: int | None = None,
) -> FitResult:
    """Return the fit with its standard errors, which go into its file."""
    return replace(fit, errors=standard_errors(fit, dataset, kind, n_threads=n_threads))
