"""`contacts`: rank pairs of columns and measure their precision."""

from __future__ import annotations

import argparse
from typing import Any

from pottsattn._core.validate import InputError, check_at_least
from pottsattn._core.verdict import stated
from pottsattn.cli._shell import (
    DONE,
    NOT_CONVERGED,
    add_command,
    add_data_options,
    bar,
    check_output,
    read_like,
    say,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
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
    contacts.add_argument(
        "--no-apc", action="store_true", help="rank by the norm, without the product correction"
    )
    contacts.add_argument("--with-gap", action="store_true", help="keep the gap state in the norm")
    contacts.add_argument(
        "--data", metavar="DATA", help="what was fitted: needed by --bootstrap and --null"
    )
    contacts.add_argument(
        "--bootstrap",
        type=int,
        metavar="N",
        help="errors of the precision from N refits to clusters drawn with replacement",
    )
    contacts.add_argument(
        "--null",
        type=int,
        metavar="N",
        help="N refits to columns without correlations: how many pairs score above chance",
    )
    add_data_options(contacts)


def _contacts(arguments: argparse.Namespace) -> int:
    from pottsattn.analysis.contacts import missing_columns, rank_contacts
    from pottsattn.analysis.distances import read_distances
    from pottsattn.fitting.result import FitResult

    _check_refits(arguments)
    check_output(arguments.out, arguments.fit, arguments.distances, arguments.data)
    known = None if arguments.distances is None else read_distances(arguments.distances)
    fit = FitResult.load(arguments.fit)
    how = {
        "min_separation": arguments.min_separation,
        "apc": not arguments.no_apc,
        "with_gap": arguments.with_gap,
    }
    ranking = rank_contacts(fit, **how)
    missing = missing_columns(fit)
    report: dict[str, Any] = {
        "file": arguments.out,
        "precision": None,
        "area": None,
        "n_pairs": len(ranking.score),
        "n_contacts": None,
        "missing_columns": missing,
        "bootstrap": None,
        "null": None,
    }
    text = f"{arguments.out}: {len(ranking.score)} pairs at least {arguments.min_separation} apart"
    if missing:
        text += f", none of the columns {', '.join(map(str, missing))}, which the fit lacks"
    if known is not None:
        precision = ranking.precision(known, arguments.cutoff)
        report |= precision.to_dict()
        ranks = ", ".join(f"{name} {value:.3f}" for name, value in precision.at.items())
        text += (
            f", {precision.n_contacts} contacts among {precision.n_pairs} with known distance\n"
            f"precision at {ranks}; mean over ranks 1..2L {precision.area:.3f}"
        )
    converged = True
    expected = None  # pairs of a null fit that score as high
    if arguments.data is not None:
        data = read_like(arguments, arguments.data, fit)
        shared = {**how, "rng": arguments.seed, "n_threads": arguments.threads}
        try:
            if arguments.null is not None:
                report["null"], expected, line = _null(arguments, fit, data, ranking, shared)
                text += line
                converged &= report["null"]["converged"]
            if arguments.bootstrap is not None:
                report["bootstrap"], line = _bootstrap(arguments, fit, data, known, shared)
                text += line
                converged &= report["bootstrap"]["converged"]
        except KeyboardInterrupt:
            ranking.to_csv(arguments.out, known, expected)
            raise
    ranking.to_csv(arguments.out, known, expected)
    say(arguments, report, text)
    return DONE if converged else NOT_CONVERGED


def _check_refits(arguments: argparse.Namespace) -> None:
    wanted = [name for name in ("bootstrap", "null") if getattr(arguments, name) is not None]
    if wanted and arguments.data is None:
        raise InputError(f"--{wanted[0]} fits again: give the fitted data, --data DATA")
    if arguments.data is not None and not wanted:
        raise InputError("--data is for --bootstrap and --null; leave it out")
    for name, least in (("bootstrap", 2), ("null", 1)):
        if name in wanted:  # before the ranking is written
            check_at_least(f"--{name}", getattr(arguments, name), least)
    if "bootstrap" in wanted and arguments.distances is None:
        raise InputError("--bootstrap gives errors of the precision: it needs --distances")


def _null(
    arguments: argparse.Namespace, fit: Any, data: Any, ranking: Any, shared: Any
) -> tuple[dict[str, Any], Any, str]:
    from pottsattn.analysis.contact_errors import null_scores

    with bar("null", "fit") as progress:
        null = null_scores(fit, data, n_shuffles=arguments.null, progress=progress, **shared)
    report = null.to_dict(ranking.score)
    line = (
        f"\n{report['n_above']} pairs score above {null.highest:.3g}, the highest of "
        f"{report['n_fits']} fits to columns without correlations"
        + ("" if null.converged else f"; {stated(False, null.message)}")
    )
    return report, null.n_expected(ranking.score), line


def _bootstrap(
    arguments: argparse.Namespace, fit: Any, data: Any, known: Any, shared: Any
) -> tuple[dict[str, Any], str]:
    from pottsattn.analysis.contact_errors import bootstrap_precision

    with bar("bootstrap", "fit") as progress:
        errors = bootstrap_precision(
            fit,
            data,
            known,
            n_replicas=arguments.bootstrap,
            cutoff=arguments.cutoff,
            identity_threshold=arguments.identity_threshold,
            progress=progress,
            **shared,
        )
    ranks = ", ".join(f"{name} {value:.3f}" for name, value in errors.at.items())
    return errors.to_dict(), (
        f"\nstandard errors over clusters, {arguments.bootstrap} refits: {ranks}; "
        f"area {errors.area:.3f}"
        + ("" if errors.converged else f"; {stated(False, errors.message)}")
    )
