"""The pages for those who change the package: paths exist, names stand there, rooms in order."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from test_layers import ROOMS

import pottsattn

REPOSITORY = Path(__file__).parents[1]
PACKAGE = Path(pottsattn.__file__).parent
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def paths(text: str) -> list[str]:
    """Return what stands in code type and looks like a path."""
    spans = re.findall(r"`([\w./]+)`", text)
    return [span for span in spans if "/" in span or re.search(r"\.(py|pyi|md)$", span)]


def found(path: str) -> Path | None:
    """Return a path of the page on disk; those that begin with a room are in the package."""
    if path in ("__init__.py", "__init__.pyi"):  # of any room
        return PACKAGE / path
    places = (PACKAGE / path, REPOSITORY / path)
    return next((place for place in places if place.exists()), None)


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, without its first two lines."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def defined(path: Path) -> set[str]:
    """Return the functions, classes, methods and constants of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    names = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return names | {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


@pytest.mark.parametrize(
    ("page", "fewest"), [("docs/architecture.md", 100), ("CONTRIBUTING.md", 5)]
)
def test_every_path_exists(page, fewest):
    named = paths((REPOSITORY / page).read_text(encoding="utf-8"))
    assert len(named) > fewest
    assert [path for path in named if found(path) is None] == []


def test_the_check_finds_a_path_that_is_gone():
    there, gone = paths("from `sampling/engine.py` to `sampling/gone.py`")
    assert found(there) is not None
    assert found(gone) is None


def test_the_rooms_are_those_of_the_layers_in_their_order():
    listed = [paths(row[0])[0].removesuffix(".py").strip("/") for row in table("The rooms")]
    assert listed == [room for rooms in ROOMS for room in rooms]


@pytest.mark.parametrize("row", table("Where is"), ids=lambda row: row[0])
def test_names_stand_in_their_files(row):
    _, path, names = row
    place = found(paths(path)[0])
    assert place is not None
    if names:
        assert set(re.findall(r"`(\w+)`", names)) <= defined(place)
