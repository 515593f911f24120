"""What `pottsattn.studies.bridge.run` returns: three tables and what they say in plain words."""

from __future__ import annotations

import html
import math
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.storage import write_csv
from pottsattn._core.verdict import stated
from pottsattn.studies.bridge.identity import IdentityCheck

Array = NDArray[np.float64]
ROUNDING = 1e-10  # relative: gradients closer than that are equal
LOSS_MARGIN = {"full batch": 1e-6, "mini-batch": 1e-3}  # nats per masked site
LEAST_CORRELATION = 0.999
SIGNIFICANT = 2.0  # standard errors


@dataclass(frozen=True)
class BridgeFit:
    """One fit of the same objective; differences and distances are from pseudo-likelihood.

    Attributes
    ----------
    name : str
        "pseudo-likelihood", "full batch" or "mini-batch": how masked modeling was minimized.
    objective : float
        Penalized objective, nats per site, evaluated for all fits alike in double precision.
    held_out_loss, held_out_difference : float
        Nats per masked site.
    correlation, distance : float
        Of J_ij(a, b) in the zero-sum gauge, as fitted; distance = |J - J_PL| / |J_PL|.
    coupling_error : float
        |J - J*|^2 / |J*|^2 against the true model; NaN where it is not known.
    """

    name: str
    objective: float
    held_out_loss: float
    held_out_difference: float
    correlation: float
    distance: float
    coupling_error: float
    seconds: float
    converged: bool
    message: str


@dataclass(frozen=True)
class MaskedFit:
    """Training with a fraction of the sites hidden, judged with the full context.

    Attributes
    ----------
    mode, fraction : str, float
        "fresh" or "static", and r.
    held_out_loss, held_out_difference, difference_error : float
        Loss with the full context, that minus pseudo-likelihood's, and the standard error of the
        difference over held-out sequences (paired).
    distance, slope, correlation : float
        |J - J_PL| / |J_PL|, J . J_PL / |J_PL|^2 (below 1: shrunk), and the correlation; zero-sum
        gauge, as fitted.
    coupling_error : float
        |J - J*|^2 / |J*|^2 against the true model; NaN where it is not known.
    masked_loss, masked_loss_at_optimum : float
        Held-out loss of hidden sites with the rest of the sequence as context, of this fit, and at
        the parameters of the pseudo-likelihood optimum with the same masks.
    """

    mode: str
    fraction: float
    held_out_loss: float
    held_out_difference: float
    difference_error: float
    distance: float
    slope: float
    correlation: float
    coupling_error: float
    masked_loss: float
    masked_loss_at_optimum: float
    seconds: float
    converged: bool
    message: str


@dataclass(frozen=True)
class Criterion:
    """What was asked of a number, and what it was."""

    text: str
    value: float
    limit: float
    met: bool


