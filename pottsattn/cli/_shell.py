"""What every command shares: the parser, exit statuses, progress, printing."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NoReturn

from pottsattn._core.display import shown
from pottsattn._core.storage import to_json
from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import check_writable, write_together

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.data.sequence_file import SequenceFile
    from pottsattn.figures.choice import FigureOptions

DATA_HELP = (
    ".h5, .npy, or an alignment, told by its content: FASTA, A2M, A3M, Stockholm, Clustal, PHYLIP, "
    "one sequence a line (also .gz)"
)
OTHER_NAMES = {  # of arguments on the command line, beyond n_heads: --heads
    "alphas": "alpha",
    "dataset": "data",
    "gap_policy": "gaps",
    "n_replicas": "bootstrap",
    "n_shuffles": "null",
    "rng": "seed",
    "thin_by": "thin",
}
QUOTES = "'\""
MOST = 2**63 - 1  # of a whole number
DONE, WRONG_INPUT, NOT_CONVERGED, INTERRUPTED = 0, 1, 3, 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and exit status 1, and which takes no abbreviations."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})
        self.register("type", int, whole_number)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and "--" in arg_strings:  # argparse drops it and finds no value
            self.error(f"argument {'/'.join(action.option_strings)}: expected a value, got '--'")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage; `main` prints one line."""
        if message.endswith("expected one argument"):
            message += " (a value that starts with - is written --option=VALUE)"
        raise InputError(f"{message}; see '{self.prog} --help'")


def whole_number(text: str) -> int:
    """Return a whole number that NumPy and torch can hold."""
    number = int(text)
    if abs(number) > MOST:
        raise argparse.ArgumentTypeError(f"must be at most {MOST} (2^63 - 1), got {text[:40]}")
    return number


def any_whole_number(text: str) -> int:
    """Return a whole number of any size, as a seed may have."""
    return int(text)


# As argparse calls them where a text is no number.
whole_number.__name__ = any_whole_number.__name__ = "int"


class _HelpFormatter(argparse.HelpFormatter):
    """Shows defaults that are worth showing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        plain = action.default is None or isinstance(action.default, bool)
        if plain or action.default is argparse.SUPPRESS or "(default" in (action.help or ""):
            return action.help
        return f"{action.help} (default: %(default)s)"


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help_text: str, **more: Any
) -> Parser:
    """Return the parser of a new command with the options that every command takes."""
    parser: Parser = commands.add_parser(
        name, help=help_text, description=help_text, formatter_class=_HelpFormatter, **more
    )
    parser.set_defaults(run=run, parser=parser)
    common = parser.add_argument_group("common options")
    common.add_argument(
        "--seed", type=any_whole_number, default=0, metavar="N", help="seed of all randomness"
    )
    common.add_argument("--threads", type=int, metavar="N", help="threads (default: all cores)")
    common.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


def add_data_options(parser: argparse.ArgumentParser, *, weighted: bool = True) -> None:
    """Add the options that say how an alignment or a .npy file is read, and how it is weighted."""
    data = parser.add_argument_group("reading data")
    if weighted:
        _add_weight_options(data)
    else:
        parser.set_defaults(identity_threshold=None, weights=None)
    data.add_argument(
        "--unknown",
        default="drop",
        metavar="NAME",
        help="alignments: drop sequences with ambiguity codes, read them as gap, or error",
    )
    data.add_argument(
        "--alphabet",
        metavar="NAME",
        help="alignments: protein, dna, rna, or letters of your own in the order of their states, "
        "such as HP- (default: detected)",
    )
    data.add_argument(
        "--focus",
        metavar="NAME",
        help="alignments: keep only the columns in which this sequence has a letter; with a fit, "
        "the name that its focus has in DATA",
    )
    data.add_argument(
        "--numbering",
        default="alignment",
        metavar="NAME",
        help="alignments: columns keep the number they have in the alignment, or are numbered "
        "along the focus",
    )
    data.add_argument(
        "--first-residue",
        type=int,
        metavar="N",
        help="alignments, --numbering focus: number of the first residue of the focus (default: "
        "that of a range such as /24-286 in its name, else 1)",
    )
    data.add_argument(
        "--max-gap-sequences",
        type=float,
        metavar="X",
        help="alignments: drop sequences with a larger share of gaps",
    )
    data.add_argument(
        "--max-gap-columns",
        type=float,
        metavar="X",
        help="alignments: drop columns with a larger share of gaps, counted in the sequences kept",
    )
    data.add_argument("--states", type=int, metavar="C", help=".npy: number of states")


def _add_weight_options(data: argparse._ArgumentGroup) -> None:
    data.add_argument(
        "--identity-threshold",
        type=float,
        default=0.8,
        metavar="X",
        help="alignments: sequences at least this identical share one weight (split: one side)",
    )
    data.add_argument(
        "--weights",
        metavar="FILE",
        help="weights of the sequences, .csv, .txt or .npy as 'pottsattn weights' writes them "
        "(default: computed for alignments, stored in .h5)",
    )


def read_data(arguments: argparse.Namespace, path: str) -> SequenceDataset:
    """Return the data set at `path`, read as the options say."""
    from pottsattn.data.reading import read_dataset

    return read_dataset(path, **_reading_options(arguments, path))


def read_like(
    arguments: argparse.Namespace, path: str, like: Any, sequence: str | int | None = None
) -> SequenceDataset:
    """Return the data set at `path` on the sites of a fit or data set, read as the options say.

    With a name or a place from 0, it is that one sequence.
    """
    from pottsattn.data import reading

    return reading.read_like(path, like, sequence=sequence, **_reading_options(arguments, path))


def _reading_options(arguments: argparse.Namespace, path: str) -> dict[str, Any]:
    from pottsattn.data.reading import data_kind

    if arguments.states is not None and data_kind(path) != "npy":
        raise InputError(f"--states applies to .npy data, not to {path}")
    return {
        "n_states": arguments.states,
        "identity_threshold": arguments.identity_threshold,
        "unknown": arguments.unknown,
        "alphabet": arguments.alphabet,
        "focus": arguments.focus,
        "numbering": arguments.numbering,
        "first_residue": arguments.first_residue,
        "max_gap_sequences": arguments.max_gap_sequences,
        "max_gap_columns": arguments.max_gap_columns,
        "weights": arguments.weights,
        "n_threads": arguments.threads,
    }


def in_options(message: str, parser: argparse.ArgumentParser) -> str:
    """Return a message of the library with the options of a command for its arguments.

    The library sets arguments between backticks, with a value as in `gap_policy='state'`, and
    begins the message of a check with them. What is no option of the command stays as it is.
    """
    options = {action.dest: action.option_strings for action in parser._actions}

    def translated(found: re.Match[str]) -> str:
        name = found["name"] or found["checked"]
        candidates = (name, name.removeprefix("n_"), OTHER_NAMES.get(name, ""))
        option = next((options[one][0] for one in candidates if options.get(one)), None)
        if option is None:
            return found[0]
        value = found["value"]
        return option if value in (None, "True") else f"{option} {value.strip(QUOTES)}"

    pattern = r"`(?P<name>\w+)(=(?P<value>[^`]+))?`|^(?P<checked>\w+)(?= must )"
    return re.sub(pattern, translated, message)


def say(
    arguments: argparse.Namespace,
    result: dict[str, Any],
    text: str,
    dataset: SequenceDataset | SequenceFile | None = None,
) -> None:
    """Print the result: JSON if asked for, otherwise text, after what reading the data did to it.

    Nothing is printed before a command has succeeded: an error leaves the standard output empty.
    """
    summary = None if dataset is None else dataset.origin.get("source", {}).get("summary")
    if dataset is not None and summary:
        text = f"{summary}; effective size {dataset.effective_size:.0f}\n{text}"
    print(to_json(result) if arguments.json else shown(text))


def check_output(path: str, *inputs: str | None) -> None:
    """Raise InputError if a file cannot be created at `path`, or if it is one that is read."""
    target = check_writable(path)
    for source in inputs:
        if source is not None and os.path.realpath(source) == os.fspath(target):
            raise InputError(f"cannot write {path}: it is an input, give another file name")


@contextmanager
def bar(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Give a callback (done, total) that draws a progress bar on stderr, on a terminal only."""
    from tqdm import tqdm

    # On anything but a terminal tqdm is disabled and writes nothing.
    with tqdm(desc=what, unit=unit, unit_scale=True, leave=False, disable=None) as progress:

        def show(done: int, total: int) -> None:
            progress.total = total
            progress.update(done - progress.n)

        yield show


