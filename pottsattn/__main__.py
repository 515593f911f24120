"""`pottsattn` and `python -m pottsattn`: the command line, which can be left from its first moment.

Nothing is imported before Ctrl-C and SIGTERM are heard: they would come out of the imports as
tracebacks, or as the errors of other packages.
"""

import os
import sys

INTERRUPTED = 130


def main() -> int:
    """Run a command and return its exit status."""
    try:
        import signal

        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _leave)
        from pottsattn.cli.main import main as run

        status = run()
        for number in (signal.SIGINT, signal.SIGTERM):  # all is done: what is left is to say so
            signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        _leave()
    return status


def _leave(*_: object) -> None:
    """End at once: nothing has begun."""
    try:
        os.write(2, b"pottsattn: interrupted\n")
    finally:
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