@dataclass(frozen=True, eq=False, repr=False)
class Bridge:
    """Masked modeling beside pseudo-likelihood on one data set.

    Attributes
    ----------
    identity : tuple of IdentityCheck
        Both losses and their gradients at the same parameters.
    fits : tuple of BridgeFit
        Both optima; the first is that of pseudo-likelihood.
    masked : tuple of MaskedFit
        More than one site at a time.
    bayes_loss : float
        Held-out loss of the true model; NaN where it is not known.
    held_out_error : float
        Standard error of pseudo-likelihood's held-out loss over held-out sequences.
    penalty : dict
        ridge, couplings_l2, fields_l2.
    settings : dict
        Sizes and options: n_given, n_used, n_train, n_held_out, n_identity, length, n_states,
        split_by, fields, n_heads, color_similarity.
    pairs : tuple of two arrays
        J_ij(a, b) of pseudo-likelihood and of full-batch attention, at most some thousands, for the
        figure.
    interrupted : bool
        Ended by Ctrl-C; what was done until then.
    """

    identity: tuple[IdentityCheck, ...]
    fits: tuple[BridgeFit, ...]
    masked: tuple[MaskedFit, ...]
    bayes_loss: float
    held_out_error: float
    penalty: dict[str, float]
    settings: dict[str, Any]
    pairs: tuple[Array, Array]
    seconds: float
    interrupted: bool = False

    @property
    def converged(self) -> bool:
        """Whether every fit has converged."""
        verdicts = [fit.converged for fit in self.fits] + [fit.converged for fit in self.masked]
        return not self.interrupted and all(verdicts)

    @property
    def is_convex(self) -> bool:
        """Whether the objective has one minimum."""
        return bool(self.settings["color_similarity"] == "identity")

    def criteria(self) -> list[Criterion]:
        """Return what coinciding means in numbers, and whether it is met."""
        gradients = max(check.gradient_difference for check in self.identity)
        losses = max(check.loss_difference / abs(check.pseudolikelihood) for check in self.identity)
        asked = [
            ("losses equal at every point, relative difference", losses, ROUNDING, True),
            ("gradients equal at every point, relative difference", gradients, ROUNDING, True),
        ]
        for fit in self.fits[1:]:
            difference = abs(fit.held_out_difference)
            margin = LOSS_MARGIN[fit.name]
            asked.append((f"{fit.name}: held-out losses differ, nats", difference, margin, True))
            text = f"{fit.name}: correlation of the couplings"
            asked.append((text, fit.correlation, LEAST_CORRELATION, False))
        return [
            Criterion(text, value, limit, value < limit if is_upper else value > limit)
            for text, value, limit, is_upper in asked
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays; undefined numbers are NaN."""
        return {
            "converged": self.converged,
            "interrupted": self.interrupted,
            "identity": [asdict(check) for check in self.identity],
            "fits": [asdict(fit) for fit in self.fits],
            "masked": [asdict(fit) for fit in self.masked],
            "criteria": [asdict(criterion) for criterion in self.criteria()],
            "conclusions": self.conclusions(),
            "bayes_loss": self.bayes_loss,
            "held_out_error": self.held_out_error,
            **self.penalty,
            **self.settings,
            "seconds": self.seconds,
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per fit; columns that a fit does not have are empty."""
        header = ["part", "name", "mode", "fraction"]
        rows = [{"part": "optimum", **asdict(fit)} for fit in self.fits] + [
            {"part": "masked", **asdict(fit)} for fit in self.masked
        ]
        for kind in (BridgeFit, MaskedFit):
            header += [item.name for item in fields(kind) if item.name not in header]
        write_csv(path, header, ([row.get(name, "") for name in header] for row in rows))

    def conclusions(self) -> list[str]:
        """Return in plain words what the numbers say."""
        said = [_on_identity(self)]
        if len(self.fits) > 1:
            said.append(_on_optima(self))
        said += [text for mode in ("fresh", "static") if (text := _on_masks(self, mode))]
        return said

    def __str__(self) -> str:
        blocks = [_header(self), _identity_table(self), _optima_table(self), _masked_table(self)]
        return "\n\n".join(block for block in blocks if block)

    def __repr__(self) -> str:
        met = sum(criterion.met for criterion in self.criteria())
        state = "" if self.converged else f", {stated(False)}"
        return (
            f"Bridge(length={self.settings['length']}, n_states={self.settings['n_states']}, "
            f"{met} of {len(self.criteria())} criteria met, {len(self.masked)} masked fits{state})"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _header(bridge: Bridge) -> str:
    known = bridge.settings
    used = f"{known['n_used']} sequences"
    if known["n_used"] < known["n_given"]:
        used = f"a random {known['n_used']} of {known['n_given']} sequences (max_sequences)"
    return (
        f"{used}, {known['length']} sites, {known['n_states']} states: {known['n_train']} to fit, "
        f"{known['n_held_out']} held out by {known['split_by']}\n"
        f"ridge {bridge.penalty['ridge']:.3g} (couplings_l2 {bridge.penalty['couplings_l2']:.3g}, "
        f"fields_l2 {bridge.penalty['fields_l2']:.3g}), fields {known['fields']}, "
        f"color similarity {known['color_similarity']}, heads {known['n_heads']}; "
        "losses in nats per masked site"
    )


def _identity_table(bridge: Bridge) -> str:
    lines = [
        f"1. The same function: masked loss and pseudo-likelihood at the same A, U, h "
        f"({bridge.settings['n_identity']} sequences)",
        f"   {'parameters':27} {'masked loss':>13} {'-log PL/(L M)':>13} {'difference':>10} "
        f"{'gradients':>10}",
    ]
    lines += [
        f"   {check.point:27} {check.masked_loss:13.9f} {check.pseudolikelihood:13.9f} "
        f"{check.loss_difference:10.1e} {check.gradient_difference:10.1e}"
        for check in bridge.identity
    ]
    return "\n".join([*lines, f"   {_on_identity(bridge)}"])


def _optima_table(bridge: Bridge) -> str:
    truth = math.isfinite(bridge.bayes_loss)
    lines = [
        "2. The same optimum: fitted by",
        f"   {'':28} {'objective':>10} {'held-out loss':>13} {'difference':>10} "
        f"{'correlation':>11} {'distance':>8}"
        + (f" {'error':>7}" if truth else "")
        + f" {'seconds':>7}",
    ]
    for fit in bridge.fits:
        name = fit.name if fit.name == "pseudo-likelihood" else f"masked modeling, {fit.name}"
        lines.append(
            f"   {name:28} {fit.objective:10.6f} {fit.held_out_loss:13.6f} "
            f"{fit.held_out_difference:+10.1e} {fit.correlation:11.6f} {fit.distance:8.1e}"
            + (f" {fit.coupling_error:7.4f}" if truth else "")
            + f" {fit.seconds:7.1f}"
            + _mark(fit.converged)
        )
    if truth:
        lines.append(f"   {'true model':28} {'':10} {bridge.bayes_loss:13.6f}")
    for criterion in bridge.criteria()[2:]:
        sign, met = ("<" if criterion.limit < 0.1 else ">"), "yes" if criterion.met else "NO"
        shown = f"{criterion.value:.1e}" if sign == "<" else f"{criterion.value:.6f}"
        lines.append(f"   {criterion.text} {shown} {sign} {criterion.limit:g}: {met}")
    if len(bridge.fits) > 1:
        lines.append(f"   {_on_optima(bridge)}")
    return "\n".join(lines)


def _masked_table(bridge: Bridge) -> str:
    if not bridge.masked:
        return ""
    truth = math.isfinite(bridge.bayes_loss)
    lines = [
        "3. More than one site: every site hidden with probability r (full context: as in 2)",
        f"   {'':6} {'':4} {'--- judged with the full context ---':^38} {'couplings':^16}"
        + (f" {'':7}" if truth else "")
        + f" {'hidden sites only':^17}",
        f"   {'masks':6} {'r':>4} {'held-out loss':>13} {'minus pseudo-likelihood':>24} "
        f"{'distance':>8} {'slope':>7}"
        + (f" {'error':>7}" if truth else "")
        + f" {'trained':>8} {'PL opt.':>8}",
    ]
    for fit in bridge.masked:
        difference = f"{fit.held_out_difference:+.5f} ± {fit.difference_error:.5f}"
        lines.append(
            f"   {fit.mode:6} {fit.fraction:4.2f} {fit.held_out_loss:13.5f} {difference:>24} "
            f"{fit.distance:8.4f} {fit.slope:7.4f}"
            + (f" {fit.coupling_error:7.4f}" if truth else "")
            + f" {fit.masked_loss:8.4f} {fit.masked_loss_at_optimum:8.4f}"
            + _mark(fit.converged)
        )
    for mode in ("fresh", "static"):
        text = _on_masks(bridge, mode)
        lines += [f"   {text}"] if text else []
    return "\n".join(lines)


def _mark(converged: bool) -> str:
    return "" if converged else f"  {stated(False)}"


def _on_identity(bridge: Bridge) -> str:
    loss, gradient = bridge.criteria()[:2]
    if loss.met and gradient.met:
        return "Equal to rounding at every point: it is one function with one gradient."
    return (
        f"NOT equal: relative differences up to {loss.value:.1e} (loss) and {gradient.value:.1e} "
        "(gradient). This should not happen; please report it."
    )


def _on_optima(bridge: Bridge) -> str:
    missed = [criterion.text for criterion in bridge.criteria()[2:] if not criterion.met]
    where = "optimum" if bridge.is_convex else "stationary point (learned U is not convex)"
    if not missed:
        return f"The same {where}, found in two ways."
    return f"Not the same {where} within the limits: {'; '.join(missed)}."


def _on_masks(bridge: Bridge, mode: str) -> str:
    rows = [fit for fit in bridge.masked if fit.mode == mode]
    if not rows:
        return ""
    worse = [f for f in rows if f.held_out_difference > SIGNIFICANT * f.difference_error]
    better = [f for f in rows if f.held_out_difference < -SIGNIFICANT * f.difference_error]
    what = "Fresh masks" if mode == "fresh" else "Static masks (one pattern per sequence)"
    parts = [
        f"{name} than pseudo-likelihood at r = {', '.join(f'{f.fraction:g}' for f in found)}"
        for name, found in (("better", better), ("worse", worse))
        if found
    ]
    text = f"{what}: {'; '.join(parts) or 'as good as pseudo-likelihood within the errors'}."
    far = max(rows, key=lambda fit: fit.distance)
    return (
        f"{text} Another objective, another optimum: at r = {far.fraction:g} the couplings are "
        f"{100 * far.distance:.0f} % away, with a slope of {far.slope:.2f} on those of "
        "pseudo-likelihood."
    )
