"""The short form of `make fuzz` and `make kills`: the same cases, few of them, of fixed seeds."""

from __future__ import annotations

import sys

import pytest
from fuzz import kills, seeds
from fuzz.check import Case, Ending, faults, held
from fuzz.runner import Runner

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX"),
]
N_CASES = 100


def test_damaged_files_and_wild_options_are_refused_in_one_line(tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    seeds.make(sources)
    runner = Runner(sources, tmp_path / "case")
    statuses, found = set(), []
    try:
        for at in range(N_CASES):
            told, status, wrong = runner.run(f"here:short:{at}")
            statuses.add(status)
            found += [f"here:short:{at} {told}: {what}" for what in wrong]
    finally:
        runner.close()
    assert not found, "\n".join(found)
    assert {0, 1} <= statuses  # damaged, not destroyed


@pytest.mark.parametrize(
    ("ending", "left", "told"),
    [
        (Ending("Traceback", "", ""), {}, "status Traceback"),
        (Ending(1, "", "pottsattn: a\npottsattn: b\n"), {}, "not one line"),
        (Ending(1, "text", "pottsattn: no\n"), {}, "standard output 'text'"),
        (Ending(1, "", "pottsattn: no\n"), {"out.h5": ""}, "changed or left"),
        (Ending(0, "", "hm\n"), {}, "on standard error"),
        (Ending(0, "", ""), {"out.h5.partial": ""}, "nobody asked for"),
        (Ending(0, "{'a': 1}", ""), {}, "no JSON"),
        (Ending(0, '{"a": NaN}', ""), {}, "no JSON"),
        (Ending(0, '{"a": "\x1b"}', ""), {}, "control characters"),
        (Ending(130, "", "pottsattn: interrupted\n"), {}, "nobody interrupted"),
    ],
)
def test_planted_faults_are_found(ending, left, told, tmp_path):
    case = Case(["info", "a.h5", "--json", "--out", "out.h5"], None)
    (tmp_path / "a.h5").write_text("")
    before = held(tmp_path)
    for name, text in left.items():
        (tmp_path / name).write_text(text)
    assert any(told in fault for fault in faults(case, ending, before, tmp_path))


def test_killed_commands_lose_nothing(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    kills.prepare(inputs, kills.INPUTS[:1])
    chosen = [command for command in kills.COMMANDS if command.startswith("split")]
    assert len(chosen) == 1
    for at, command in enumerate(chosen):
        case = kills.Case(command, inputs, tmp_path / f"case{at}")
        for number, share, again in zip(
            kills.SIGNALS, (0.6, 0.8, 0.95), (None, 0.05, 0.1), strict=True
        ):
            case.kill(number, share * case.peace.seconds, again)
