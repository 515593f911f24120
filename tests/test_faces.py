"""The front door: what the faces list, that they are light, and that the docs come from them."""

from __future__ import annotations

import inspect
import json
import re
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pottsattn

DOCS = Path(__file__).parents[1] / "docs"
ROOT = Path(pottsattn.__file__).parent
FACES = sorted(
    ".".join(("pottsattn", *path.parent.relative_to(ROOT).parts))
    for path in ROOT.rglob("__init__.pyi")
)
MOST_NAMES, MOST_PARAMETERS = 120, 12
PROMISED = {  # CONTRACT: other people's scripts import these
    "pottsattn": (
        "PottsModel Schedule sample SequenceDataset fit_pseudolikelihood FactoredAttention "
        "train_masked compare learning_curve load"
    ),
    "pottsattn.model": "PottsModel sk_potts",
    "pottsattn.data": "SequenceDataset",
    "pottsattn.sampling": "sample Schedule",
    "pottsattn.theory": "learning_curve",
    "pottsattn.fitting": "fit_pseudolikelihood train_masked FactoredAttention",
    "pottsattn.analysis": "compare",
    "pottsattn.figures": "",
    "pottsattn.spatial": "",
    "pottsattn.instances": "",
}
HEAVY = ("numba", "scipy", "h5py", "torch", "matplotlib")
SCRIPT = f"""
import sys, time
from importlib import import_module
start = time.perf_counter()
import pottsattn
seconds = time.perf_counter() - start
for face in {FACES}:
    import_module(face)
heavy = set({HEAVY}) & set(sys.modules)
sys.stderr.write(f"{{seconds}} {{sorted(heavy)}}")
"""


ROOMS = sorted({dotted.split(".")[1] for dotted in FACES if "." in dotted})


def public() -> dict[str, object]:
    """Return every public object by its name; faces agree on what a name means."""
    found: dict[str, object] = {}
    for dotted in FACES:
        face = import_module(dotted)
        for name in names_of(dotted):
            value = getattr(face, name)
            assert found.setdefault(name, value) is value, f"{dotted}.{name}: two things, one name"
    return found


def names_of(dotted: str) -> list[str]:
    """Return what a face lists, without the rooms that it leads to."""
    face = import_module(dotted)
    return [name for name in face.__all__ if not inspect.ismodule(getattr(face, name))]


def parameters(value: object) -> list[str]:
    return [name for name in inspect.signature(value).parameters if name != "self"]


def in_docs() -> dict[str, str]:
    """Return the code that users read, by the name of the file."""
    found = {}
    for path in (DOCS.parent / "README.md", *DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md")):
        blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        found[path.name] = "\n".join(blocks)
    for path in DOCS.glob("tutorials/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        found[path.name] = "\n".join(code)
    return found


def test_faces_list_what_was_promised_and_no_more_than_a_reader_takes_in():
    for dotted, names in PROMISED.items():
        assert set(names.split()) <= set(names_of(dotted))
    assert len(public()) <= MOST_NAMES


def test_every_room_has_a_face_and_a_docstring():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    faces = {dotted.split(".")[1] for dotted in FACES if "." in dotted}
    assert rooms - faces == {"_core", "cli", "pages"}  # which only the package itself uses
    assert all(import_module(dotted).__doc__ for dotted in FACES)


def test_no_module_bears_the_name_of_a_public_function_of_its_face():
    """Importing the module would hide the function."""
    for dotted in FACES:
        folder = ROOT.joinpath(*dotted.split(".")[1:])
        modules = {path.stem for path in folder.iterdir()}
        assert modules.isdisjoint(names_of(dotted)), dotted


@pytest.mark.parametrize(("name", "value"), public().items(), ids=public())
def test_public_names_are_documented_and_take_few_parameters(name, value):
    if name == "__version__":
        return
    doc = inspect.getdoc(value)
    assert doc
    if inspect.isfunction(value) or "Parameters\n" in doc:  # others are results, which users read
        assert len(parameters(value)) <= MOST_PARAMETERS


def test_a_long_list_of_parameters_would_be_found():
    def long(a, b, c, d, e, f, g, h, i, j, k, m, n): ...

    assert len(parameters(long)) > MOST_PARAMETERS


def test_no_name_is_missing_in_the_pages_of_the_interface(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    pages = import_module("api_pages").pages()
    for dotted in FACES:
        sections = re.findall(r"^## (\w+)$", pages[f"{dotted}.md"], re.MULTILINE)
        assert sections == names_of(dotted)
    described = re.findall(r"auto\w+:: ([\w.]+)", "".join(pages.values()))
    assert len(described) == len(set(described))
    assert {name.rpartition(".")[2] for name in described} >= set(public()) - {"__version__"}


@pytest.mark.parametrize("page", in_docs())
def test_docs_import_from_faces_only(page):
    for dotted, names in re.findall(r"from (pottsattn[\w.]*) import ([\w, ]+)", in_docs()[page]):
        assert dotted in FACES
        assert set(re.findall(r"\w+", names)) <= set(names_of(dotted))


def test_docs_name_code_that_exists():
    """Such as `theory.equations.student.Student` beside an equation."""
    of_rooms = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.\w+){{2,}})")
    for path in DOCS.glob("*.md"):
        for dotted in of_rooms.findall(path.read_text(encoding="utf-8")):
            where, value = "pottsattn", pottsattn
            for part in dotted.split("."):
                where = f"{where}.{part}"
                value = getattr(value, part, None) or import_module(where)


def test_import_is_quick_quiet_and_light():
    seconds = []
    for _ in range(4):  # the first run warms the disk
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
        )
        time_taken, _, heavy = run.stderr.partition(" ")
        assert run.stdout == ""
        assert heavy == "[]"
        seconds.append(float(time_taken))
    median = statistics.median(seconds[1:])
    print(f"import pottsattn: median of 3 {median:.3f} s")  # noqa: T201
    assert median < 0.5
