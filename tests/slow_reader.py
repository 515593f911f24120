"""A slow reader of alignments, written from the descriptions of the formats, a character a step.

It shares no code with the package: tests compare the two on random and mutated files.
"""

from __future__ import annotations

PLAIN = {"protein": "ACDEFGHIKLMNPQRSTVWY", "DNA": "ACGT", "RNA": "ACGU"}
AMBIGUOUS = {"protein": "BJOUXZ", "DNA": "RYSWKMBDHVNXI", "RNA": "RYSWKMBDHVNXI"}
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


def words_of(line):
    words, word = [], ""
    for character in line + " ":
        if character not in BLANKS:
            word += character
        elif word:
            words.append(word)
            word = ""
    return words


def form_of(lines):
    """What the first line that is not blank says."""
    filled = [line.strip(BLANKS) for line in lines if not is_blank(line)]
    first = filled[0]
    if first[:11] == "# STOCKHOLM":
        return "sto"
    if first[0] == ">":
        return "fasta"
    if first[0] == "#":
        others = [line for line in filled if line[0] != "#"]
        if others and others[0][0] == ">":
            return "a3m"
    words = words_of(first)
    are_flags = all(len(word) == 1 and word.isascii() and word.isalpha() for word in words[2:])
    if len(words) > 1 and all(is_count(word) for word in words[:2]) and are_flags:
        return "phy"
    if first[:7].upper() == "CLUSTAL":
        return "clustal"
    signs = "0123456789.*+?~=_-"
    if all((c.isascii() and c.isalpha()) or c in signs for c in first):
        return "aln"
    raise Unreadable("no format")


def is_count(word):
    return len(word) < 10 and all(character in "0123456789" for character in word)


def aln_rows(lines):
    rows = [line.strip(BLANKS) for line in lines if not is_blank(line)]
    for row in rows:
        if any(not (c.isascii() and c.isalnum()) and c not in ".*+?~=_-" for c in row):
            raise Unreadable("more than a sequence in a line")
    return rows


def clustal_rows(lines):
    while is_blank(lines[0]):
        lines = lines[1:]
    kept = []
    for line in lines[1:]:
        words = words_of(line)
        if all(character in "*:. \t" for character in line):
            words = []
        if len(words) == 3 and all(character in "0123456789" for character in words[2]):
            words = words[:2]
        kept.append(words)
    return block_rows(kept)


def block_rows(lines):
    rows, block = {}, {}
    for words in lines:
        if not words:
            block = {}
            continue
        if len(words) != 2 or words[0] in block:
            raise Unreadable("not a name of its own and a sequence")
        block[words[0]] = len(words[1])
        if len(set(block.values())) > 1:
            raise Unreadable("lines of a block differ in length")
        rows[words[0]] = rows.get(words[0], "") + words[1]
    return list(rows.values())


def phylip_rows(lines):
    lines = [line for line in lines if not is_blank(line)]
    counts = words_of(lines[0])
    n_rows, length = int(counts[0]), int(counts[1])
    body = lines[1:]
    for is_strict in (False, True):
        for is_interleaved in (True, False):
            rows = phylip_try(body, n_rows, length, is_strict, is_interleaved)
            if rows is not None:
                if any("." in row for row in rows):
                    raise Unreadable("a dot")
                return rows
    raise Unreadable("not what the first line says")


def phylip_try(body, n_rows, length, is_strict, is_interleaved):
    def taken(line):
        if is_strict:
            return line[:10].strip(BLANKS), "".join(words_of(line[10:]))
        words = words_of(line)
        return words[0], "".join(words[1:])

    names, rows = [], []
    if is_interleaved:
        for number, line in enumerate(body):
            if number < n_rows:
                name, row = taken(line)
                names.append(name)
                rows.append(row)
            else:
                rows[number % n_rows] += "".join(words_of(line))
        if n_rows == 0 or not body or len(body) % n_rows:
            return None
    else:
        left = list(body)
        while left:
            name, row = taken(left.pop(0))
            while len(row) < length and left:
                row += "".join(words_of(left.pop(0)))
            names.append(name)
            rows.append(row)
    if len(rows) != n_rows or any(len(row) != length for row in rows) or "" in names:
        return None
    return rows


