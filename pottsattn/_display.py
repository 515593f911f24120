"""How results show themselves in a notebook."""

from __future__ import annotations

import html
from typing import Any

__all__ = ["html_table"]


def html_table(title: str, facts: dict[str, Any]) -> str:
    """Return a two-column HTML table of facts under a title."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(_shown(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
