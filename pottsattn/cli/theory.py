"""The command about predictions: theory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pottsattn._core.validate import InputError, check_choice
from pottsattn._core.whole_files import check_writable
from pottsattn.cli._shell import DONE, NOT_CONVERGED, add_command, say

CURVE_SUFFIXES = (".h5", ".hdf5", ".csv")


def add_parser(commands: Any) -> None:
    """Add the command of this module."""
    theory = add_command(
        commands, "theory", _theory, "Predict the learning curve by the replica method."
    )
    theory.add_argument("--states", type=int, required=True, metavar="C", help="number of states")
    theory.add_argument(
        "--coupling-scale", type=float, required=True, metavar="J", help="J of the sk-potts model"
    )
    theory.add_argument(
        "--alpha", type=float, nargs="+", required=True, metavar="A", help="sequences per site"
    )
    theory.add_argument(
        "--ridge", type=float, metavar="X", help="penalty, couplings_l2 = X / (2 alpha)"
    )
    theory.add_argument(
        "--optimum",
        metavar="NAME",
        help="'ridge': the best ridge at each alpha, instead of --ridge; 'mask-fraction': the best "
        "mask fraction, at --ridge or else together with the best ridge",
    )
    theory.add_argument(
        "--estimator", default="factored", metavar="NAME", help="factored (attention) or full (plm)"
    )
    theory.add_argument(
        "--heads", type=int, default=1, metavar="H", help="color matrices of the factored student"
    )
    theory.add_argument(
        "--mask-fraction",
        type=float,
        metavar="R",
        help="train on sequences with each site masked with probability R (default: one at a time)",
    )
    theory.add_argument(
        "--mask-mode",
        metavar="NAME",
        help="fresh (a new mask at every visit; default) or static (one mask per sequence)",
    )
    theory.add_argument(
        "--masks", type=int, metavar="K", help="static masks of a sequence (default: 1)"
    )
    theory.add_argument("--out", metavar="FILE", help="curve to write, .h5 or .csv")


def _theory(arguments: argparse.Namespace) -> int:
    from pottsattn.theory.curve import learning_curve
    from pottsattn.theory.optimum import optimal_mask_fraction, optimal_ridge

    if arguments.out is not None:
        if Path(arguments.out).suffix.lower() not in CURVE_SUFFIXES:
            raise InputError(f"a curve is written as .h5 or .csv, got {arguments.out}")
        check_writable(arguments.out)
    if arguments.optimum is not None:
        check_choice("optimum", arguments.optimum, ("ridge", "mask-fraction"))
    seeks_fraction = arguments.optimum == "mask-fraction"
    if seeks_fraction and arguments.mask_fraction is not None:
        raise InputError("give either --mask-fraction or --optimum mask-fraction, not both")
    if arguments.mask_mode is not None and arguments.mask_fraction is None and not seeks_fraction:
        raise InputError(f"--mask-mode {arguments.mask_mode} needs --mask-fraction R")
    if arguments.masks is not None and arguments.optimum is not None:
        raise InputError(f"--masks {arguments.masks} is for a given ridge and mask fraction only")
    size = (arguments.states, arguments.coupling_scale, arguments.alpha)
    student = {
        "estimator": arguments.estimator,
        "n_heads": arguments.heads,
        "mask_mode": arguments.mask_mode or "fresh",
    }
    if seeks_fraction:
        curve = optimal_mask_fraction(*size, arguments.ridge, **student)
    elif arguments.optimum is not None:
        if arguments.ridge is not None:
            raise InputError("give either --ridge or --optimum ridge, not both")
        curve = optimal_ridge(*size, mask_fraction=arguments.mask_fraction, **student)
    elif arguments.ridge is None:
        raise InputError("theory needs --ridge X, or --optimum ridge or mask-fraction")
    else:
        student.update(mask_fraction=arguments.mask_fraction, masks=arguments.masks)
        curve = learning_curve(*size, arguments.ridge, **student)
    if arguments.out is not None:
        if arguments.out.lower().endswith(".csv"):
            curve.to_csv(arguments.out)
        else:
            curve.save(arguments.out)
    say(arguments, curve.to_dict(), _table(curve))
    return DONE if curve.is_answered.all() else NOT_CONVERGED


def _table(curve: Any) -> str:
    names = ["alpha", "ridge", "test_loss", "train_loss", "coupling_error", "accuracy"]
    if curve.mask_mode is not None:
        names.insert(2, "mask_fraction")
    lines = [" ".join(f"{name:>14}" for name in [*names, "converged"])]
    reasons: dict[str, list[str]] = {}
    for i, values in enumerate(zip(*(getattr(curve, name) for name in names), strict=True)):
        row = " ".join(f"{value:14.6g}" for value in values).replace("nan", "  -")
        mark = "yes" if curve.converged[i] else "no optimum" if curve.is_answered[i] else "NO"
        lines.append(f"{row} {mark:>14}")
        if curve.reasons[i]:
            reasons.setdefault(curve.reasons[i], []).append(f"{curve.alpha[i]:g}")
    lines.append(
        f"Bayes loss {curve.bayes_loss[0]:.6g}; ".replace("nan", "-")
        + f"losses in nats per masked site; phase zone {curve.phase.zone}"
    )
    if curve.mask_mode is not None:
        number = f"{curve.masks} " if curve.masks and curve.masks > 1 else ""
        lines.append(f"{number}{curve.mask_mode} masks; training loss of masked sequences")
    lines += [f"alpha {', '.join(alphas)}: {reason}" for reason, alphas in reasons.items()]
    return "\n".join(lines)
