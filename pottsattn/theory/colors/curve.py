"""Learning curves of H heads with fixed color matrices, for teachers J_ij = A_ij U.

The student is J_ij = sum_h A^h_ij B_h with given B_h and free A^h, fitted row by row. Colors need
not be alike, for the student or the teacher. For B = U = I it is the factored student of
`learning_curve`.

References
----------
Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235, eq. (2) (the
generalized Potts model).
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.display import one_line
from pottsattn._core.storage import to_json, write_csv
from pottsattn._core.validate import (
    ConvergenceWarning,
    InputError,
    check_nonnegative,
    check_positive,
)
from pottsattn._core.verdict import stated
from pottsattn.theory.colors.fields import mean_color_loss, zero_sum_directions
from pottsattn.theory.colors.solver import ColorPoint, ColorSolver
from pottsattn.theory.colors.spans import check_color_matrices, orthogonal_basis
from pottsattn.theory.colors.student import ColorStudent
from pottsattn.theory.colors.teacher import (
    check_similarity,
    color_spectrum,
    similarity_phase_zone,
)
from pottsattn.theory.ensemble import PhaseZone
from pottsattn.theory.equations.solver import SolvedPoint, unsolved
from pottsattn.theory.tracing import check_alphas, check_ridges

Array = NDArray[np.float64]

LARGE_ALPHA = 1e8  # per head: losses differ from their limit by 5e-9


@dataclass(frozen=True, eq=False)
class HeadsCurve:
    """Replica-symmetric predictions for H heads along alpha; losses in nats per masked site.

    NaN means undefined.

    Attributes
    ----------
    n_states, n_heads : int
        C, and the dimension H of the span of the color matrices.
    coupling_scale : float
        J of the teacher, in units of k_B T.
    teacher_similarity : ndarray, shape (C, C)
        Zero-sum part of U.
    color_matrices : ndarray, shape (H, C, C)
        Orthogonal basis of the span, |B_h|^2 = C - 1.
    phase : PhaseZone
        Where the teacher lies; outside "safe" the numbers may describe no equilibrium sample.
    alpha, ridge : ndarray, shape (n_alphas,)
        Sequences per site, and the penalty on couplings: couplings_l2 = ridge / (2 alpha), times
        sum_ij |P J_ij P|^2 / (C - 1).
    m, q, V : ndarray, shape (n_alphas, C, C)
        Fields of color y have mean m e_y and covariance q; V is their response.
    test_loss, bayes_loss, train_loss : ndarray, shape (n_alphas,)
        Loss on new sequences, of the true model, and on the training set (without penalty).
    objective : ndarray, shape (n_alphas,)
        What the fit minimizes: training loss and penalty, per sequence.
    coupling_error : ndarray, shape (n_alphas,)
        |J - J*|^2 / |J*|^2; NaN without couplings.
    converged : ndarray of bool, shape (n_alphas,)
        The equations are solved to 1e-8 and the last refinement of the nodes moved them by less
        than 0.1 %.
    n_iterations : ndarray of int, shape (n_alphas,)
        Evaluations of the equations.
    quadrature_error : ndarray, shape (n_alphas,)
        Largest relative change of one evaluation when the Gaussian nodes were last refined.
    message : str
        Why points are missing or not converged; "converged" otherwise.
    """

    n_states: int
    n_heads: int
    coupling_scale: float
    teacher_similarity: Array
    color_matrices: Array
    phase: PhaseZone
    alpha: Array
    ridge: Array
    m: Array
    q: Array
    V: Array
    test_loss: Array
    bayes_loss: Array
    train_loss: Array
    objective: Array
    coupling_error: Array
    converged: NDArray[np.bool_]
    n_iterations: NDArray[np.int64]
    quadrature_error: Array
    message: str

    def __repr__(self) -> str:
        n_solved = int(self.converged.sum())
        state = stated(bool(self.converged.all()), self.message)
        return (
            f"HeadsCurve(n_states={self.n_states}, n_heads={self.n_heads}, "
            f"coupling_scale={self.coupling_scale:g}, {n_solved} of {len(self.alpha)} points, "
            f"{state})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return {"points": [...], "phase": {...}, ...} of plain values; undefined is None.

        m, q and V are nested lists, as are the color matrices of student and teacher beside them.
        """
        names = (*MATRIX_COLUMNS, *COLUMNS)
        columns = [getattr(self, name).tolist() for name in names]
        report = {
            "points": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)],
            "phase": asdict(self.phase),
            "message": self.message,
            "teacher_similarity": self.teacher_similarity.tolist(),
            "color_matrices": self.color_matrices.tolist(),
        }
        plain: dict[str, Any] = json.loads(to_json(report))
        return plain

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per alpha: all columns but the matrices m, q and V; undefined is empty.

        Raises
        ------
        InputError
            The file cannot be written; an existing one is then unchanged.
        """
        columns = [getattr(self, name).tolist() for name in COLUMNS]
        write_csv(path, COLUMNS, zip(*columns, strict=True))


MATRIX_COLUMNS = ("m", "q", "V")
PER_ALPHA = [item.name for item in fields(HeadsCurve)]
PER_ALPHA = PER_ALPHA[PER_ALPHA.index("alpha") : PER_ALPHA.index("message")]
COLUMNS = tuple(name for name in PER_ALPHA if name not in MATRIX_COLUMNS)


@one_line
@dataclass(frozen=True, eq=False)
class SpanLimit:
    """What a span of color matrices reaches as alpha grows.

    Attributes
    ----------
    loss : float
        Limit of the test loss, in nats; the Bayes loss if the span contains the teacher.
    similarity : ndarray, shape (C, C)
        Color matrix of the limit, by which couplings follow the true A: the teacher's where the
        span contains it, else the member of the span that predicts best.
    effective_heads : float
        H_eff: test loss - loss and loss - training loss tend to H_eff / (2 alpha). H if the span
        contains the teacher.
    converged : bool
    message : str
    """

    loss: float
    similarity: Array
    effective_heads: float
    converged: bool
    message: str


def heads_curve(
    color_matrices: ArrayLike,
    coupling_scale: float,
    alphas: ArrayLike,
    ridge: ArrayLike,
    *,
    teacher_similarity: ArrayLike | None = None,
) -> HeadsCurve:
    """Return the learning curve of a student with fixed color matrices.

    Parameters
    ----------
    color_matrices : array_like, shape (H, C, C)
        B_h, indexed [h, target, source], 2 to 5 colors. Only the span of their zero-sum parts
        counts, since the penalty is one on the couplings.
    coupling_scale : float
        J: true couplings A_ij U with A_ij ~ Normal(0, J^2 / L), in units of k_B T.
    alphas : array_like, shape (n_alphas,)
        Sequences per site M / L, above 0, in any order.
    ridge : float or array_like, shape (n_alphas,)
        O(1) penalty, above 0: (ridge L / 2) sum_j |P J_ij P|^2 / (C - 1) per row, summed over
        sequences. For mutually orthogonal B_h with |B_h|^2 = C - 1 that is sum_h |A^h_i|^2; the
        "full" estimator of `learning_curve` at ridge has ridge (C - 1) here.
    teacher_similarity : array_like, shape (C, C), optional
        U, the identity if left out. Symmetric, rows of equal sums, and a constant diagonal of the
        square of its zero-sum part, as for circulant matrices. |P U P|^2 = C - 1 keeps the meaning
        of J.

    Returns
    -------
    HeadsCurve
        In the order of `alphas`. Points that are not solved are marked, with a
        `ConvergenceWarning`; from the spin-glass transition on, all are.

    Raises
    ------
    InputError
        A value out of range, more than five colors, or a teacher whose colors are not equally
        frequent: its marginals differ from site to site and the theory does not hold.

    References
    ----------
    Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), arXiv:2304.07235.

    Examples
    --------
    >>> curve = heads_curve([np.eye(3)], 1.5, [4.0], 0.1)
    >>> float(curve.test_loss[0].round(4))
    0.9836
    """
    student, phase = _check_student(color_matrices, coupling_scale, teacher_similarity)
    points_at, ridges = _check_points(alphas, ridge)
    n_states = len(student.similarity) + 1
    directions = zero_sum_directions(n_states)
    points: dict[int, SolvedPoint] = {}
    solver = ColorSolver(student)
    for i in np.argsort(points_at, kind="stable").tolist():
        if coupling_scale < phase.spin_glass_scale:
            points[i] = solver.solve(float(points_at[i]), float(ridges[i]))
        else:
            problem = f"no paramagnetic phase at coupling_scale >= {phase.spin_glass_scale:g}"
            points[i] = unsolved(float(points_at[i]), float(ridges[i]), problem)
    ordered = [points[i] for i in range(len(points_at))]
    overlaps = np.array([_overlaps(point, n_states - 1) for point in ordered])
    problems = [point for point in ordered if point.problem]
    message = "converged"
    if problems:
        message = f"{len(problems)} of {len(ordered)} points, first at alpha {problems[0].alpha:g}"
        message = f"{message}: {problems[0].problem}"
        warnings.warn(f"heads curve: {message}", ConvergenceWarning, stacklevel=2)
    rho = student.bayes_overlap
    train_loss = np.array([point.train_loss for point in ordered])
    power = np.array(
        [point.power if isinstance(point, ColorPoint) else np.nan for point in ordered]
    )
    m, q, V = np.moveaxis(directions @ overlaps @ directions.T, 1, 0)
    has_phase = coupling_scale < phase.spin_glass_scale
    return HeadsCurve(
        n_states=n_states,
        n_heads=len(student.color_matrices),
        coupling_scale=float(coupling_scale),
        teacher_similarity=directions @ student.similarity @ directions.T,
        color_matrices=directions @ student.color_matrices @ directions.T,
        phase=phase,
        alpha=points_at,
        ridge=ridges,
        m=m,
        q=q,
        V=V,
        test_loss=np.array([_loss(M, Q) for M, Q, _ in overlaps]),
        bayes_loss=np.full(len(ordered), mean_color_loss(rho, rho) if has_phase else np.nan),
        train_loss=train_loss,
        objective=train_loss + ridges / (2.0 * points_at) * power,
        coupling_error=np.array([point.coupling_error for point in ordered]),
        converged=np.array([not point.problem for point in ordered]),
        n_iterations=np.array([point.n_iterations for point in ordered]),
        quadrature_error=np.array([point.quadrature_error for point in ordered]),
        message=message,
    )


def span_limit(
    color_matrices: ArrayLike,
    coupling_scale: float,
    *,
    teacher_similarity: ArrayLike | None = None,
) -> SpanLimit:
    """Return what a span of color matrices learns from unlimited data.

    Parameters
    ----------
    color_matrices, coupling_scale, teacher_similarity
        As for `heads_curve`; the coupling scale is above 0 and below the spin-glass transition.

    Raises
    ------
    InputError
        As `heads_curve`, or a coupling scale out of range.

    Notes
    -----
    The equations are solved at alpha = 1e8 H and a ridge of 1e-3.
    """
    student, phase = _check_student(color_matrices, coupling_scale, teacher_similarity)
    check_positive("coupling_scale", coupling_scale)
    if coupling_scale >= phase.spin_glass_scale:
        raise InputError(
            f"coupling_scale must be below {phase.spin_glass_scale:g} (the spin-glass transition), "
            f"got {coupling_scale}"
        )
    directions = zero_sum_directions(len(student.similarity) + 1)
    point = ColorSolver(student).solve(LARGE_ALPHA * len(student.color_matrices), 1e-3)
    if not isinstance(point, ColorPoint):
        unknown = np.full((len(directions), len(directions)), np.nan)
        return SpanLimit(np.nan, unknown, np.nan, False, point.problem)
    return SpanLimit(
        loss=_loss(point.overlaps[0], point.overlaps[1]),
        similarity=directions @ point.mean_similarity @ directions.T,
        effective_heads=point.effective_heads,
        converged=not point.problem,
        message=point.problem or "converged",
    )


def _check_student(
    color_matrices: ArrayLike, coupling_scale: float, teacher_similarity: ArrayLike | None
) -> tuple[ColorStudent, PhaseZone]:
    """Return the student, still without alpha and ridge, and the zone of its teacher."""
    matrices = check_color_matrices(color_matrices)
    n_states = matrices.shape[-1]
    scale = check_nonnegative("coupling_scale", coupling_scale)
    given = np.eye(n_states) if teacher_similarity is None else teacher_similarity
    similarity = check_similarity("teacher_similarity", given)
    if len(similarity) != n_states:
        raise InputError(
            f"teacher_similarity must be of the {n_states} colors of color_matrices, got "
            f"{len(similarity)}"
        )
    phase = similarity_phase_zone(similarity, scale)
    directions = zero_sum_directions(n_states)
    spectrum = color_spectrum(similarity, scale if scale < phase.spin_glass_scale else 0.0)
    student = ColorStudent(
        alpha=np.nan,
        ridge=np.nan,
        color_matrices=orthogonal_basis(matrices),
        similarity=directions.T @ similarity @ directions,
        trace_weights=spectrum.weights,
        teacher=scale * np.sqrt(spectrum.weights),
        covariances=spectrum.covariances,
    )
    return student, phase


def _check_points(alphas: ArrayLike, ridge: ArrayLike) -> tuple[Array, Array]:
    points_at = check_alphas(alphas)
    checked = check_ridges(ridge, len(points_at))
    if checked.min() == 0.0:
        raise InputError(
            "ridge must be above 0, found 0: without a penalty the fit exists only "
            "above a critical alpha; use a small ridge such as 1e-2"
        )
    return points_at, checked


def _overlaps(point: SolvedPoint, n: int) -> Array:
    return point.overlaps if isinstance(point, ColorPoint) else np.full((3, n, n), np.nan)


def _loss(M: Array, Q: Array) -> float:
    return mean_color_loss(M, Q) if np.isfinite(Q).all() else np.nan
