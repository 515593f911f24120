"""The command line: a thin, honest shell over the package."""

from __future__ import annotations

from pottsattn.cli.main import main

__all__ = ["main"]
