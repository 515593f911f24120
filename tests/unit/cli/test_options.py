"""Options that are fields of dataclasses."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pottsattn._core.validate import InputError
from pottsattn.cli._options import add_options, given, option_of
from pottsattn.cli._shell import Parser


@dataclass(frozen=True)
class Settings:
    n_heads: int = 2
    mask_fraction: float | None = None
    kind: str = "plain"
    pair: tuple[float, float] | None = None
    is_quick: bool = False
    learns: bool = True


TEXTS = {
    "n_heads": ("H", "heads"),
    "mask_fraction": ("R", "share (default: none)"),
    "kind": ("NAME", "kind"),
    "pair": ("LOW HIGH", "range"),
    "is_quick": ("", "be quick"),
    "learns": ("", "learn nothing"),
    "elsewhere": ("FILE", "no field"),
}
NAMES = {"mask_fraction": "mask-ratio", "learns": "frozen"}


@pytest.fixture
def parser():
    parser = Parser()
    add_options(parser.add_argument, (Settings,), TEXTS, NAMES)
    return parser


def test_what_is_said_makes_the_settings(parser):
    line = "--heads 3 --mask-ratio .5 --kind odd --pair 1 2 --is-quick --frozen --elsewhere x"
    arguments = parser.parse_args(line.split())
    assert Settings(**given(Settings, arguments)) == Settings(
        3, 0.5, "odd", (1.0, 2.0), True, False
    )
    assert arguments.elsewhere == "x"


def test_what_is_not_said_is_left_to_the_dataclass(parser):
    arguments = parser.parse_args([])
    assert given(Settings, arguments) == {"is_quick": False}
    assert Settings(**given(Settings, arguments)) == Settings()


def test_help_tells_the_defaults(parser):
    text = " ".join(parser.format_help().split())
    assert "--heads H heads (default: 2)" in text
    assert "--mask-ratio R share (default: none) --kind NAME kind (default: plain)" in text
    assert "--pair LOW HIGH range --is-quick be quick --frozen learn nothing" in text
    assert option_of("mask_fraction") == "--mask-fraction"


def test_a_field_that_must_be_given_has_no_default():
    @dataclass(frozen=True)
    class Needed:
        size: float

    parser = Parser()
    add_options(parser.add_argument, (Needed,), {"size": ("X", "size")})
    assert "default" not in parser.format_help()


def test_types_are_those_of_the_fields(parser):
    with pytest.raises(InputError, match="argument --heads: invalid int value: 'two'"):
        parser.parse_args(["--heads", "two"])
