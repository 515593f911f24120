"""Learning curves: the replica fixed point of a `Student` along alpha.

The overlaps m and q that `solver` finds give the test loss and the accuracy, m = q = rho the Bayes
loss, and the fitted fields the training loss.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from pottsattn._core.validate import InputError
from pottsattn.theory.result import LearningCurve
from pottsattn.theory.tracing import check_ridges, check_task, trace


def learning_curve(
    n_states: int,
    coupling_scale: float,
    alphas: ArrayLike,
    ridge: ArrayLike,
    *,
    estimator: str = "factored",
    mask_fraction: ArrayLike | None = None,
    mask_mode: str = "fresh",
    masks: int | None = None,
    n_heads: int = 1,
) -> LearningCurve:
    """Return the replica-symmetric learning curve of one estimator of an SK-Potts model.

    Parameters
    ----------
    n_states : int
        Number of colors C, 2 to 256.
    coupling_scale : float
        J: couplings A_ij ~ Normal(0, J^2 / L), in units of k_B T.
    alphas : array_like, shape (n_alphas,)
        Sequences per site M / L, above 0, in any order.
    ridge : float or array_like, shape (n_alphas,)
        O(1) penalty: couplings_l2 = ridge / (2 alpha), or ridge / (2 alpha share) with static
        masks (the loss being a mean over masked sites), share = 1 - (1 - r)^masks. At 0 the
        fit exists above a critical alpha only (`existence_threshold`).
    estimator : {"factored", "full"}
        One coupling per pair (factored attention with identity in color space), or a free C x C
        block per pair (plmDCA).
    mask_fraction : None, float or array_like, shape (n_alphas,)
        Probability r that a site is masked, between 0 and 1: masked sites leave the context and are
        predicted. None: one masked site at a time, the pseudo-likelihood.
    mask_mode : {"fresh", "static"}
        Whether a sequence is masked anew at every visit (the limit of many visits), or once and for
        all.
    masks : int
        K, the static masks of a sequence; 1 if left out.
    n_heads : int
        H of the factored student, 1 to (C - 1)^2: fixed color matrices, orthonormal up to a common
        scale, whose span holds the teacher's; the ridge is that of `factored` fits. Exact where the
        sum of B_h B_h^T is proportional to P.

    Returns
    -------
    LearningCurve
        In the order of `alphas`. Points that are not solved are marked, with a
        `ConvergenceWarning`; from the spin-glass transition J = C on, all are.

    Raises
    ------
    InputError
        A value out of range.

    References
    ----------
    Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.

    Examples
    --------
    >>> curve = learning_curve(3, 1.5, [4.0], 0.1)
    >>> float(curve.test_loss[0].round(4))
    0.9836
    >>> curve = learning_curve(3, 1.5, [4.0], 0.1, mask_fraction=0.3)
    >>> float(curve.test_loss[0].round(4))
    0.9604
    """
    task = check_task(
        n_states, coupling_scale, alphas, estimator, mask_fraction, mask_mode, n_heads, masks
    )
    ridges = check_ridges(ridge, len(task.alphas))
    if ridges.min() == 0.0 and task.masks is not None and task.masks > 1:
        raise InputError(
            f"several masks per sequence need a ridge above 0, got ridge 0 with masks {masks}: use "
            "a small one such as 1e-2"
        )
    return trace(task, "fixed", ridges, lambda solver, i: solver.solve(task.alphas[i], ridges[i]))
