"""Sphinx configuration: MyST pages and docstrings, built without network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.addnodes import pending_xref

from pottsattn._version import __version__

sys.path.insert(0, str(Path(__file__).parent))
from api_pages import pages

project = "pottsattn"
author = "The pottsattn developers"
project_copyright = "2026, The pottsattn developers"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "literal"
myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebook keeps its outputs; tests/test_tutorials.py runs it

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"pottsattn {version}"
html_copy_source = False


def escape_formulas(*event: Any) -> None:
    """Keep `|`, `*` and `s_-i` of formulas in docstrings from being read as markup."""
    lines: list[str] = event[-1]
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[number] = re.sub(r"[|*]|(?<=\w)_(?!\w)", r"\\\g<0>", line)


def unlink_types(_: Any, doctree: Any) -> None:
    """Keep words such as `length` in the type of an attribute from becoming links."""
    for reference in list(doctree.findall(pending_xref)):
        if reference.get("refspecific"):
            reference.replace_self(reference.children)


def write_api(app: Any) -> None:
    """Write the pages of docs/api where they have changed."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    wanted = pages()
    for path in folder.glob("*.md"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> None:
    """Escape before napoleon, which has priority 500, reads the docstrings."""
    app.connect("builder-inited", write_api)
    app.connect("autodoc-process-docstring", escape_formulas, priority=400)
    app.connect("doctree-read", unlink_types)
