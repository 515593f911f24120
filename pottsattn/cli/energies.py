"""`energies`: score sequences by a fit."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_data_options,
    check_output,
    read_like,
    say,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    energies = add_command(
        commands,
        "energies",
        _energies,
        "Score sequences: -H of the symmetrized model, and the pseudo-log-likelihood of the fit.",
    )
    energies.add_argument("fit", metavar="FIT", help="a file written by fit")
    energies.add_argument("data", metavar="DATA", help="sequences aligned to the columns of FIT")
    energies.add_argument("--out", metavar="F.csv", help="table to write (default: print it)")
    add_data_options(energies, weighted=False)


def _energies(arguments: argparse.Namespace) -> int:
    import numpy as np

    from pottsattn.analysis.scoring import score_sequences
    from pottsattn.files import load_fit

    if arguments.out is not None:
        check_output(arguments.out, arguments.fit, arguments.data)
    fit = load_fit(arguments.fit)
    dataset = read_like(arguments, arguments.data, fit)
    scores = score_sequences(fit, dataset)
    source = dataset.origin.get("source", {})
    summary = source.get("summary")
    if source.get("n_dropped"):  # numbers then are not those of the records
        warnings.warn(f"sequences without a score: {summary}", stacklevel=1)
    report = {"fit": arguments.fit, "data": arguments.data, "csv": arguments.out}
    if arguments.out is not None:
        scores.to_csv(arguments.out)
        known = scores.exponent[np.isfinite(scores.exponent)]
        energy = f"mean -H {known.mean():.3f}" if len(known) else "no -H"
        if 0 < len(known) < dataset.n_sequences:
            energy += f" of the {len(known)} without gaps"
        text = f"{arguments.out}: {dataset.n_sequences} sequences, {energy}, "
        text += f"mean pseudo-log-likelihood {scores.pseudo_log_likelihood.mean():.3f} nats"
    else:
        rows = (
            f"{number}\t{exponent:.4f}\t{likelihood:.4f}\t{name}"
            for number, name, exponent, likelihood in scores.rows()
        )
        text = "\n".join(["number\texponent\tpseudo_log_likelihood\tname", *rows])
    say(arguments, {**report, "summary": summary, **scores.to_dict()}, text)
    return DONE
