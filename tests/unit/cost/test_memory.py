"""Memory and time are told before a fit; what cannot fit is refused with what would."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pottsattn import InputError
from pottsattn._core import machine as _machine
from pottsattn._core.display import readable_bytes as readable
from pottsattn._core.machine import available_memory
from pottsattn.cost import memory
from pottsattn.cost.memory import METHODS, PlannedFit, Stage, check_memory

GIB = 1 << 30
KINDS = [{"method": method} for method in METHODS if method != "attention"]
KINDS += [{"method": "attention", "n_states": 21}]  # where one way is the faster at all sizes
KINDS += [
    {"method": "plm", "symmetric": True},
    {"method": "factored", "color_similarity": "learned"},
    {"method": "factored", "n_heads": 4},
]


def test_the_peak_is_the_highest_of_all_stages():
    stages = (Stage("a", 10, 1), Stage("b", 5, 30), Stage("c", 20, 4))
    plan = memory.MemoryPlan(stages, n_before=1, file_bytes=0)
    assert (plan.peak_bytes, plan.bytes_to_come) == (45, 35)
    assert [stage["total_bytes"] for stage in plan.to_dict()["stages"]] == [11, 45, 39]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_estimates_grow_with_every_size(kind):
    sizes = {"length": 60, "n_states": 6, "n_sequences": 3000, "n_threads": 2, **kind}
    least = PlannedFit(**sizes).memory()
    for name in ("length", "n_states"):
        more = PlannedFit(**{**sizes, name: 2 * sizes[name]}).memory()
        assert more.bytes_to_come > least.bytes_to_come
    more = PlannedFit(**{**sizes, "n_sequences": 30_000}).memory()
    assert more.peak_bytes > least.peak_bytes


def test_no_size_overflows():
    plan = PlannedFit("plm", 100_000, 256, 10**9, 64).memory()
    assert plan.file_bytes == 8 * 100_000**2 * 256**2 + 8 * 100_000 * 256
    assert plan.peak_bytes > plan.file_bytes


def test_the_promised_size_fits_in_eight_gib():
    assert PlannedFit("plm", 1000, 21, 2000, 2).memory().peak_bytes < 8 * GIB


def test_a_fit_that_cannot_fit_is_refused_with_what_would():
    sizes = {"length": 1000, "n_states": 21, "n_sequences": 2000, "n_threads": 2}
    needed = PlannedFit("plm", **sizes).memory().bytes_to_come
    check_memory(PlannedFit("plm", **sizes), available=needed)
    with pytest.raises(InputError) as caught:
        check_memory(PlannedFit("plm", **sizes), available=needed - 1)
    text = str(caught.value)
    assert f"method plm needs {readable(needed)} of memory for 1000 sites of 21 states" in text
    assert f"{readable(needed - 1)} are available" in text
    assert re.search(r"`n_threads=1` \([0-9.]+ GiB\), or `method='factored'` \(", text)
    (sites,) = map(int, re.findall("at most ([0-9]+) sites", text))
    assert sites == 999
    with pytest.raises(InputError, match="what fits: nothing"):
        check_memory(PlannedFit("plm", **sizes), available=1000)


def test_a_symmetric_fit_takes_more_than_a_site_wise_one():
    sizes = {"length": 200, "n_states": 21, "n_sequences": 500, "n_threads": 2}
    site_wise, symmetric = (
        PlannedFit("plm", **sizes, symmetric=is_so).memory() for is_so in (False, True)
    )
    assert symmetric.file_bytes == site_wise.file_bytes
    assert symmetric.file_bytes == 8 * (200 * 21) ** 2 + 8 * 200 * 21
    numbers = 200 * 199 // 2 * 21**2  # one block for each pair, in vectors of float32
    assert 20 * 4 * numbers < symmetric.bytes_to_come < 40 * 4 * numbers
    assert symmetric.bytes_to_come > 2 * site_wise.bytes_to_come


def test_heads_count_their_vectors_and_their_patterns():
    def plan(n_states: int, n_heads: int, length: int = 300) -> dict[str, int]:
        found = PlannedFit("factored", length, n_states, 100, 1, n_heads=n_heads).memory()
        assert found.file_bytes == 8 * (length * n_states + n_heads * (length**2 + n_states**2))
        return {stage.stage: stage.kept_bytes + stage.working_bytes for stage in found.stages}

    more, less = plan(4, 9), plan(4, 8)
    name = "heads, all together"
    assert more[name] - less[name] > 20 * 4 * 300**2
    assert plan(60, 2, 40)["patterns of the covariances"] >= 8 * 60**4
    with pytest.raises(InputError, match=r"2 heads .* are one head; use 'learned'"):
        PlannedFit("factored", 10, 3, 100, 1, n_heads=2, color_similarity="identity")
    with pytest.raises(InputError, match="symmetric applies to plm, not to mf"):
        PlannedFit("mf", 10, 3, 100, 1, symmetric=True).memory()


def test_a_symmetric_fit_that_cannot_fit_names_the_site_wise_one():
    sizes = {"length": 500, "n_states": 21, "n_sequences": 2000, "n_threads": 2}
    needed = PlannedFit("plm", **sizes, symmetric=True).memory().bytes_to_come
    site_wise = PlannedFit("plm", **sizes).memory().bytes_to_come
    check_memory(PlannedFit("plm", **sizes, symmetric=True), available=needed)
    with pytest.raises(InputError) as caught:
        check_memory(PlannedFit("plm", **sizes, symmetric=True), available=needed - 1)
    text = str(caught.value)
    assert f"the symmetric fit needs {readable(needed)} of memory for 500 sites" in text
    assert f"what fits: the fit without `symmetric` ({readable(site_wise)}), or `n_thr" in text
    with pytest.raises(InputError) as caught:
        check_memory(PlannedFit("plm", **sizes, symmetric=True), available=site_wise - 1)
    text = str(caught.value)
    assert "what fits: `method='factored'` (" in text
    assert re.search("at most [0-9]+ sites", text)


def test_learned_similarity_that_cannot_fit_names_the_identity():
    sizes = {"length": 30, "n_states": 200, "n_sequences": 200, "n_threads": 1}
    with pytest.raises(InputError, match="what fits: `color_similarity='identity'`"):
        check_memory(PlannedFit("factored", **sizes, color_similarity="learned"), available=GIB)
    # What `fit --method factored` would run is suggested, no other form of it.
    with pytest.raises(InputError, match="what fits: at most"):
        check_memory(PlannedFit("plm", **sizes, color_similarity="learned"), available=GIB // 4)
    with pytest.raises(InputError, match="what fits: `method='factored'`"):
        check_memory(PlannedFit("plm", **sizes, color_similarity="identity"), available=GIB // 4)


def test_unknown_memory_refuses_nothing(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    check_memory(PlannedFit("plm", 10**6, 21, 2000, 2))


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
    assert _machine._group_bounds(tmp_path / "cgroup", tmp_path / "root") == expected


def test_choosing_the_ridge_and_errors_take_the_curvature():
    sizes = {"length": 100, "n_states": 21, "n_sequences": 500, "n_threads": 1}
    plain = PlannedFit("plm", **sizes).memory()
    chosen = PlannedFit("plm", **sizes, chooses_ridge=True).memory()
    both = PlannedFit("plm", **sizes, chooses_ridge=True, wants_errors=True).memory()
    tensor, modes = 8 * (100 * 21) ** 2, 8 * 2100 * 500
    assert plain.peak_bytes < chosen.peak_bytes < both.peak_bytes
    assert chosen.stages[-1].kept_bytes == tensor + modes  # the fit before
    assert both.stages[-1].kept_bytes == tensor + modes  # errors, squared modes
    factored = PlannedFit("factored", **sizes)
    assert replace(factored, chooses_ridge=True).memory() == factored.memory()
    with pytest.raises(InputError, match="a given `ridge` and no `errors`"):
        check_memory(PlannedFit("plm", **sizes, wants_errors=True), available=plain.bytes_to_come)
