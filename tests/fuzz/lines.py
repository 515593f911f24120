"""Command lines: templates of every command, with options that come from the parser itself."""

from __future__ import annotations

import argparse
import re
from random import Random
from typing import Any

from fuzz.seeds import KINDS

from pottsattn.cli.main import build_parser

# What stands in braces is a file of that kind (`seeds.KINDS`). Sizes are small: a command that is
# not refused runs to its end.
TEMPLATES = (
    "info {any}", "info {any}", "info {any} --json", "cite {any}",
    "info --length 20 --states 4 --sequences 100 --method plm",
    "plot {run} --out out.png", "plot {any} --out out.svg", "report {run} --out out.html",
    "fit {data} --method mf --out out.h5", "fit {data} --method plm --out out.h5",
    "fit {data} --method factored --out out.h5",
    "fit {data} --method plm --init {fit} --out out.h5",
    "fit {data} --method attention --optimizer adam --max-steps 3 --out out.h5",
    "fit {data} --method attention --optimizer adam --max-steps 2 --init {fit} --out out.h5",
    "fit {data} --method transformer --width 4 --max-steps 2 --out out.h5",
    "fit {data} --method mf --weights {weights} --out out.h5",
    "fit {data} --method attention --max-steps 2 --optimizer adam --stream --out out.h5",
    "compare {fit} --test {data}", "compare {fit} {fit} --test {data} --truth {model}",
    "contacts {fit} --out out.csv", "contacts {fit} --data {data} --out out.csv",
    "contacts {fit} --distances {distances} --min-separation 1 --out out.csv",
    "energies {fit} {data} --out out.csv", "energies {fit} {data}",
    "mutations {fit} --sequence 0,1,2,0,1,2,0,1 --csv out.csv",
    "mutations {fit} --sequence s0 --data {data} --csv out.csv",
    "statistics {data} {sampled} --csv out.csv",
    "export {fit} --format npz --out out.npz", "export {fit} --format csv --out out.csv",
    "export {fit} --format plmc --data {data} --out out.params",
    "export {fit} --format plmc-text --out out.txt", "export {fit} --format ccmpred --out out.mat",
    "export {data} --format sequences --out out.fasta",
    "export {data} --format sequences --out out.sto",
    "split {data} --fraction 0.5 --out a.h5 b.h5", "weights {data} --out out.csv",
    "sample --model {model} --sequences 12 --chains 4 --warmup 2 --out out.h5",
    "sample --edges {edges} --states 3 --coupling-scale 1 --sequences 12 --chains 4 --warmup 2 "
    "--out out.h5",
    "sample --model {model} --initial {data} --sequences 12 --chains 4 --warmup 2 --out out.h5",
    "sample --length 6 --states 3 --coupling-scale 1 --sequences 12 --chains 4 --warmup 2 "
    "--out out.h5",
    "theory --states 3 --coupling-scale 1 --ridge 0.2 --alpha 4 --out out.csv",
    "sweep {config} --workers 1 --out out.h5", "spatial --areas {areas} --steps 3 --out out.h5",
    "spatial --patches 6 --global-area 3 --local-area 2 --clusters 4 --steps 3 --out out.h5",
    "instances --dataset {labeled} --steps 2 --references none --out out.h5",
    "example --out out.fasta",
)  # fmt: skip
OPTIONS_ONLY = (
    "plan {data} --out out.csv",
    "bridge {data} --max-sequences 30 --csv out.csv",
    "demo",
)
WILD_INTEGERS = (
    "-1", "0", "1", "2", "3", "7", "2147483648", "9223372036854775807", "9223372036854775808",
    "1" + 30 * "0", "1e3", "", "x", "\u00b2", "0x10", " 3", "1.5", "--", "nan",
)  # fmt: skip
WILD_NUMBERS = (
    "0", "1", "0.5", "0.1", "2", "-1", "-0.0", "1e-300", "1e308", "1e400", "nan", "inf", "-inf", "",
    "x", "1,5", "--", "1_0", "0x1p-3",
)  # fmt: skip
WILD_TEXTS = (
    "", "x", "auto", "none", "-", "--", "\u00fc", "\x1b[31mred", "$\\frac$", "a b", "..", "/",
    "nan", "'", "{}", "%s", "A" * 300, "a,b", "1,2", "\u202e",
)  # fmt: skip
WILD_OUTPUTS = (
    "out.h5", "out.csv", "out.png", "out.pdf", "out.svg", "out.html", "out.npz", "out.npy", "out",
    "out.fasta.gz", "none/out.h5", ".", "", "-", "\x1b[2J.h5", "$a$.png", "x" * 300 + ".h5",
    "/dev/full",
)  # fmt: skip
OUTPUTS = ("out", "csv")
SLOW = ("workers", "dask")  # start processes, or look for them in a network


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    found: dict[str, argparse.ArgumentParser] = build_parser().get_default("commands").choices
    return found


