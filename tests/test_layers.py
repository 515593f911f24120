"""The rooms of the package: who may import whom.

A folder imports only from folders above it in `ROOMS`; inside a folder there are no circles.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import pottsattn

ROOT = Path(pottsattn.__file__).parent

# From the ground up. Rooms on one line do not know each other.
ROOMS = (
    ("_version",),
    ("_core",),
    ("model",),
    ("theory",),
    ("training",),
    ("data",),
    ("sampling",),
    ("fitting",),
    ("likelihood",),
    ("analysis",),
    ("cost",),
    ("spatial", "instances"),
    ("exchange",),
    ("studies",),
    ("files",),
    ("figures",),
    ("pages",),
    ("demo",),
    ("cli",),
)
NEVER_KNOWS = {  # beyond the order: prefixes of modules, ours without the name of the package
    "model": ("torch",),
    "theory": ("model", "torch"),
    "sampling": ("torch",),
    "fitting": ("sampling", "model.ensembles", "model.exact"),
    "fitting.pseudolikelihood": ("torch",),
    "training.steps": ("torch",),
    "data.sequence_file": ("torch",),
    "data.alignment": ("torch",),
}


def modules() -> dict[str, Path]:
    """Return every module on disk by its name within the package; `__init__` files are exempt."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(ROOT.rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    }


def floor(name: str) -> int | None:
    """Return the row of `ROOMS` that the module `name` stands in."""
    room = name.partition(".")[0]
    return next((at for at, rooms in enumerate(ROOMS) if room in rooms), None)


def is_within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def imported_names(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, also inside functions, not for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: relative import"
            yield from ((child.lineno, f"{child.module}.{alias.name}") for alias in child.names)
        yield from imported_names(child)


def resolve(name: str, known: dict[str, Path]) -> str | None:
    """Return the module of the package that `name` lives in, or None if it is not ours."""
    first, _, inner = name.partition(".")
    if first != "pottsattn":
        return None
    if inner == "":
        return "_version"
    while inner and inner not in known:
        inner = inner.rpartition(".")[0]
    assert inner, f"{name}: a face; inside the package import from the module that defines it"
    return inner


def violations(name: str, source: str, known: dict[str, Path]) -> list[str]:
    """Return what `source`, as the module `name`, imports against the rules."""
    found = []
    for line, dotted in imported_names(ast.parse(source)):
        target = resolve(dotted, known)
        what = target or dotted
        where = f"pottsattn/{name.replace('.', '/')}.py line {line} imports {what}"
        if target is not None:
            where += f" (pottsattn/{target.replace('.', '/')}.py)"
            same = target.partition(".")[0] == name.partition(".")[0]
            if not same and not floor(target) < floor(name):
                found.append(f"{where}, a room that is not below its own")
        for room, unknown in NEVER_KNOWS.items():
            if is_within(name, room) and any(is_within(what, prefix) for prefix in unknown):
                found.append(f"{where}, which {room} must never know")
    return found


def imports_within(folder: str, known: dict[str, Path]) -> dict[str, set[str]]:
    """Return for every module of a folder those of the same folder that it imports."""
    inside = {name: path for name, path in known.items() if is_within(name, folder)}
    return {
        name: {
            target
            for _, dotted in imported_names(ast.parse(path.read_text(encoding="utf-8")))
            if (target := resolve(dotted, known)) in inside
        }
        for name, path in inside.items()
    }


def test_the_root_holds_folders_and_four_files():
    assert {path.name for path in ROOT.glob("*.py")} <= {
        "__init__.py",
        "__main__.py",
        "_version.py",
        "files.py",
    }
    assert len(ROOMS) <= 25


def test_every_module_has_a_room():
    assert [name for name in modules() if floor(name) is None] == []
    folders = {path.parent.relative_to(ROOT) for path in modules().values()}
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("name", modules())
def test_module_imports_from_rooms_below_only(name):
    known = modules()
    assert violations(name, known[name].read_text(encoding="utf-8"), known) == []


@pytest.mark.parametrize("folder", [room for rooms in ROOMS for room in rooms])
def test_no_circles_inside_a_room(folder):
    graphlib.TopologicalSorter(imports_within(folder, modules())).prepare()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("model.couplings", "def f():\n    from pottsattn.data.dataset import SequenceDataset"),
        ("model.couplings", "import pottsattn.data.dataset"),
        ("model.exact", "import torch"),
        ("theory.equations.solver", "from pottsattn.model.potts import PottsModel"),
        ("theory.equations.solver", "def f():\n    import torch.nn as nn"),
        ("fitting.pseudolikelihood.lbfgs", "import torch"),
        ("spatial.layer", "from pottsattn.instances.masks import draw"),
    ],
)
def test_the_check_finds_planted_violations(name, source):
    known = modules()
    (message,) = violations(name, source, known)
    assert message.startswith(f"pottsattn/{name.replace('.', '/')}.py line ")
    for_types = "if TYPE_CHECKING:\n" + "\n".join(f"    {line}" for line in source.splitlines())
    assert violations(name, for_types, known) == []


def test_a_planted_circle_is_found(tmp_path):
    (tmp_path / "one.py").write_text("from pottsattn.room.two import b\n")
    (tmp_path / "two.py").write_text("def f():\n    from pottsattn.room.one import a\n")
    known = {f"room.{name}": tmp_path / f"{name}.py" for name in ("one", "two")}
    with pytest.raises(graphlib.CycleError, match=r"room\.one"):
        graphlib.TopologicalSorter(imports_within("room", known)).prepare()
