"""`Plan`: what `pottsattn plan` predicts, and how far to trust it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from pottsattn._core.display import one_line
from pottsattn._core.storage import to_json, write_csv
from pottsattn._core.verdict import stated


@dataclass(frozen=True)
class MeasuredFit:
    """A fit to `n_parts` quarters of the data, judged on the rest; means where there are several.

    Losses in nats per site; `test_loss_error` is the standard error over held-out sequences.
    """

    n_parts: int
    n_sequences: int
    effective_size: float
    alpha: float
    ridge: float
    test_loss: float
    test_loss_error: float
    train_loss: float


@dataclass(frozen=True)
class PlanPoint:
    """Predictions at one number of sequences; losses in nats per site, NaN without a solution.

    `test_loss` and `train_loss` are at the ridge of the plan, `best_loss` at `best_ridge`, which is
    infinite where couplings are best left out.
    """

    n_sequences: int
    effective_size: float
    alpha: float
    test_loss: float
    train_loss: float
    best_ridge: float
    best_loss: float


@one_line
@dataclass(frozen=True)
class MethodPlan:
    """The plan of one method.

    Attributes
    ----------
    method : str
        "factored" (one head, U = I), "heads H", or "plm" (free blocks).
    floor : float
        Loss with unlimited sequences, nats per site.
    coupling_scale, n_colors, sequence_cost, ridge_cost
        J, C, K and R of `pottsattn.theory.effective`.
    residual : float
        Root mean square of theory minus measured test losses, over the baseline loss; NaN for
        heads, which are not fitted.
    back_test : float
        The same difference at three quarters of the data, predicted from one and two quarters.
    sequences_for_target, best_sequences_for_target : int or None
        Sequences for the target loss at the ridge of the plan and at the best one; None where it is
        out of reach. No fewer than a quarter of the data.
    """

    method: str
    floor: float
    coupling_scale: float
    n_colors: int
    sequence_cost: float
    ridge_cost: float
    residual: float
    back_test: float
    points: tuple[PlanPoint, ...]
    measured: tuple[MeasuredFit, ...]
    sequences_for_target: int | None
    best_sequences_for_target: int | None


@dataclass(frozen=True, repr=False)
class Plan:
    """Predicted test loss against the number of sequences, per method.

    Attributes
    ----------
    n_sequences, effective_size : int, float
        M and M_eff of the data. Other numbers of sequences are meant at the same M_eff / M.
    form : {"matched", "effective"}
        The ensemble behind the predictions: SK-Potts at one J, or fitted parameters per method.
    zone : {"safe", "caution", "invalid"}
        Phase zone of the largest J; the theory is for the paramagnetic phase.
    baseline_loss, bayes_loss : float
        Loss of fields alone, and of free blocks with unlimited sequences: nats per site.
    target_loss : float or None
    converged : bool
        All fits have.
    """

    n_sequences: int
    effective_size: float
    length: int
    n_states: int
    ridge: float
    fields: str
    form: str
    zone: str
    baseline_loss: float
    bayes_loss: float
    target_loss: float | None
    methods: tuple[MethodPlan, ...]
    converged: bool
    message: str

    def method(self, name: str) -> MethodPlan:
        """Return the plan of a method; "heads" needs no number."""
        return next(found for found in self.methods if found.method.startswith(name))

    def cautions(self) -> tuple[str, ...]:
        """Return, in plain words, what limits the predictions."""
        found = []
        if self.form == "effective":
            found.append(
                "the data are no SK-Potts sample: effective parameters were fitted to the losses, "
                "and predictions beyond the data are extrapolations, too optimistic by up to 6 "
                "percent at twice the sequences where it was tried"
            )
            found.append(
                "heads: assumes color matrices that span the couplings, which were not fitted"
            )
        if self.zone != "safe":
            found.append(f"phase zone {self.zone}: the theory may not hold")
        worst = max(abs(one.back_test) for one in self.methods if math.isfinite(one.back_test))
        if worst > 0.01:
            found.append(
                f"three quarters of the data, predicted from half, are off by {100 * worst:.1f} %"
            )
        if not self.converged:
            found.append(self.message)
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, the JSON of `pottsattn plan`; undefined is None."""
        report = {**asdict(self), "cautions": self.cautions()}
        plain: dict[str, Any] = json.loads(to_json(report))
        return plain

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per method and number of sequences; InputError if that is not possible."""
        names = [field.name for field in fields(PlanPoint)]
        write_csv(path, ["method", *names], self._rows())

    def _rows(self) -> Iterator[list[Any]]:
        for method in self.methods:
            for point in method.points:
                yield [method.method, *asdict(point).values()]

    def __repr__(self) -> str:
        state = stated(self.converged, self.message)
        return (
            f"Plan(n_sequences={self.n_sequences}, length={self.length}, "
            f"n_states={self.n_states}, {self.form}, zone {self.zone}, {state})"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

    def __str__(self) -> str:
        size = f"{self.n_sequences} sequences"
        if round(self.effective_size) != self.n_sequences:
            size += f" ({self.effective_size:.0f} effective)"
        lines = [
            f"{size} of {self.length} sites with {self.n_states} states; losses in nats per site",
            f"fields alone {self.baseline_loss:.4f}, unlimited sequences {self.bayes_loss:.4f}",
            "",
            f"{'':12}{'':>12}" + f"{'ridge ' + format(self.ridge, 'g'):>12}{'best ridge':>22}",
            f"{'method':12}{'sequences':>12}{'loss':>12}{'loss':>12}{'ridge':>10}",
        ]
        for method in self.methods:
            for point in method.points[::2]:
                ridge = "none" if math.isinf(point.best_ridge) else f"{point.best_ridge:.3g}"
                lines.append(
                    f"{method.method:12}{point.n_sequences:>12}{point.test_loss:12.4f}"
                    f"{point.best_loss:12.4f}{ridge:>10}"
                )
            ending = f"{method.method:12}{'unlimited':>12}{method.floor:12.4f}{method.floor:12.4f}"
            lines.append(ending)
        lines += ["", *self._trust(), *self._targets()]
        return "\n".join(lines).replace(" nan", "   -")

    def _trust(self) -> Iterator[str]:
        yield f"theory: {self.form}, phase zone {self.zone}"
        for method in self.methods:
            if method.measured:
                yield (
                    f"  {method.method}: J {method.coupling_scale:.3g}, C {method.n_colors}, "
                    f"residual {100 * method.residual:.2f} %, three quarters of the data from half "
                    f"{100 * method.back_test:+.2f} %"
                )
        for caution in self.cautions():
            yield f"  caution: {caution}"

    def _targets(self) -> Iterator[str]:
        if self.target_loss is None:
            return
        yield f"sequences for a loss of {self.target_loss:g} (at the ridge, at the best one):"
        for method in self.methods:
            needed = (method.sequences_for_target, method.best_sequences_for_target)
            words = ["out of reach" if one is None else f"{one}" for one in needed]
            yield f"  {method.method:12} {words[0]:>14} {words[1]:>14}"
