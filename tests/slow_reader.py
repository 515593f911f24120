"""A slow reader of alignments, written from the descriptions of the formats, a character a step.

It shares no code with the package: tests compare the two on random and mutated files.
"""

from __future__ import annotations

PLAIN = {"protein": "ACDEFGHIKLMNPQRSTVWY", "DNA": "ACGT", "RNA": "ACGU"}
AMBIGUOUS = {"protein": "BJOUXZ", "DNA": "RYSWKMBDHVN", "RNA": "RYSWKMBDHVN"}
BLANKS = "\t\n\x0b\x0c\r "
LOWER = "abcdefghijklmnopqrstuvwxyz"


class Unreadable(Exception):
    """The content is no alignment of its format."""


def split_lines(text):
    lines, line, previous = [], "", ""
    for character in text:
        if character == "\n" and previous == "\r":
            pass
        elif character in "\r\n":
            lines.append(line)
            line = ""
        else:
            line += character
        previous = character
    return [*lines, line]


def is_blank(line):
    return all(character in BLANKS for character in line)


def fasta_rows(lines, skips_comments):
    rows, heads = [], []
    for line in lines:
        line = line.strip(BLANKS)
        if line[:1] == ">":
            heads.append(line[1:].strip(BLANKS))
            rows.append("")
        elif line and not rows:
            if not (skips_comments and line[0] == "#"):
                raise Unreadable("text before the first record")
        elif line:
            rows[-1] += "".join(character for character in line if character != " ")
    return heads, rows


def stockholm_rows(lines):
    while lines and is_blank(lines[0]):
        lines = lines[1:]
    if not lines or lines[0][:11] != "# STOCKHOLM":
        raise Unreadable("no header")
    rows, block, is_over = {}, {}, False
    for line in lines[1:]:
        words, word = [], ""
        for character in line + " ":
            if character not in BLANKS:
                word += character
            elif word:
                words.append(word)
                word = ""
        if not words:
            block = {}
        elif is_over:
            raise Unreadable("text after the end")
        elif words == ["//"]:
            is_over = True
        elif words[0][0] != "#":
            if len(words) != 2 or words[0] in block:
                raise Unreadable("not a name of its own and a sequence")
            block[words[0]] = len(words[1])
            if len(set(block.values())) > 1:
                raise Unreadable("lines of a block differ in length")
            rows[words[0]] = rows.get(words[0], "") + words[1]
    if not is_over:
        raise Unreadable("no end")
    return list(rows), list(rows.values())


def without_inserts(row):
    return "".join(character for character in row if character not in LOWER + ".")


def by_column(rows):
    if len({len(row) for row in rows}) != 1:
        raise Unreadable("unequal lengths")
    kept = [
        column
        for column in range(len(rows[0]))
        if any(row[column] not in LOWER + "." for row in rows)
    ]
    return ["".join(row[column] for column in kept) for row in rows]


def mixes_inserts(rows):
    """Whether a column of equally long rows has inserts and others."""
    for column in zip(*rows, strict=True):
        inserts = [character in LOWER + "." for character in column]
        if any(inserts) and not all(inserts):
            return True
    return False


def match_rows(text, form):
    if text[:3] == "\xef\xbb\xbf":
        text = text[3:]
    if "\0" in text:
        raise Unreadable("binary")
    lines = split_lines(text)
    if form == "sto":
        return by_column(stockholm_rows(lines)[1] or [""])
    heads, rows = fasta_rows(lines, form == "a3m")
    if form == "a3m":
        kinds = ("ss_dssp", "ss_pred", "ss_conf", "sa_dssp", "sa_pred", "aa_dssp", "aa_pred")
        pairs = zip(heads, rows, strict=True)
        rows = [row for head, row in pairs if not head.startswith(kinds)]
    if not rows:
        raise Unreadable("no sequence")
    stripped = [without_inserts(row) for row in rows]
    if len({len(row) for row in stripped}) == 1:
        lengths = {len(row) for row in rows}
        if form == "a2m" and (len(lengths) > 1 or mixes_inserts(rows)):
            form = "a3m"
        if form == "a3m":
            return stripped
    elif form == "a3m":
        raise Unreadable("unequal lengths")
    return by_column(rows)


def kind_of(rows):
    letters = [character for row in rows for character in row if character != "-"]
    for kind in ("DNA", "RNA"):
        bases = sum(letter in PLAIN[kind] for letter in letters)
        if set(letters) <= set(PLAIN[kind] + AMBIGUOUS[kind]) and bases > 0.8 * len(letters):
            return kind
    return "protein"


def slow_read(content, form, unknown="drop", kind=None, max_gap_rows=1.0, max_gap_columns=1.0):
    """Return (kind, rows in capitals and '-', columns from 1), or raise Unreadable."""
    rows = match_rows(content.decode("latin-1"), form)
    capitals = []
    for row in rows:
        shifted = [chr(ord(c) - 32) if c in LOWER else "-" if c == "." else c for c in row]
        capitals.append("".join(shifted))
    rows, kind = capitals, kind or kind_of(capitals)
    gaps = "-" + (AMBIGUOUS[kind] if unknown == "gap" else "")
    for row in rows:
        if any(c not in "-" + PLAIN[kind] + AMBIGUOUS[kind] for c in row):
            raise Unreadable("a foreign character")
    columns = list(range(len(rows[0])))
    if not columns:
        raise Unreadable("no column")
    rows = [row for row in rows if sum(c in gaps for c in row) <= max_gap_rows * len(row) + 1e-6]
    if max_gap_columns < 1.0:
        columns = [
            column
            for column in columns
            if sum(row[column] in gaps for row in rows) <= max_gap_columns * len(rows) + 1e-6
        ]
    rows = ["".join(row[column] for column in columns) for row in rows]
    if unknown == "gap":
        rows = ["".join("-" if c in AMBIGUOUS[kind] else c for c in row) for row in rows]
    doubtful = [any(c in AMBIGUOUS[kind] for c in row) for row in rows]
    if unknown == "error" and any(doubtful):
        raise Unreadable("an ambiguity code")
    rows = [row for row, is_doubtful in zip(rows, doubtful, strict=True) if not is_doubtful]
    if not rows or len(columns) < 2:
        raise Unreadable("nothing left")
    return kind, rows, [column + 1 for column in columns]
