"""`LearningCurve`: what the replica theory predicts at each alpha, in memory and on disk.

Files: HDF5 of format `pottsattn.curve/1` (one data set per column; the rest are attributes) and CSV
(one row per alpha). Both are whole or absent.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import html_table
from pottsattn._core.storage import create_hdf5, open_hdf5, provenance, to_json, write_csv
from pottsattn._core.verdict import stated
from pottsattn.theory.ensemble import PhaseZone
from pottsattn.theory.readout import mean_confidence

MOST_OVERLAP = 200.0  # of m over sqrt(q), which is of the order of the coupling scale
NEW_COLUMNS = ("loss_error",)  # absent in files of version 0.1


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Replica-symmetric predictions along alpha; every array has shape (n_alphas,).

    Losses are in nats per masked site with the full context; NaN means undefined.

    Attributes
    ----------
    n_states : int
        Number of colors C.
    coupling_scale : float
        J of the SK-Potts teacher, in units of k_B T.
    estimator : {"factored", "full"}
        The student: one fixed color matrix, or a free C x C block per pair.
    n_heads : int
        Heads of the factored student; 1 for the full one.
    ridge_kind : {"fixed", "optimal"}
        Whether the ridge was given or minimizes the test loss at each alpha.
    mask_mode : {"fresh", "static"} or None
        Whether a sequence shows a new mask at every visit or always the same; None without masks.
    masks : int or None
        Static masks of a sequence; None without static masks.
    phase : PhaseZone
        Where the teacher lies; outside "safe" the numbers may describe no equilibrium sample.
    alpha : ndarray
        Sequences per site, M / L.
    ridge : ndarray
        O(1) penalty; couplings_l2 = ridge / (2 alpha), or ridge / (2 alpha share) with static
        masks, share = 1 - (1 - r)^masks. NaN where no ridge is optimal.
    mask_fraction : ndarray
        Fraction r of masked sites; NaN for one masked site at a time, or where none is optimal.
    m, q, V : ndarray
        Order parameters: overlap with the teacher, squared norm and response of the fields.
    test_loss, bayes_loss, train_loss : ndarray
        Loss on new sequences, of the true model, and on the training set (without penalty). With
        masks the training loss is the mean over the masks that training saw, the others are not
        masked.
    coupling_error : ndarray
        |J - J*|^2 / |J*|^2; NaN without couplings.
    accuracy : ndarray
        Probability that the most probable color is the true one.
    converged : ndarray of bool
        The equations are solved to 1e-8 and the last refinement of the nodes moved them by less
        than 0.1 %.
    n_iterations : ndarray of int
        Evaluations of the equations.
    quadrature_error : ndarray
        Largest relative change of one evaluation of m, q or V when the average over the fields was
        last refined; the error that is left is smaller.
    loss_error : ndarray
        Estimated numerical error of the test loss, in nats.
    confidence : ndarray
        Mean probability of the most probable color; equals `accuracy` where the student is
        calibrated, exceeds it where it is overconfident.
    message : str
        Why points are missing or not converged; "converged" otherwise.
    reasons : tuple of str
        The same for each alpha, empty for a solved point.
    """

    n_states: int
    coupling_scale: float
    estimator: str
    n_heads: int
    ridge_kind: str
    mask_mode: str | None
    masks: int | None
    phase: PhaseZone
    alpha: NDArray[np.float64]
    ridge: NDArray[np.float64]
    mask_fraction: NDArray[np.float64]
    m: NDArray[np.float64]
    q: NDArray[np.float64]
    V: NDArray[np.float64]
    test_loss: NDArray[np.float64]
    bayes_loss: NDArray[np.float64]
    train_loss: NDArray[np.float64]
    coupling_error: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    converged: NDArray[np.bool_]
    n_iterations: NDArray[np.int64]
    quadrature_error: NDArray[np.float64]
    loss_error: NDArray[np.float64]
    message: str
    reasons: tuple[str, ...]

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Mean probability of the most probable color."""
        points = zip(self.m.tolist(), self.q.tolist(), strict=True)
        return np.array(
            [
                mean_confidence(self.n_states, m, q)
                if 0.0 < q < np.inf and 0.0 <= m < MOST_OVERLAP * np.sqrt(q)
                else np.nan
                for m, q in points
            ]
        )

    @property
    def is_answered(self) -> NDArray[np.bool_]:
        """Which points are solved, or known to have no optimum inside the range, (n_alphas,).

        That there is none is an answer; an unsolved fixed point, or no paramagnetic phase, is not.
        """
        is_free = np.isnan(self.ridge) | (
            np.isnan(self.mask_fraction) if self.mask_mode is not None else False
        )
        return self.converged | (is_free & np.isfinite(self.bayes_loss))

    def _repr_html_(self) -> str:
        facts = {}
        points = zip(self.alpha.tolist(), self.test_loss.tolist(), self.reasons, strict=True)
        for alpha, loss, reason in points:
            mark = f"{stated(False)}, " if reason else ""
            facts[f"test loss at alpha {alpha:g} ({mark}nats)"] = loss
        return html_table(repr(self), facts)

    def __repr__(self) -> str:
        number = f"{self.masks} " if self.masks and self.masks > 1 else ""
        masks = f"{number}{self.mask_mode} masks, " if self.mask_mode else ""
        heads = f" with {self.n_heads} heads" if self.n_heads > 1 else ""
        n_solved = int(self.converged.sum())
        state = stated(bool(self.converged.all()), self.message)
        return (
            f"LearningCurve(n_states={self.n_states}, coupling_scale={self.coupling_scale:g}, "
            f"{self.estimator}{heads}, {self.ridge_kind} ridge, {masks}"
            f"{n_solved}/{len(self.alpha)} points, zone {self.phase.zone}, {state})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return {"points", "phase", "message"} of plain Python values; undefined is None.

        The "reason" of a point says why it is not converged, and is None where it is. A curve with
        masks has "mask_mode" beside them, and "masks" with static ones.
        """
        keys = (*POINT_KEYS, "confidence", "loss_error")
        columns = [getattr(self, key).tolist() for key in keys]
        points = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
        for point, reason in zip(points, self.reasons, strict=True):
            point["reason"] = reason or None
        report: dict[str, Any] = {
            "points": points,
            "phase": asdict(self.phase),
            "message": self.message,
        }
        if self.mask_mode is not None:
            report["mask_mode"] = self.mask_mode
        if self.masks is not None:
            report["masks"] = self.masks
        plain: dict[str, Any] = json.loads(to_json(report))
        return plain

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the curve as HDF5 of format `pottsattn.curve/1`.

        Raises
        ------
        InputError
            The file cannot be written; an existing one is then unchanged.
        """
        with create_hdf5(path, "curve", provenance()) as file:
            for field in fields(self):
                value = getattr(self, field.name)
                if field.name in COLUMNS:
                    file.create_dataset(field.name, data=value)
                elif field.name == "phase":
                    file.attrs["phase"] = to_json(asdict(self.phase))
                elif field.name == "reasons":
                    file.attrs["reasons"] = to_json(list(self.reasons))
                elif value is not None:
                    file.attrs[field.name] = value

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LearningCurve:
        """Return a curve written by `save`.

        Raises
        ------
        InputError
            No such file, or not a curve of this package.
        """
        with open_hdf5(path, "curve") as file:
            columns = {name: file[name][()] for name in COLUMNS if name in file}
            for name in NEW_COLUMNS:
                columns.setdefault(name, np.full_like(columns["alpha"], np.nan))
            mask_mode = file.attrs.get("mask_mode")  # absent: no masks, or a file of version 0.1
            if len({column.shape for column in columns.values()}) > 1:
                raise ValueError("columns of unequal length")
            message = str(file.attrs["message"])
            if "reasons" in file.attrs:
                reasons = tuple(map(str, json.loads(file.attrs["reasons"])))
            else:  # in version 0.1 one message told of all points
                reasons = tuple("" if done else message for done in columns["converged"])
            if len(reasons) != len(columns["alpha"]):
                raise ValueError("reasons of another length than the columns")
            return cls(
                n_states=int(file.attrs["n_states"]),
                coupling_scale=float(file.attrs["coupling_scale"]),
                estimator=str(file.attrs["estimator"]),
                masks=int(file.attrs.get("masks", 1)) if mask_mode == "static" else None,
                n_heads=int(file.attrs.get("n_heads", 1)),  # absent in version 0.1
                ridge_kind=str(file.attrs["ridge_kind"]),
                mask_mode=None if mask_mode is None else str(mask_mode),
                phase=PhaseZone(**json.loads(file.attrs["phase"])),
                message=message,
                reasons=reasons,
                **columns,
            )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per alpha under a header of column names.

        Columns: alpha, ridge, mask_fraction, m, q, V, coupling_error, accuracy (dimensionless),
        test_loss, bayes_loss, train_loss (nats per masked site), converged (0 or 1), n_iterations,
        quadrature_error (relative), loss_error (nats), confidence, reason (why a point is not
        converged). Undefined values are empty.

        Raises
        ------
        InputError
            The file cannot be written; an existing one is then unchanged.
        """
        names = (*COLUMNS, "confidence")
        columns = [getattr(self, name).tolist() for name in names]
        write_csv(path, (*names, "reason"), zip(*columns, self.reasons, strict=True))


# One per alpha; those after `converged` say how the equations were solved.
COLUMNS = tuple(item.name for item in fields(LearningCurve) if "NDArray" in str(item.type))
POINT_KEYS = COLUMNS[: COLUMNS.index("converged") + 1]
