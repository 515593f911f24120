"""Commands that judge fits: compare, contacts."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_data_options,
    check_output,
    read_like,
    say,
)

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add the commands of this module."""
    compare = add_command(
        commands, "compare", _compare, "Judge fits on test data, and against the truth if known."
    )
    compare.add_argument("fits", nargs="+", metavar="FIT", help="files written by fit")
    compare.add_argument("--test", required=True, metavar="DATA", help="data not used for training")
    compare.add_argument(
        "--truth", metavar="FILE", help="file with the true model (default: that of the test data)"
    )
    add_data_options(compare)

    contacts = add_command(
        commands, "contacts", _contacts, "Rank pairs of columns and measure their precision."
    )
    contacts.add_argument("fit", metavar="FIT", help="a file written by fit")
    contacts.add_argument("--out", required=True, metavar="F.csv", help="ranked pairs")
    contacts.add_argument(
        "--distances", metavar="FILE", help="rows 'i j ... distance', columns from 1, 0 = unknown"
    )
    contacts.add_argument(
        "--min-separation", type=int, default=6, metavar="N", help="least |i - j|"
    )
    contacts.add_argument(
        "--cutoff", type=float, default=8.0, metavar="X", help="a contact is closer than this"
    )


def _compare(arguments: argparse.Namespace) -> int:
    from pottsattn.comparison import compare
    from pottsattn.files import load_fit, load_model

    fits = {path: load_fit(path) for path in arguments.fits}
    test = read_like(arguments, arguments.test, next(iter(fits.values())))
    truth = load_model(arguments.truth) if arguments.truth is not None else None
    result = compare(fits, test, truth)
    say(arguments, result.to_dict(), str(result))
    return DONE


def _contacts(arguments: argparse.Namespace) -> int:
    from pottsattn.contacts import rank_contacts, read_distances
    from pottsattn.fitting.result import FitResult

    check_output(arguments.out, arguments.fit, arguments.distances)
    known = None if arguments.distances is None else read_distances(arguments.distances)
    ranking = rank_contacts(FitResult.load(arguments.fit), min_separation=arguments.min_separation)
    report: dict[str, Any] = {
        "file": arguments.out,
        "precision": None,
        "area": None,
        "n_pairs": len(ranking.score),
        "n_contacts": None,
    }
    text = f"{arguments.out}: {len(ranking.score)} pairs at least {arguments.min_separation} apart"
    if known is not None:
        precision = ranking.precision(known, arguments.cutoff)
        report |= precision.to_dict()
        ranks = ", ".join(f"{name} {value:.3f}" for name, value in precision.at.items())
        text += (
            f", {precision.n_contacts} contacts among {precision.n_pairs} with known distance\n"
            f"precision at {ranks}; mean over ranks 1..2L {precision.area:.3f}"
        )
    ranking.to_csv(arguments.out, known)
    say(arguments, report, text)
    return DONE
