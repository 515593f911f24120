"""Options of a command that are fields of dataclasses: types and defaults are said there."""

from __future__ import annotations

import argparse
from argparse import BooleanOptionalAction
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

TYPES: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
NO_NAMES: Mapping[str, str] = {}


def option_of(name: str, names: Mapping[str, str] = NO_NAMES) -> str:
    """Return the option of a field: --heads of `n_heads`, if `names` has no other for it."""
    return "--" + names.get(name, name.removeprefix("n_")).replace("_", "-")


def add_options(
    add: Callable[..., Any],
    kinds: tuple[type, ...],
    texts: Mapping[str, tuple[str, str]],
    names: Mapping[str, str] = NO_NAMES,
) -> None:
    """Add an option for each of `texts`: (metavar, help) by name; help tells the default.

    A name that is no field of `kinds` takes text; a field that is True or False takes nothing and
    gives the other one, one that may be left open has an option for either. What is not said on the
    command line is None, or False.
    """
    known = {field.name: field for kind in kinds for field in fields(kind)}
    for name, (metavar, text) in texts.items():
        what: dict[str, Any] = {"metavar": metavar, "help": text}
        if name in known:
            what = _facts(known[name], metavar, text)
        add(option_of(name, names), dest=name, **what)


def _facts(field: Field[Any], metavar: str, text: str) -> dict[str, Any]:
    """Return what argparse is told of a field."""
    kind = str(field.type).split(" | ")[0]
    if kind == "bool" and field.default is None:
        return {"help": text, "action": BooleanOptionalAction}
    if kind == "bool":
        default = None if field.default else False
        return {
            "help": text,
            "action": "store_const",
            "const": not field.default,
            "default": default,
        }
    if field.default not in (None, MISSING) and "(default" not in text:
        text += f" (default: {field.default})"
    if kind.startswith("tuple["):
        each = kind.removeprefix("tuple[").removesuffix("]").split(", ")
        shown = tuple(metavar.split())
        return {"help": text, "metavar": shown, "type": TYPES[each[0]], "nargs": len(each)}
    return {"help": text, "metavar": metavar, "type": TYPES.get(kind, str)}


def given(kind: type, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of `kind` that the command line says, by name."""
    values = {field.name: getattr(arguments, field.name, None) for field in fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }
