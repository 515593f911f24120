"""Entry point: parse, run, turn errors into one line and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from pottsattn._validate import ConvergenceWarning, InputError, did_you_mean
from pottsattn._version import __version__
from pottsattn.cli import data, inference, pages, theory
from pottsattn.cli._shell import INTERRUPTED, WRONG_INPUT, Parser

__all__ = ["build_parser", "main"]

EPILOG = """exit status: 0 done; 1 wrong input; 3 finished but not converged (the file is written
and marked); 130 interrupted. 'pottsattn COMMAND --help' tells the options of a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    # OpenMP threads that spin while they wait make training many times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        arguments = _parse(sys.argv[1:] if argv is None else argv)
        if arguments.threads is not None:
            _limit_threads(arguments.threads)
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"not enough memory: {error or 'the data do not fit'}; use fewer sequences")
    except BrokenPipeError:
        # The reader (such as head) has left; do not let the interpreter complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG_INPUT
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename or 'input or output'}")
    except KeyboardInterrupt:
        print("pottsattn: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def build_parser() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="pottsattn",
        description="Factored attention and the inverse Potts problem: sample sequences, infer "
        "couplings by masked modelling or pseudo-likelihood, predict the learning curves, compare.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"pottsattn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for group in (pages, data, inference, theory):
        group.add_commands(commands)
    parser.set_defaults(commands=commands)
    return parser


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = build_parser()
    if not argv:
        parser.print_help()
        sys.exit(0)
    if not argv[0].startswith("-"):
        names = list(parser.get_default("commands").choices)
        if argv[0] not in names:
            hint = did_you_mean(argv[0], names)
            raise InputError(f"no command {argv[0]!r}{hint}; the commands are {', '.join(names)}")
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [option for action in arguments.parser._actions for option in action.option_strings]
        hint = did_you_mean(unknown[0], known)
        raise InputError(
            f"unknown option {unknown[0]!r}{hint}; see 'pottsattn {arguments.command} --help'"
        )
    if "run" not in arguments:
        raise InputError("give a command; see 'pottsattn --help'")
    return arguments


def _limit_threads(n_threads: int) -> None:
    if n_threads < 1:
        raise InputError(f"threads must be at least 1, got {n_threads}")
    # Read by torch and numba when they are first imported, which commands do later.
    os.environ["OMP_NUM_THREADS"] = str(n_threads)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    # A fit that did not converge is reported by its command, with exit status 3.
    if not issubclass(category, ConvergenceWarning):
        print(f"pottsattn: warning: {message}", file=sys.stderr)


def _fail(message: str) -> int:
    print(f"pottsattn: {' '.join(message.split())}", file=sys.stderr)
    return WRONG_INPUT
