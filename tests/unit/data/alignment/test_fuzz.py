"""Random and mutated files against a slow reader; benchmarks/fuzz_reading.py runs many more."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from alignment_inputs import FORMS, cases, check
from hypothesis import given, settings

QUICK = settings(max_examples=1000, derandomize=True, database=None, deadline=None)


def test_any_file_is_read_as_a_slow_reader_reads_it_or_refused():
    n_read = dict.fromkeys(FORMS, 0)

    @QUICK
    @given(case=cases())
    def run(case):
        form, content, options, compress = case
        n_read[form] += check(Path(folder), form, content, options, compress)

    with tempfile.TemporaryDirectory() as folder:
        run()
    assert min(n_read.values()) >= 20  # mutated, not destroyed


OPTIONS = {"unknown": "drop", "kind": None, "max_gap_rows": 1.0, "max_gap_columns": 1.0}


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("a2m", b">1\nMKaL\n>2\nMKLb\n"),  # inserts without dots, of equal length by chance
        ("sto", b"# STOCKHOLM 1.0\na MKa.L\n\nb MK.bL\n//\n"),
    ],
)
def test_the_slow_reader_agrees_on_hard_files(tmp_path, form, content):
    assert check(tmp_path, form, content, OPTIONS)


def test_a_misread_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr("alignment_inputs.slow_read", lambda *_, **__: ("protein", ["MK"], [1, 2]))
    with pytest.raises(AssertionError):
        check(tmp_path, "fasta", b">1\nMR\n", OPTIONS)
