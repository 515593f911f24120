"""Memory is told before a fit, and what cannot fit is refused with what would."""

from __future__ import annotations

import re

import pytest

from pottsattn import InputError, memory
from pottsattn.memory import METHODS, Stage, available_memory, check_memory, plan_memory
from pottsattn.memory import readable_bytes as readable

GIB = 1 << 30


def test_the_peak_is_the_highest_of_all_stages():
    stages = (Stage("a", 10, 1), Stage("b", 5, 30), Stage("c", 20, 4))
    plan = memory.MemoryPlan(stages, n_before=1, file_bytes=0)
    assert (plan.peak_bytes, plan.bytes_to_come) == (45, 35)
    assert [stage["total_bytes"] for stage in plan.to_dict()["stages"]] == [11, 45, 39]


@pytest.mark.parametrize("method", METHODS)
def test_estimates_grow_with_every_size(method):
    sizes = {"length": 60, "n_states": 5, "n_sequences": 3000, "n_threads": 2}
    least = plan_memory(method, **sizes)
    for name in ("length", "n_states"):
        more = plan_memory(method, **{**sizes, name: 2 * sizes[name]})
        assert more.bytes_to_come > least.bytes_to_come
    more = plan_memory(method, **{**sizes, "n_sequences": 30_000})
    assert more.peak_bytes > least.peak_bytes


def test_no_size_overflows():
    plan = plan_memory("plm", 100_000, 256, 10**9, 64)
    assert plan.file_bytes == 8 * 100_000**2 * 256**2 + 8 * 100_000 * 256
    assert plan.peak_bytes > plan.file_bytes


def test_the_promised_size_fits_in_eight_gib():
    assert plan_memory("plm", 1000, 21, 2000, 2).peak_bytes < 8 * GIB


def test_a_fit_that_cannot_fit_is_refused_with_what_would():
    sizes = {"length": 1000, "n_states": 21, "n_sequences": 2000, "n_threads": 2}
    needed = plan_memory("plm", **sizes).bytes_to_come
    check_memory("plm", **sizes, available=needed)
    with pytest.raises(InputError) as caught:
        check_memory("plm", **sizes, available=needed - 1)
    text = str(caught.value)
    assert f"method plm needs {readable(needed)} of memory for 1000 sites of 21 states" in text
    assert f"{readable(needed - 1)} are available" in text
    assert "--threads 1, or --method factored (" in text
    (sites,) = map(int, re.findall("at most ([0-9]+) sites", text))
    assert sites == 999
    with pytest.raises(InputError, match="what fits: nothing"):
        check_memory("plm", **sizes, available=1000)


def test_unknown_memory_refuses_nothing(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    check_memory("plm", 10**6, 21, 2000, 2)


def test_the_memory_of_this_machine_is_a_size():
    available = available_memory()
    assert available is None or 0 <= available < 1 << 60


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/job", {"job/memory.max": 100, "job/memory.current": 60}, [40]),
        ("0::/a/b", {"a/memory.max": 100, "a/memory.current": 60, "a/b/memory.max": "max"}, [40]),
        (
            "0::/",
            {"memory.max": 9, "memory.current": 5, "memory.stat": "anon 3\ninactive_file 2"},
            [6],
        ),
        ("0::/of-the-host", {"memory.max": 100, "memory.current": 1}, [99]),
        (
            "3:cpu:/x\n5:memory:/x",
            {"memory/x/memory.limit_in_bytes": 50, "memory/x/memory.usage_in_bytes": 20},
            [30],
        ),
        ("0::/job", {}, []),
        ("", {}, []),
    ],
)
def test_control_groups_are_read(tmp_path, line, files, expected):
    (tmp_path / "cgroup").write_text(line + "\n")
    for name, content in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(f"{content}\n")
    assert memory._group_bounds(tmp_path / "cgroup", tmp_path / "root") == expected