def fill(template: str, rng: Random) -> list[str]:
    """Return the words of a template with files for what stands in braces."""
    words = template.split()
    return [rng.choice(KINDS[word[1:-1]]) if word.startswith("{") else word for word in words]


def damaged_line(rng: Random) -> tuple[list[str], str]:
    """Return a command line, and which of its files is to be damaged."""
    while True:
        template = rng.choice(TEMPLATES)
        words = fill(template, rng)
        files = [
            word for word, was in zip(words, template.split(), strict=True) if was.startswith("{")
        ]
        if files:
            return words, rng.choice(files)


def wild_line(rng: Random, known: dict[str, argparse.ArgumentParser]) -> list[str]:
    """Return a command line with up to four options from the parser, with values of all kinds."""
    template = rng.choice((*TEMPLATES, *OPTIONS_ONLY))
    words = fill(template, rng)
    if template in OPTIONS_ONLY:
        words += ["--seed", rng.choice(("-1", "x", ""))]  # refused: they take minutes
    parser = known[words[0]]
    actions = [action for action in parser._actions if action.dest not in ("help", *SLOW)]
    for _ in range(rng.choice((0, 1, 1, 2, 3, 4))):
        _add(words, rng.choice(actions), rng)
    chance = rng.random()
    if chance < 0.02:
        words.insert(
            rng.randrange(1, len(words) + 1), rng.choice(("--", "x", "-x", "--nothing", "@x"))
        )
    elif chance < 0.04:
        del words[rng.randrange(len(words))]
    elif chance < 0.05:
        words[0] = rng.choice(("", "nothing", "Fit", "--", "-h", "--version", "\x1b[2J"))
    return words


def _add(words: list[str], action: argparse.Action, rng: Random) -> None:
    """Add an option to the words, or another positional argument."""
    name = rng.choice(action.option_strings) if action.option_strings else None
    if action.nargs == 0:
        words += [name] if name else []
        return
    count = action.nargs if isinstance(action.nargs, int) else rng.choice((1, 1, 2))
    values = [value_of(action, rng) for _ in range(count)]
    if name in words:  # in the place of the one of the template
        words[words.index(name) + 1 : words.index(name) + 2] = values
    elif name is None:
        words.insert(rng.randrange(1, len(words) + 1), values[0])
    elif len(values) == 1 and rng.random() < 0.3:
        words.append(f"{name}={values[0]}")
    else:
        words += [name, *values]


def value_of(action: argparse.Action, rng: Random) -> str:
    """Return a value that suits an option, or one that does not."""
    if action.dest in OUTPUTS:
        return rng.choice(WILD_OUTPUTS)
    if action.choices is not None and rng.random() < 0.7:
        return str(rng.choice(sorted(map(str, action.choices))))
    if action.type is int and rng.random() < 0.9:
        return rng.choice(WILD_INTEGERS)
    if action.type is float and rng.random() < 0.9:
        return rng.choice(WILD_NUMBERS)
    named = _names(action)
    chance = rng.random()
    if named and chance < 0.6:
        return rng.choice(named)
    if chance < 0.7:
        return rng.choice(KINDS[rng.choice(sorted(KINDS))])
    return rng.choice((*WILD_TEXTS, *WILD_INTEGERS, *WILD_NUMBERS))


def _names(action: argparse.Action) -> list[str]:
    """Return what the help of an option names: its words are candidates."""
    text: Any = action.help or ""
    return sorted(set(re.findall(r"[a-z0-9][a-z0-9-]{2,}", str(text))))
