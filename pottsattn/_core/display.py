"""How progress, results and sizes show themselves."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

__all__ = ["Progress", "html_table", "readable_bytes"]

Progress = Callable[[int, int], None]  # (done, total)


def html_table(title: str, facts: dict[str, Any]) -> str:
    """Return a two-column HTML table of facts under a title."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(_shown(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def readable_bytes(n_bytes: float) -> str:
    """Return a size as text, such as 3.3 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return (
                f"{n_bytes:.0f} {unit}"
                if unit == "B" or n_bytes >= 100
                else f"{n_bytes:.1f} {unit}"
            )
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"
