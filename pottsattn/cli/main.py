"""Entry point: parse, run, turn errors into one line and an exit status."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence

from pottsattn._core.display import shown
from pottsattn._core.interrupts import hear_signals
from pottsattn._core.validate import (
    MOST_THREADS,
    ConvergenceWarning,
    InputError,
    check_at_least,
    did_you_mean,
)
from pottsattn._version import __version__
from pottsattn.cli import (
    bridge,
    cite,
    compare,
    contacts,
    demo,
    energies,
    example,
    export,
    fit,
    info,
    instances,
    mutations,
    plan,
    plot,
    report,
    sample,
    spatial,
    split,
    statistics,
    sweep,
    theory,
    weights,
)
from pottsattn.cli._shell import INTERRUPTED, WRONG_INPUT, Parser, in_options

MAIN_PATH = (demo, sample, fit, compare, theory, contacts, plan, plot, report)
MORE = (
    example,
    split,
    weights,
    info,
    energies,
    mutations,
    statistics,
    export,
    bridge,
    sweep,
    spatial,
    instances,
    cite,
)
TOO_LARGE = ("allocate memory", "out of memory", "too big", "too large", "dimension exceeded")

EPILOG = """exit status: 0 done; 1 wrong input; 3 finished but not converged (the file is written
and marked); 130 interrupted. 'pottsattn COMMAND --help' tells the options of a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    # OpenMP threads that spin while they wait make training many times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.pop("MPLBACKEND", None)  # figures need none, and an unknown one stops Matplotlib
    _secure_streams()
    parser = Parser()
    try:
        with hear_signals(), warnings.catch_warnings():
            arguments = _parse(sys.argv[1:] if argv is None else argv)
            parser = arguments.parser
            if arguments.seed < 0:
                raise InputError(f"--seed must not be negative, got {arguments.seed}")
            if arguments.threads is not None:
                _limit_threads(arguments.threads)
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            # A fit that did not converge is reported by its command, with exit status 3.
            warnings.simplefilter("ignore", ConvergenceWarning)
            status = int(arguments.run(arguments))
            sys.stdout.flush()
    except InputError as error:
        return _fail(in_options(str(error), parser))
    except MemoryError as error:
        return _fail_for_memory(error)
    except BrokenPipeError:
        _forget_reader()
        return WRONG_INPUT
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename or 'input or output'}")
    except (RuntimeError, ValueError, OverflowError) as error:
        # How torch and NumPy call a size that no memory holds; anything else is a bug.
        if not any(text in str(error) for text in TOO_LARGE):
            raise
        return _fail_for_memory(error)
    except KeyboardInterrupt as error:
        if isinstance(error.__cause__, BrokenPipeError):  # Ctrl-C has ended it too
            _forget_reader()
        print(f"pottsattn: {' '.join(('interrupted', *map(str, error.args)))}", file=sys.stderr)
        return INTERRUPTED
    return status


def build_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="pottsattn",
        description="Factored attention and the inverse Potts problem: sample sequences, infer "
        "couplings by masked modeling or pseudo-likelihood, predict the learning curves, compare.",
        epilog=EPILOG,
        formatter_class=_CommandsFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pottsattn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for module in (*MAIN_PATH, *MORE):
        module.add_parser(commands)
    parser.set_defaults(commands=commands)
    return parser


class _CommandsFormatter(argparse.HelpFormatter):
    """Shows the commands of the main path first, the others under a heading of their own."""

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        if not isinstance(action, argparse._SubParsersAction):
            return text
        first = MORE[0].__name__.rpartition(".")[2]
        main_path, found, more = text.partition(f"\n    {first} ")
        return f"{main_path}\n\nmore:{found}{more}"


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = build_parser()
    if not argv:
        parser.print_help()
        sys.exit(0)
    if argv[0] not in ("-h", "--help", "--version"):
        names = list(parser.get_default("commands").choices)
        if argv[0].startswith("-"):
            raise InputError(f"the command comes first, got {argv[0]!r}; see 'pottsattn --help'")
        if argv[0] not in names:
            hint = did_you_mean(argv[0], names)
            raise InputError(f"no command {argv[0]!r}{hint}; the commands are {', '.join(names)}")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [option for action in arguments.parser._actions for option in action.option_strings]
        kind = "unknown option" if unknown[0].startswith("-") else "one argument too many:"
        hint = did_you_mean(unknown[0], known)
        raise InputError(f"{kind} {unknown[0]!r}{hint}; see 'pottsattn {arguments.command} --help'")
    return arguments


def _limit_threads(n_threads: int) -> None:
    check_at_least("--threads", n_threads, 1, MOST_THREADS)
    # Read by torch and numba when they are first imported, which commands do later.
    os.environ["OMP_NUM_THREADS"] = str(n_threads)


def _secure_streams() -> None:
    """Let names and signs that the terminal cannot show, or closed streams, stop no command."""
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _forget_reader() -> None:
    """Let the interpreter not complain at exit that the reader (such as head) has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"pottsattn: warning: {shown(' '.join(str(message).split()))}", file=sys.stderr)


def _fail_for_memory(error: Exception) -> int:
    reason = str(error) or "the data do not fit"
    return _fail(f"not enough memory: {reason}; use fewer sequences, sites, states or heads")


def _fail(message: str) -> int:
    print(f"pottsattn: {shown(' '.join(message.split()))}", file=sys.stderr)
    return WRONG_INPUT