def peak_memory_bytes() -> int | None:
    """Return the peak resident memory of this process, or None where it cannot be told."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def add_distance_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of precisions against a structure."""
    parser.add_argument(
        "--distances", metavar="FILE", help="fits: rows 'i j ... distance', as for contacts"
    )
    parser.add_argument(
        "--min-separation", type=int, default=6, metavar="N", help="with --distances: least |i - j|"
    )
    parser.add_argument(
        "--cutoff", type=float, default=8.0, metavar="X", help="a contact is closer than this"
    )


def figure_options(arguments: argparse.Namespace) -> FigureOptions:
    """Return the options of figures that a command has, under their own names."""
    from pottsattn.figures.choice import FigureOptions

    names = [field.name for field in fields(FigureOptions) if hasattr(arguments, field.name)]
    return FigureOptions(**{name: getattr(arguments, name) for name in names})


def check_outputs(arguments: argparse.Namespace, *inputs: str | None) -> None:
    """Raise InputError unless the figure and the table that are asked for can be written."""
    if arguments.out is not None:
        from pottsattn.figures.style import check_figure_path

        check_figure_path(arguments.out)
        if arguments.csv == arguments.out:
            raise InputError(f"--out and --csv are both {arguments.out}, give two names")
    for path in filter(None, (arguments.out, arguments.csv)):
        check_output(path, *inputs)


def write_outputs(
    arguments: argparse.Namespace, draw: Callable[[], Axes], to_csv: Callable[[str], None]
) -> dict[str, str]:
    """Write the figure and the table that are asked for; return their paths by "figure", "csv"."""
    written = {}
    with write_together():
        if arguments.out is not None:
            from pottsattn.figures.style import save_figure

            save_figure(draw(), arguments.out)
            written["figure"] = arguments.out
        if arguments.csv is not None:
            to_csv(arguments.csv)
            written["csv"] = arguments.csv
    return written


def written_files(files: dict[str, str]) -> list[str]:
    """Return the lines that name written files."""
    return [f"written: {path}" for path in files.values()]
