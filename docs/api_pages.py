"""The pages of docs/api, made from the faces of the package: a page per folder, a name per section.

What a function returns is described below it, and what that holds in turn, so that a result is
documented although no face lists its class.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pottsattn

ROOT = Path(pottsattn.__file__).parent


def faces() -> dict[str, ModuleType]:
    """Return every face by its dotted name, the root first."""
    folders = [ROOT, *sorted({path.parent for path in ROOT.rglob("__init__.pyi")} - {ROOT})]
    names = [".".join((ROOT.name, *folder.relative_to(ROOT).parts)) for folder in folders]
    return {name: import_module(name) for name in names}


def pages() -> dict[str, str]:
    """Return the text of every page by the name of its file."""
    told: set[type] = set()
    listed = {getattr(face, name) for face in faces().values() for name in names_of(face)}
    found, index = {}, ["# Python interface", "", *INDEX.splitlines(), "", "| face | names |"]
    index.append("|---|---|")
    for dotted, face in faces().items():
        summary, _, more = inspect.cleandoc(face.__doc__ or "").partition("\n\n")
        lines = [f"# `{dotted}`", "", summary, "", *more.splitlines(), ""]
        for name in names_of(face):
            home = _home(face, name)
            if home != dotted:  # the root shows again what a room holds
                lines += [f"## {name}", "", f"See [`{home}`]({_file(home)}).", ""]
                continue
            lines += [f"## {name}", "", "```{eval-rst}", *_directive(dotted, name)]
            for result in _results(getattr(face, name)):
                if result not in told | listed:
                    told.add(result)
                    lines += _directive(result.__module__, result.__name__)
            lines += ["```", ""]
        found[_file(dotted)] = "\n".join(lines)
        names = ", ".join(f"`{name}`" for name in names_of(face))
        index.append(f"| [`{dotted}`]({_file(dotted)}) | {names} |")
    files = "\n".join(_file(name).removesuffix(".md") for name in faces())
    index += ["", "```{toctree}", ":hidden:", "", files, "```", ""]
    found["index.md"] = "\n".join(index)
    return found


INDEX = """
Every room of the package has a face: what it lists is public, what it does not is private.
`import pottsattn` and every face are quick: numba, scipy, h5py, torch and matplotlib load on first
use. Signs, index order, units and penalties are those of [Conventions](../conventions.md).

Results have `to_dict` for plain Python values and `to_csv` for a table; in a notebook they show
themselves as one. Plot functions take an axes, or make one, and return it.

`n_threads` is the number of threads of `sample`, `fit_pseudolikelihood` and `train_masked`. The
first two use all cores if it is left out; `train_masked` keeps torch's own setting. On a busy
machine, threads of torch that wait in a loop make a training many times slower: use `n_threads=1`,
or set `OMP_WAIT_POLICY=PASSIVE` before Python starts. The command line sets it itself.
"""


def names_of(face: ModuleType) -> list[str]:
    """Return what a face lists, without the rooms that it leads to."""
    return [name for name in face.__all__ if not inspect.ismodule(getattr(face, name))]


def _file(dotted: str) -> str:
    return f"{dotted}.md"


def _home(face: ModuleType, name: str) -> str:
    """Return the face in which a name is described: the last that lists it."""
    value = getattr(face, name)
    return [dotted for dotted, other in faces().items() if _lists(other, name, value)][-1]


def _lists(face: ModuleType, name: str, value: Any) -> bool:
    return name in names_of(face) and getattr(face, name) is value


def _directive(module: str, name: str) -> list[str]:
    """Return the lines that have Sphinx describe one object."""
    value = getattr(import_module(module), name)
    if not callable(value):
        return [f".. autodata:: {module}.{name}"]
    if not inspect.isclass(value):
        return [f".. autofunction:: {module}.{name}"]
    if issubclass(value, BaseException):
        return [f".. autoexception:: {module}.{name}"]
    made_by_users = "Parameters\n" in (inspect.getdoc(value) or "")
    fields = {entry.name for entry in _fields(value)} | set(_slots(value))
    lines = [f".. autoclass:: {module}.{name}{'' if made_by_users else '()'}", "   :members:"]
    lines.append("   :inherited-members: Module, Protocol, Dataset, Sampler")
    if fields:
        lines.append(f"   :exclude-members: {', '.join(sorted(fields))}")
    return lines


def _fields(value: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()


def _slots(value: type) -> tuple[str, ...]:
    return tuple(getattr(value, "__slots__", ()))


def _results(value: Any) -> Iterator[type]:
    """Yield the classes of the package that a function returns, and those that they hold."""
    seen: set[type] = set()
    todo = [value] if inspect.isclass(value) else list(_named(value, _returned(value)))
    while todo:
        one = todo.pop(0)
        if one in seen:
            continue
        seen.add(one)
        if one is not value:
            yield one
        todo += [base for base in one.__mro__[1:] if _is_ours(base)]
        for entry in _fields(one):
            todo += _named(one, str(entry.type))


def _returned(value: Any) -> str:
    return str(getattr(value, "__annotations__", {}).get("return", ""))


def _named(where: Any, annotation: str) -> Iterator[type]:
    """Yield the dataclasses of the package that an annotation names."""
    names = vars(import_module(where.__module__)) if hasattr(where, "__module__") else {}
    for word in re.findall(r"\w+", annotation):
        if _is_ours(names.get(word)):
            yield names[word]


def _is_ours(value: Any) -> bool:
    ours = inspect.isclass(value) and value.__module__.startswith(pottsattn.__name__)
    return ours and dataclasses.is_dataclass(value)
