"""Alphabets of aligned sequences: given by name or by their letters, or detected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pottsattn._core.validate import InputError, did_you_mean

ALPHABETS = {"protein": "-ACDEFGHIKLMNPQRSTVWY", "DNA": "-ACGT", "RNA": "-ACGU"}
AMBIGUITY_CODES = {"protein": "BJOUXZ", "DNA": "RYSWKMBDHVNXI", "RNA": "RYSWKMBDHVNXI"}
BASES = "ACGTU"
READ_AS = {"DNA": {"U": "T"}, "RNA": {"T": "U"}}
NOT_LETTERS = ".>#"  # a gap in the file, the start of a record, a comment


@dataclass(frozen=True)
class Alphabet:
    """Letters of states: state a is `letters[a]`."""

    kind: str  # key of ALPHABETS, or "custom"
    letters: str
    is_detected: bool = False

    @property
    def gap_index(self) -> int | None:
        """State of the gap `-`, or None without one."""
        return self.letters.index("-") if "-" in self.letters else None

    @property
    def ambiguity_codes(self) -> str:
        """Letters that stand for several states; other letters have none."""
        return AMBIGUITY_CODES.get(self.kind, "")

    @property
    def read_as(self) -> dict[str, str]:
        """Letters that are read as others: U in DNA, T in RNA."""
        return READ_AS.get(self.kind, {})


def parse_alphabet(text: str) -> Alphabet:
    """Return the alphabet "protein", "dna" or "rna", in any case, or that of other letters.

    Letters of one's own stand in the order of their states, the gap `-` among them if there are
    gaps: "HP-" is H, P and gap.

    Raises
    ------
    InputError
        Letters that occur twice, lower case (it marks inserts), blanks or one of `.>#`, characters
        that are not ASCII, or less than two of them.
    """
    for kind, letters in ALPHABETS.items():
        if text.lower() == kind.lower() or text == letters:
            return Alphabet(kind, letters)
    for letter in text:
        if letter.islower():
            hint = did_you_mean(text, [kind.lower() for kind in ALPHABETS])
            raise InputError(
                f"alphabet {text!r} is none of protein, dna, rna{hint}; as letters it has "
                f"{letter!r}, but lower case marks inserts: give upper case"
            )
        if letter in NOT_LETTERS or not letter.isascii() or not letter.isprintable():
            raise InputError(f"alphabet {text!r} has {letter!r}, which cannot be a letter")
        if letter == " ":
            raise InputError(f"alphabet {text!r} has a blank, which cannot be a letter")
    if len(set(text)) != len(text):
        twice = next(letter for letter in text if text.count(letter) > 1)
        raise InputError(f"alphabet {text!r} has {twice!r} twice")
    if len(text) < 2:
        raise InputError(f"alphabet {text!r} must have at least 2 letters, got {len(text)}")
    return Alphabet("custom", text)


def detect_alphabet(counts: Mapping[str, int]) -> Alphabet:
    """Return DNA or RNA where more than 80 % of the letters are bases, otherwise protein.

    More than half will do where nearly all others are N. The bulk decides, not single letters: RNA
    if U is more frequent than T.

    Parameters
    ----------
    counts
        How often each upper-case letter occurs, without gaps.
    """
    n_letters = sum(counts.values())
    n_bases = sum(counts.get(letter, 0) for letter in BASES)
    is_masked = n_bases > 0.5 * n_letters and n_bases + counts.get("N", 0) > 0.95 * n_letters
    kind = "protein"
    if n_bases > 0.8 * n_letters or is_masked:
        kind = "RNA" if counts.get("U", 0) > counts.get("T", 0) else "DNA"
    return Alphabet(kind, ALPHABETS[kind], is_detected=True)
