"""Commands that use a fitted model: energies, mutations, statistics."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from pottsattn._core.validate import InputError
from pottsattn.cli._shell import (
    DONE,
    add_command,
    add_data_options,
    check_output,
    read_like,
    say,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pottsattn.analysis.scoring import MutationScan
    from pottsattn.fitting.result import FitResult

__all__ = ["add_commands"]

N_SHOWN = 5


def add_commands(commands: Any) -> None:
    """Add the commands of this module."""
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

    mutations = add_command(
        commands,
        "mutations",
        _mutations,
        "Scan all single mutations of a sequence: changes of -H and of the pseudo-log-likelihood.",
    )
    mutations.add_argument("fit", metavar="FIT", help="a file written by fit")
    mutations.add_argument(
        "--sequence",
        required=True,
        metavar="S",
        help="the wild type: its letters, one for each column of FIT, - or . for gaps (integers "
        "with commas if FIT has no alphabet); a file, whose first sequence is taken; with --data "
        "a name",
    )
    mutations.add_argument("--data", metavar="DATA", help="where the sequence named S is")
    mutations.add_argument("--out", metavar="FIG", help="heat map to write: .png, .pdf or .svg")
    mutations.add_argument("--csv", metavar="F.csv", help="table to write, a row per mutation")
    add_data_options(mutations, weighted=False)

    statistics = add_command(
        commands,
        "statistics",
        _statistics,
        "Compare the frequencies and pair correlations of sampled sequences with those of data.",
    )
    statistics.add_argument("data", metavar="DATA", help="the data, such as those of a fit")
    statistics.add_argument("sampled", metavar="SAMPLED.h5", help="sequences sampled from the fit")
    statistics.add_argument("--out", metavar="FIG", help="figure to write: .png, .pdf or .svg")
    statistics.add_argument("--csv", metavar="F.csv", help="table of site frequencies to write")
    add_data_options(statistics)


def _energies(arguments: argparse.Namespace) -> int:
    import numpy as np

    from pottsattn.analysis.scoring import score_sequences
    from pottsattn.files import load_fit

    if arguments.out is not None:
        check_output(arguments.out, arguments.fit, arguments.data)
    fit = load_fit(arguments.fit)
    dataset = read_like(arguments, arguments.data, fit)
    scores = score_sequences(fit, dataset)
    summary = dataset.origin.get("source", {}).get("summary")
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


def _mutations(arguments: argparse.Namespace) -> int:
    from pottsattn.analysis.scoring import scan_mutations
    from pottsattn.fitting.result import FitResult

    _check_outputs(arguments, arguments.fit, arguments.data, arguments.sequence)
    fit = FitResult.load(arguments.fit)
    scan = scan_mutations(fit, _wild_type(arguments, fit))
    written = {}
    if arguments.out is not None:
        from pottsattn.figures.family import figure_mutations
        from pottsattn.figures.style import save_figure

        save_figure(figure_mutations(scan)[0], arguments.out)
        written["figure"] = arguments.out
    if arguments.csv is not None:
        scan.to_csv(arguments.csv)
        written["csv"] = arguments.csv
    report = {"fit": arguments.fit, "figure": None, "csv": None, **written, **scan.to_dict()}
    say(arguments, report, "\n".join([*_extremes(scan), *_written(written)]))
    return DONE


def _statistics(arguments: argparse.Namespace) -> int:
    from pottsattn.analysis.moments import compare_moments
    from pottsattn.data.dataset import SequenceDataset

    _check_outputs(arguments, arguments.data, arguments.sampled)
    sampled = SequenceDataset.load(arguments.sampled)
    dataset = read_like(arguments, arguments.data, sampled)
    result = compare_moments(dataset, sampled)
    written = {}
    if arguments.out is not None:
        from pottsattn.figures.family import figure_moments
        from pottsattn.figures.style import save_figure

        save_figure(figure_moments(result)[0], arguments.out)
        written["figure"] = arguments.out
    if arguments.csv is not None:
        result.to_csv(arguments.csv)
        written["csv"] = arguments.csv
    report = {"data": arguments.data, "sampled": arguments.sampled, "figure": None, "csv": None}
    report |= {**written, **result.to_dict()}
    say(arguments, report, "\n".join([str(result), *_written(written)]))
    return DONE


def _wild_type(arguments: argparse.Namespace, fit: FitResult) -> NDArray[np.uint8]:
    """Return the states of the sequence that is meant: a name, a file or letters."""
    from pottsattn.analysis.scoring import states_for, states_of

    wanted = arguments.sequence
    if arguments.data is not None:
        dataset = read_like(arguments, arguments.data, fit)
        places = [
            at for at, name in enumerate(dataset.names) if wanted in (name, *name.split()[:1])
        ]
        if len(places) != 1:
            found = f"{len(places)} sequences are" if places else "no sequence is"
            raise InputError(f"{found} named {wanted!r} in {arguments.data}; expected one")
        return states_for(fit, dataset.take(places))[0]
    if os.path.isfile(wanted):
        dataset = read_like(arguments, wanted, fit)
        return states_for(fit, dataset.take([0]))[0]
    return states_of(fit, wanted)


def _extremes(scan: MutationScan) -> list[str]:
    """Return lines on the mutations that the model likes most and least."""
    import numpy as np

    letters, change = scan.letters, scan.exponent_change.copy()
    change[np.arange(len(change)), scan.wild_type] = np.nan
    order = np.argsort(change, axis=None)[: np.isfinite(change).sum()]  # NaN comes last

    def shown(chosen: NDArray[np.intp]) -> str:
        places = (np.unravel_index(at, change.shape) for at in chosen)
        return ", ".join(
            f"{letters[scan.wild_type[i]]}{scan.columns[i]}{letters[a]} {change[i, a]:+.2f}"
            for i, a in places
        )

    n_better = int((change > 0.0).sum())
    return [
        f"{change.size - len(change)} mutations of {len(change)} sites, {n_better} raise -H; "
        "change of -H, in k_B T:",
        f"  largest   {shown(order[::-1][:N_SHOWN])}",
        f"  smallest  {shown(order[:N_SHOWN])}",
    ]


def _check_outputs(arguments: argparse.Namespace, *inputs: str | None) -> None:
    if arguments.out is not None:
        from pottsattn.figures.style import check_figure_path

        check_figure_path(arguments.out)
        if arguments.csv == arguments.out:
            raise InputError(f"--out and --csv are both {arguments.out}, give two names")
    for path in filter(None, (arguments.out, arguments.csv)):
        check_output(path, *inputs)


def _written(files: dict[str, str]) -> list[str]:
    return [f"written: {path}" for path in files.values()]
