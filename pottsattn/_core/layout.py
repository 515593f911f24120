"""What a file must hold: types, shapes and ranges, checked before anything is made of them.

A layout maps names to items: `fields` is a data set, `@n_states` an attribute of the file,
`training@n_distinct` one of a group. A `*` stands for every member of a group. Letters of a shape
are sizes that all items of a file share; what differs from most others is named. Items of a group
that is not there are not missed. Names that a layout does not have are left alone: later versions
may add some.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pottsattn._core.foreign import check_declared
from pottsattn._core.validate import InputError

if TYPE_CHECKING:
    import h5py
    from h5py import Dataset

Layout = dict[str, "Item"]
Sizes = dict[Any, tuple[int, str]]  # by letter: how much, and who says so
KINDS = {"whole": "iu", "real": "iuf", "flag": "b"}  # of NumPy
WORDS = {
    "whole": "whole number",
    "real": "number",
    "flag": "flag",
    "text": "text",
    "json": "JSON object",
    "list": "JSON list",
    "group": "group",
}
MOST_PACKED = 1100  # bytes that one byte of a compressed data set can stand for; gzip has 1032
NUMBERS = "a list of numbers"  # or of null
MOST_LISTED = 10_000
DEEPEST = 12  # groups within groups


@dataclass(frozen=True)
class Item:
    """An attribute or a data set.

    `shape` None is any shape; `size` is the letter of a shape that a number stands for, `below` one
    that numbers stay below, `length` one that a text has as its length, unless it is empty. With
    `beside` the item may only be absent where that one is.
    """

    kind: str
    shape: tuple[int | str, ...] | None = ()
    least: float = -math.inf
    most: float = math.inf
    finite: bool = True
    distinct: bool = False
    later: bool = False  # values are checked by who reads them, they may be many
    optional: bool = False
    choices: tuple[Any, ...] = ()
    keys: tuple[str, ...] = ()
    entries: tuple[tuple[str, str], ...] = ()  # of JSON: (place within it, kind)
    size: str = ""
    below: str = ""
    length: str = ""
    beside: str = ""

    def maybe(self) -> Item:
        """Return the item that may be absent."""
        return replace(self, optional=True)

    def words(self) -> str:
        """Return what is expected, in words."""
        kind = WORDS[self.kind]
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if self.shape is None:
            return f"an array of {kind}s"
        if self.shape:
            return f"an array of {kind}s of shape ({', '.join(map(str, self.shape))})"
        return f"a {kind}"


def whole(*shape: int | str, **more: Any) -> Item:
    """Return an item of whole numbers."""
    return Item("whole", shape, **more)


def real(*shape: int | str, **more: Any) -> Item:
    """Return an item of finite numbers."""
    return Item("real", shape, **more)


def loose(*shape: int | str, **more: Any) -> Item:
    """Return an item of numbers that may be undefined: NaN, or infinite after a divergence."""
    return Item("real", shape, finite=False, **more)


def flag(*shape: int | str, **more: Any) -> Item:
    """Return an item of truth values."""
    return Item("flag", shape, **more)


def text(*shape: int | str, **more: Any) -> Item:
    """Return an item of texts."""
    return Item("text", shape, **more)


def group() -> Item:
    """Return a group that must be there; those that may be absent are not listed."""
    return Item("group")


def record(*keys: str, **entries: str) -> Item:
    """Return a JSON object that has these keys.

    `entries` are kinds of values where they are there: those of `a__b` within the object `a`.
    """
    return Item("json", keys=keys, entries=tuple(entries.items()))


def check_layout(file: h5py.File, layout: Layout) -> None:
    """Raise InputError, naming the attribute or data set, unless a file is laid out like that.

    Links to other files, virtual data sets and those stored in other files are refused, and data
    sets that declare more than the file can hold.
    """
    check_contained(file)
    sizes: dict[str, list[tuple[int, str]]] = {}
    found: list[tuple[str, Item, Any]] = []
    for name, item in _expanded(file, layout):
        if item.kind == "group":
            if name not in file:
                raise InputError(f"{name} is missing")
            continue
        value = _find(file, name, item)
        if value is not None:
            found.append((name, item, value))
            for letter, size in _sizes(name, item, value):
                sizes.setdefault(letter, []).append((size, name))
    most = {letter: _most_common(entries) for letter, entries in sizes.items()}
    for name, item, value in found:
        _check_shape(name, item, value, most)
        _check_values(name, item, value, most)


def check_contained(file: h5py.File) -> None:
    """Raise InputError if a file refers to others, or declares more than it can hold."""
    held = os.path.getsize(file.filename)
    for name, member in _members(file, 0):
        try:
            kind = member.dtype
        except TypeError as error:
            raise InputError(f"{name} has a type that is not known: {error}") from error
        plist = member.id.get_create_plist()
        if member.is_virtual or plist.get_external_count():
            raise InputError(f"{name} has its values in other files; copy them into this one")
        if member.shape is None or kind.hasobject:
            continue
        declared = member.size * kind.itemsize
        stored = member.id.get_storage_size()
        packed = MOST_PACKED if plist.get_nfilters() else 1
        if stored > held or declared > packed * stored:
            raise InputError(
                f"{name} declares {declared} bytes (shape {member.shape}), but the file holds "
                f"{min(stored, held)} of it; damaged or never written"
            )


def _members(group: h5py.Group, depth: int) -> Iterator[tuple[str, Dataset]]:
    """Yield the data sets of a file; links are refused, and groups that hold themselves."""
    import h5py

    for name in group:
        path = f"{group.name.rstrip('/')}/{name}".lstrip("/")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InputError(f"{path} is a link to another place; copy what it points to")
        member = group[name]
        if isinstance(member, h5py.Dataset):
            yield path, member
        elif isinstance(member, h5py.Group):
            if depth == DEEPEST:
                raise InputError(f"{path} lies in more than {DEEPEST} groups")
            yield from _members(member, depth + 1)


def _expanded(file: h5py.File, layout: Layout) -> Iterator[tuple[str, Item]]:
    """Yield names and items, `*` replaced by the members of its group, also in letters."""
    import h5py

    for name, item in layout.items():
        head, star, tail = name.partition("*")
        if not star:
            yield name, item
            continue
        group = file.get(head.rstrip("/"), ())
        if isinstance(group, h5py.Dataset):
            raise InputError(f"{head.rstrip('/')} must be a group, found a data set")
        for member in group:
            shape = item.shape
            if shape is not None:
                shape = tuple(x.replace("*", member) if isinstance(x, str) else x for x in shape)
            yield f"{head}{member}{tail}", replace(item, shape=shape)


def _find(file: h5py.File, name: str, item: Item) -> Any:
    """Return the value of an attribute or the data set, None where it may be absent and is."""
    import h5py

    place, at, attribute = name.rpartition("@")
    holder = file.get(place) if place else file
    if not at:
        parent = name.rpartition("/")[0]
        if name in file:
            member = file[name]
            if not isinstance(member, h5py.Dataset):
                raise InputError(f"{name} must be {item.words()}, found a group")
            return member
        missing = not parent or parent in file
    elif holder is None:
        return None
    elif not isinstance(holder, h5py.Group):
        raise InputError(f"{place} must be a group, found a data set")
    elif attribute in holder.attrs:
        return _attribute(holder, attribute, name, item)
    else:
        missing = True
    if item.beside:
        missing = item.beside in file
    if missing and not item.optional:
        raise InputError(f"{_called(name)} is missing")
    return None


def _attribute(holder: h5py.Group, attribute: str, name: str, item: Item) -> Any:
    import h5py

    stored = holder.attrs.get_id(attribute)
    try:
        if stored.shape:
            n_bytes = math.prod(stored.shape) * stored.dtype.itemsize
            check_declared(_called(name), n_bytes, os.path.getsize(holder.file.filename))
        value = holder.attrs[attribute]
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{_called(name)} must be {item.words()}: {error}") from error
    if isinstance(value, h5py.Empty):
        raise InputError(f"{_called(name)} must be {item.words()}, found nothing (empty)")
    return value


def _called(name: str) -> str:
    return f"attribute {name.lstrip('@').replace('@', ' of ')}" if "@" in name else name


def _sizes(name: str, item: Item, value: Any) -> Iterator[tuple[str, int]]:
    """Yield what an item says of the sizes that are shared."""
    shape = np.shape(value) if "@" in name else value.shape
    if item.shape is not None and shape is not None and len(shape) == len(item.shape):
        for letter, size in zip(item.shape, shape, strict=True):
            if isinstance(letter, str):
                yield letter, size
    if item.size and isinstance(value, np.integer):
        yield item.size, int(value)


def _most_common(entries: list[tuple[int, str]]) -> tuple[int, str]:
    """Return the size that most have, the earlier one of equals, and the first that has it."""
    counts = [size for size, _ in entries]
    size = max(dict.fromkeys(counts), key=counts.count)
    return entries[counts.index(size)]


def _check_shape(name: str, item: Item, value: Any, sizes: Sizes) -> None:
    if item.kind in ("text", "json", "list") and item.shape == ():
        if not isinstance(value, str):
            raise InputError(f"{_called(name)} must be {item.words()}, found {_found(value)}")
        return
    kind = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
    shape = value.shape if hasattr(value, "shape") else np.shape(value)
    right = _is_text(kind) if item.kind == "text" else kind.kind in KINDS[item.kind]
    right = right or (shape is not None and 0 in shape)  # h5py stores empty lists as numbers
    if not right or shape is None:
        raise InputError(f"{_called(name)} must be {item.words()}, found {_found(value)}")
    if item.shape is None:
        return
    known = {one: sizes[one] for one in item.shape if one in sizes}
    wanted = [known[one][0] if one in known else one for one in item.shape]
    if list(shape) != wanted:
        sources = ", ".join(f"{one} = {size} of {_called(at)}" for one, (size, at) in known.items())
        raise InputError(
            f"{_called(name)} must be {item.words()}{f' ({sources})' if sources else ''}, found "
            f"{_found(value)}"
        )


def _is_text(kind: Any) -> bool:
    import h5py

    return h5py.check_string_dtype(kind) is not None


def _found(value: Any) -> str:
    """Return in words what was found."""
    kind, shape = getattr(value, "dtype", None), getattr(value, "shape", ())
    if shape is None:
        return "nothing (empty)"
    if kind is None or shape == ():
        return f"{type(value).__name__} {str(value)[:40]!r}" if kind is None else str(kind)
    return f"{kind} of shape {shape}"


def _check_values(name: str, item: Item, value: Any, sizes: Sizes) -> None:
    if item.kind in ("json", "list"):
        _check_json(name, item, value)
    elif item.kind == "text":
        _check_text(name, item, value, sizes)
    elif not item.later:
        numbers = np.asarray(value if "@" in name else value[()])
        most = min(item.most, sizes[item.below][0] - 1 if item.below in sizes else math.inf)
        defined = numbers[np.isfinite(numbers)] if numbers.dtype.kind == "f" else numbers
        if item.finite and defined.size < numbers.size:
            raise InputError(f"{_called(name)} must be finite, found {_first_undefined(numbers)}")
        if defined.size and not (item.least <= defined.min() and defined.max() <= most):
            least = defined.min() if defined.min() < item.least else defined.max()
            raise InputError(
                f"{_called(name)} must be within {item.least:g} and {most:g}, found {least}"
            )
        if item.distinct and len(np.unique(numbers)) < numbers.size:
            raise InputError(f"{_called(name)} must be numbers that differ")


def _first_undefined(numbers: Any) -> Any:
    return np.ravel(numbers)[np.flatnonzero(~np.isfinite(np.ravel(numbers)))[0]]


def _check_text(name: str, item: Item, value: Any, sizes: Sizes) -> None:
    if item.later or (item.shape and value.size == 0):
        return
    try:
        texts = [value] if isinstance(value, str) else value.asstr()[()].ravel().tolist()
        for one in texts:
            one.encode()
    except UnicodeError as error:
        raise InputError(f"{_called(name)} must be text in UTF-8: {error}") from error
    wrong = [one for one in texts if item.choices and one not in item.choices]
    if wrong:
        raise InputError(f"{_called(name)} must be {item.words()}, found {wrong[0][:40]!r}")
    wanted, source = sizes.get(item.length, (None, ""))
    if wanted is not None and texts[0] and (len(texts[0]), len(set(texts[0]))) != (wanted, wanted):
        raise InputError(
            f"{_called(name)} must have {wanted} different letters ({item.length} = {wanted} of "
            f"{_called(source)}), found {texts[0][:40]!r}"
        )


def _check_json(name: str, item: Item, value: str) -> None:
    try:
        held: Any = json.loads(value)
    except (RecursionError, ValueError) as error:
        raise InputError(f"{_called(name)} must be {item.words()}: {error}") from error
    wanted = list if item.kind == "list" else dict
    if not isinstance(held, wanted):
        raise InputError(f"{_called(name)} must be {item.words()}, found {value[:40]!r}")
    missing = [key for key in item.keys if key not in held]
    if missing:
        raise InputError(f"{_called(name)} must have the entry {missing[0]!r}")
    lengths: dict[str, int] = {}
    whole_record: dict[str, Any] = dict(held) if item.entries else {}
    for place, kind in item.entries:
        parent, _, last = place.rpartition("__")
        holder = whole_record.get(parent) if parent else whole_record
        if holder is None:  # null, or not there
            continue
        within: dict[str, Any] = holder if isinstance(holder, dict) else {}
        is_there = last in within
        found: Any = within.get(last)
        if not (_is_kind(found, kind) if is_there else not parent):
            raise InputError(f"{_called(name)}: {place.replace('__', '.')} must be {kind}")
        if kind == NUMBERS and lengths.setdefault(parent, len(found)) != len(found):
            raise InputError(f"{_called(name)}: lists of {parent} must be of one length")


def _is_kind(value: Any, kind: str) -> bool:
    if kind in (NUMBERS, "two whole numbers or null"):
        one = "a number or null" if kind == NUMBERS else "a whole number"
        length = (1, MOST_LISTED) if kind == NUMBERS else (2, 2)
        is_list = isinstance(value, list) and length[0] <= len(value) <= length[1]
        return (value is None and kind != NUMBERS) or (
            is_list and all(_is_kind(entry, one) for entry in value)
        )
    types: dict[str, Any] = {"a text": str, "a whole number": int, "a number": (int, float)}
    if value is None:
        return kind.endswith("or null")
    wanted = types[kind.removesuffix(" or null")]
    right = isinstance(value, wanted) and not isinstance(value, bool)
    return right and (kind != "a whole number" or abs(value) < 2**63)
