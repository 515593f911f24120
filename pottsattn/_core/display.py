"""How progress, results and sizes show themselves."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

LONGEST = 400  # characters of a representation
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # (done, total)
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def html_table(title: str, facts: dict[str, Any]) -> str:
    """Return a two-column HTML table of facts under a title."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(_shown(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{rows}</table>"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def ranges_of(numbers: list[int]) -> str:
    """Return ascending numbers as ranges, such as 1-5, 8, 10-53."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(str(end) for end in part) for part in parts)


def shown(text: str) -> str:
    """Return a text that a terminal, a page or a figure can show.

    Control characters but tabs and ends of lines, which could command a terminal, and bytes of file
    names that are not UTF-8 become escapes such as \\x1b.
    """
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", whole)


def one_line(kind: type[Result]) -> type[Result]:
    """Give a dataclass a representation of one line: arrays by their shapes, long values cut."""
    kind.__repr__ = _in_one_line  # type: ignore[method-assign]
    return kind


def _in_one_line(self: Any) -> str:
    parts = (f"{item.name}={_brief(getattr(self, item.name))}" for item in fields(self))
    return _cut(f"{type(self).__name__}({', '.join(parts)})", LONGEST)


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    if isinstance(value, (tuple, list, dict)) and len(value) > 3:
        return f"<{len(value)} entries>"
    if is_dataclass(value) and not isinstance(value, type):
        return f"<{type(value).__name__}>"
    return _cut(" ".join(repr(value).split()), 40)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 4]}...{text[-1]}"


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


def readable_seconds(seconds: float) -> str:
    """Return a time as text with one or two digits, such as 40 s."""
    for unit, size, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < most * size:
            return f"{max(two_digits(seconds / size) or 0.0, 0.1):g} {unit}"
    return f"{two_digits(seconds / 86400):g} days"


def two_digits(number: float | None) -> float | None:
    """Return a number rounded to two digits; None stays."""
    return None if number is None else float(f"{number:.2g}")
