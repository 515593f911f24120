"""Fuzz the readers of alignments against a slow reader that shares no code with them.

    python benchmarks/fuzz_reading.py [--examples N] [--guided SECONDS]

Random and mutated files of every format come from hypothesis. With --guided, atheris (pip install
atheris) searches for inputs that reach new code instead. A traceback, a run of more than two
seconds, or a result other than the slow reader's ends the run with the input.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

MODULES = [
    "pottsattn.data.alignment.reading",
    "pottsattn.data.alignment.filters",
    "pottsattn.data.alignment.records",
    "pottsattn.data.alignment.alphabets",
    "pottsattn.data.alignment.formats",
    "pottsattn.data.alignment.placing",
]
SEEDS = (
    b">1 x\nMK-LX\n>2\nMR.LW\n",
    b">1\r\nMKaL\r\n>2\r\nMKLb\r\n",
    b"#2 1\n>ss_pred\nHHH\n>1\nMKL\n>2\nMaKL\n",
    b"# STOCKHOLM 1.0\n#=GF ID x\na MKa.L\nb MK.bL\n#=GC RF xx..x\n\na M\nb K\n//\n",
)
WORDS = [b"# STOCKHOLM 1.0", b"//", b">ss_pred", b"\\xef\\xbb\\xbf", b">", b"ACGU"]


def random_files(n_examples: int, folder: Path) -> None:
    from alignment_inputs import cases, check
    from hypothesis import given, seed, settings

    counts = {"read": 0, "refused": 0}

    @seed(7)
    @settings(max_examples=n_examples, database=None, deadline=2000)
    @given(case=cases())
    def run(case):
        form, content, options, compress = case
        counts["read" if check(folder, form, content, options, compress) else "refused"] += 1

    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    print(f"hypothesis: {counts['read']} read, {counts['refused']} refused, {seconds:.0f} s")


def guided_files(seconds: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=MODULES):
        import pottsattn.data.alignment.reading  # noqa: F401
    from alignment_inputs import FORMS, check

    shares = (1.0, 0.5, 0.0)

    def one(data: bytes) -> None:
        if len(data) < 2:
            return
        form = FORMS[data[0] % len(FORMS)]
        options = {
            "unknown": ("drop", "gap", "error")[data[0] // 4 % 3],
            "kind": (None, "protein", "DNA", "RNA")[data[0] // 16 % 4],
            "max_gap_rows": shares[data[1] % 3],
            "max_gap_columns": shares[data[1] // 4 % 3],
        }
        check(folder, form, data[2:], options, compress=data[1] >= 128)

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        for form in range(4):
            (corpus / f"{number}{form}").write_bytes(bytes([form, 0]) + seed)
    words = folder / "words"
    words.write_text("".join(f'"{word.decode()}"\n' for word in WORDS))
    options = [f"-max_total_time={seconds}", "-timeout=2", "-max_len=300", f"-dict={words}"]
    options += [f"-artifact_prefix={folder}/", "-seed=7", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=10_000, metavar="N")
    parser.add_argument("--guided", type=int, default=0, metavar="SECONDS")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.guided:
            guided_files(arguments.guided, Path(folder))
        else:
            random_files(arguments.examples, Path(folder))


if __name__ == "__main__":
    main()
