"""One self-contained HTML page from figures, tables and text: no script, no file beside it."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from pottsattn._core.display import shown
from pottsattn._core.whole_files import write_whole

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1b1f24; background: #fff;
       max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .6rem 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; border-top: 1px solid #d8dee4; padding-top: 1rem; }
figure { margin: 1rem 0; }
.side { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start; }
.side img { flex: 1 1 17rem; min-width: 0; max-width: min(100%, 40rem); height: auto; }
figcaption { color: #57606a; font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #d8dee4; }
th:first-child, td:first-child { text-align: left; }
code, pre { font: .85rem/1.45 ui-monospace, monospace; background: #f6f8fa; }
pre { padding: .7rem; overflow-x: auto; }
"""


@dataclass(frozen=True)
class Table:
    """A table of ready-made text; the header names units."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Section:
    """A heading with paragraphs and, in this order, figures, a table and a block of commands.

    Figures stand side by side where the screen is wide enough, else below each other.
    """

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Axes] = ()
    caption: str = ""
    table: Table | None = None
    code: str = ""


def write_page(
    path: str | os.PathLike[str], title: str, lead: str, sections: Sequence[Section]
) -> None:
    """Write the page.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    body = "\n".join(_section(section) for section in sections)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(lead)}</p>
{body}
</body>
</html>
"""
    with write_whole(path) as temporary:
        temporary.write_text(shown(page), encoding="utf-8")


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.paragraphs]
    if section.figures:
        alt = html.escape(section.caption or section.title)
        images = "".join(
            f'<img alt="{alt}" src="data:image/png;base64,{_png(ax)}">' for ax in section.figures
        )
        caption = html.escape(section.caption)
        parts.append(
            f'<figure><div class="side">{images}</div><figcaption>{caption}</figcaption></figure>'
        )
    if section.table is not None:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in section.table.header)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in section.table.rows
        )
        parts.append(f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>')
    if section.code:
        parts.append(f"<pre>{html.escape(section.code)}</pre>")
    return "\n".join(parts)


def _png(ax: Axes) -> str:
    figure = ax.get_figure(root=True)
    assert figure is not None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)
    return base64.b64encode(buffer.getvalue()).decode()