def fasta_rows(lines):
    rows, heads = [], []
    for line in lines:
        line = line.strip(BLANKS)
        if line[:1] == ">":
            heads.append(line[1:].strip(BLANKS))
            rows.append("")
        elif line and rows:
            rows[-1] += "".join(character for character in line if character != " ")
    return heads, rows


def stockholm_rows(lines):
    while is_blank(lines[0]):
        lines = lines[1:]
    kept, is_over = [], False
    for line in lines[1:]:
        words = words_of(line)
        if is_over and words:
            raise Unreadable("text after the end")
        if words == ["//"]:
            is_over = True
        elif not words or words[0][0] != "#":
            kept.append(words)
    if not is_over:
        raise Unreadable("no end")
    return block_rows(kept)


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
    letters = [character for row in rows for character in row if character not in ".-"]
    if letters and all(character in LOWER for character in letters):
        raise Unreadable("all in lower case")
    return ["".join(row[column] for column in kept) for row in rows]


def mixes_inserts(rows):
    """Whether a column of equally long rows has inserts and others."""
    for column in zip(*rows, strict=True):
        inserts = [character in LOWER + "." for character in column]
        if any(inserts) and not all(inserts):
            return True
    return False


def match_rows(text, suffix):
    if text[:3] == "\xef\xbb\xbf":
        text = text[3:]
    if "\0" in text:
        text = text.rstrip("\0 \t\r\n")  # ColabFold ends its files so
    if "\0" in text:
        raise Unreadable("binary")
    lines = split_lines(text)
    if all(is_blank(line) for line in lines):
        raise Unreadable("empty")
    form = form_of(lines)
    others = {"sto": stockholm_rows, "clustal": clustal_rows, "phy": phylip_rows, "aln": aln_rows}
    if form in others:
        return by_column(others[form](lines) or [""])
    heads, rows = fasta_rows(lines)
    if form == "fasta" and suffix in ("a2m", "a3m"):
        form = suffix
    kinds = ("ss_dssp", "ss_pred", "ss_conf", "sa_dssp", "sa_pred", "aa_dssp", "aa_pred")
    are_kinds = [words_of(head)[:1] != [] and words_of(head)[0] in kinds for head in heads]
    if any(are_kinds):
        form = "a3m"
    rows = [row for row, is_kind in zip(rows, are_kinds, strict=True) if not is_kind]
    if not rows:
        raise Unreadable("no sequence")
    stripped = [without_inserts(row) for row in rows]
    is_same = len({len(row) for row in stripped}) == 1
    if form == "a3m":
        if not is_same:
            raise Unreadable("unequal lengths")
        return stripped
    if is_same and len({len(row) for row in rows}) > 1:
        return stripped
    if is_same and mixes_inserts(rows) and not any("." in row for row in rows):
        if form == "fasta":
            raise Unreadable("inserts or lower case")
        return stripped
    return by_column(rows)


def kind_of(rows):
    letters = [character for row in rows for character in row if character != "-"]
    bases = sum(letter in "ACGTU" for letter in letters)
    is_masked = 2 * bases > len(letters) and bases + letters.count("N") > 0.95 * len(letters)
    if bases <= 0.8 * len(letters) and not is_masked:
        return "protein"
    return "RNA" if letters.count("U") > letters.count("T") else "DNA"


def slow_read(content, form, unknown="drop", kind=None, max_gap_rows=1.0, max_gap_columns=1.0):
    """Return (kind, rows in capitals and '-', columns from 1), or raise Unreadable."""
    rows = match_rows(content.decode("latin-1"), form)
    capitals = []
    for row in rows:
        shifted = [chr(ord(c) - 32) if c in LOWER else "-" if c == "." else c for c in row]
        capitals.append("".join(shifted))
    rows, kind = capitals, kind or kind_of(capitals)
    other = {"DNA": ("U", "T"), "RNA": ("T", "U")}.get(kind)
    if other:
        rows = [row.replace(*other) for row in rows]
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
