"""Memory and time are told before a fit; what cannot fit is refused with what would."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pottsattn import InputError, SequenceDataset, fit_pseudolikelihood
from pottsattn._core import machine as _machine
from pottsattn._core.display import readable_bytes as readable
from pottsattn._core.machine import available_memory
from pottsattn.cost import memory, run_time
from pottsattn.cost.memory import METHODS, Stage, check_memory, form_of_fit, plan_memory
from pottsattn.cost.run_time import Costs, plan_time, readable_seconds
from pottsattn.fitting.pseudolikelihood.kernels_few_states import MOST_STATES

GIB = 1 << 30
KINDS = [{"method": method} for method in METHODS]
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
    least = plan_memory(**sizes)
    for name in ("length", "n_states"):
        more = plan_memory(**{**sizes, name: 2 * sizes[name]})
        assert more.bytes_to_come > least.bytes_to_come
    more = plan_memory(**{**sizes, "n_sequences": 30_000})
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
    assert re.search(r"--threads 1 \([0-9.]+ GiB\), or --method factored \(", text)
    (sites,) = map(int, re.findall("at most ([0-9]+) sites", text))
    assert sites == 999
    with pytest.raises(InputError, match="what fits: nothing"):
        check_memory("plm", **sizes, available=1000)


def test_a_symmetric_fit_takes_more_than_a_site_wise_one():
    sizes = {"length": 200, "n_states": 21, "n_sequences": 500, "n_threads": 2}
    site_wise, symmetric = (plan_memory("plm", **sizes, symmetric=is_so) for is_so in (False, True))
    assert symmetric.file_bytes == site_wise.file_bytes
    assert symmetric.file_bytes == 8 * (200 * 21) ** 2 + 8 * 200 * 21
    numbers = 200 * 199 // 2 * 21**2  # one block for each pair, in vectors of float32
    assert 20 * 4 * numbers < symmetric.bytes_to_come < 40 * 4 * numbers
    assert symmetric.bytes_to_come > 2 * site_wise.bytes_to_come


def test_heads_count_their_vectors_and_their_patterns():
    def plan(n_states: int, n_heads: int, length: int = 300) -> dict[str, int]:
        found = plan_memory("factored", length, n_states, 100, 1, n_heads=n_heads)
        assert found.file_bytes == 8 * (length * n_states + n_heads * (length**2 + n_states**2))
        return {stage.name: stage.kept + stage.working for stage in found.stages}

    more, less = plan(4, 9), plan(4, 8)
    name = "heads, all together"
    assert more[name] - less[name] > 20 * 4 * 300**2
    assert plan(60, 2, 40)["patterns of the covariances"] >= 8 * 60**4
    with pytest.raises(InputError, match=r"2 heads .* are one head; use 'learned'"):
        form_of_fit("factored", 2, color_similarity="identity")
    with pytest.raises(InputError, match="symmetric applies to plm, not to mf"):
        plan_memory("mf", 10, 3, 100, 1, symmetric=True)


def test_few_states_are_those_of_the_kernel():
    assert memory.FEW_STATES == MOST_STATES


def test_a_symmetric_fit_that_cannot_fit_names_the_site_wise_one():
    sizes = {"length": 500, "n_states": 21, "n_sequences": 2000, "n_threads": 2}
    needed = plan_memory("plm", **sizes, symmetric=True).bytes_to_come
    site_wise = plan_memory("plm", **sizes).bytes_to_come
    check_memory("plm", **sizes, symmetric=True, available=needed)
    with pytest.raises(InputError) as caught:
        check_memory("plm", **sizes, symmetric=True, available=needed - 1)
    text = str(caught.value)
    assert f"the symmetric fit needs {readable(needed)} of memory for 500 sites" in text
    assert f"what fits: the fit without --symmetric ({readable(site_wise)}), or --threads" in text
    with pytest.raises(InputError) as caught:
        check_memory("plm", **sizes, symmetric=True, available=site_wise - 1)
    text = str(caught.value)
    assert "what fits: --method factored (" in text
    assert re.search("at most [0-9]+ sites", text)


def test_learned_similarity_that_cannot_fit_names_the_identity():
    sizes = {"length": 30, "n_states": 200, "n_sequences": 200, "n_threads": 1}
    with pytest.raises(InputError, match="what fits: --color-similarity identity"):
        check_memory("factored", **sizes, color_similarity="learned", available=GIB)
    # What `fit --method factored` would run is suggested, no other form of it.
    with pytest.raises(InputError, match="what fits: at most"):
        check_memory("plm", **sizes, color_similarity="learned", available=GIB // 4)
    with pytest.raises(InputError, match="what fits: --method factored"):
        check_memory("plm", **sizes, color_similarity="identity", available=GIB // 4)


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
    assert _machine._group_bounds(tmp_path / "cgroup", tmp_path / "root") == expected


def test_time_follows_from_the_costs(monkeypatch):
    monkeypatch.setattr(run_time.os, "cpu_count", lambda: 2)
    costs = Costs(sequence=3e-9, pair=1e-6, double=2e-8, cube=1e-10, comparison=1e-8)
    sizes = (100, 21, 4000, 2)
    evaluations = {form: run_time.TYPICAL[form] for form in ("plm", "symmetric", "factored")}
    for form, n in evaluations.items():
        found = plan_time(form, *sizes, costs=costs)
        fit, pair = found.stages["fit"], 1e-6 if form == "symmetric" else 5e-7
        assert fit == pytest.approx(1e4 * (n * (6e-6 + pair) + 2 * 4e-5))
        assert found.seconds == pytest.approx(fit + 0.5 * 4000**2 * 1e-8 / 2)
        assert (found.n_evaluations, found.within) == (n, 3)
    one, four = (plan_time("heads", *sizes, n_heads=h, costs=costs) for h in (1, 4))
    assert four.n_evaluations == 2 * one.n_evaluations
    assert four.within > 3
    mean_field = plan_time("mf", *sizes, costs=costs)
    assert mean_field.stages["fit"] == pytest.approx(1e-10 * 2000**3 + 3e-9 * 4000 * 1e4)
    more_threads = plan_time("plm", *sizes[:3], 64, costs=costs)  # than cores
    assert more_threads == plan_time("plm", *sizes, costs=costs)


def test_time_of_attention_is_unknown():
    found = plan_time("attention", 100, 21, 4000, 2)
    report = found.to_dict()
    assert report["seconds"] is report["seconds_within_factor"] is None
    assert set(report["seconds_by_stage"].values()) == {None}
    assert "unknown" in str(found)


@pytest.mark.parametrize(
    ("form", "n_states", "n_heads"),
    [
        ("plm", 21, 1),
        ("plm", 3, 1),
        ("symmetric", 6, 1),
        ("factored", 7, 1),
        ("factored", 3, 1),
        ("heads", 4, 3),
        ("mf", 4, 1),
    ],
)
def test_time_is_measured_and_of_the_right_order(form, n_states, n_heads):
    sizes = (30, n_states, 1000, 1)
    seconds = plan_time(form, *sizes, n_heads=n_heads).seconds
    assert 1e-4 < seconds < 60.0  # such fits take 0.05 to 2 s on an idle machine


def test_the_estimate_of_a_tiny_fit_is_near_what_it_takes():
    rng = np.random.default_rng(1)
    data = SequenceDataset(rng.integers(4, size=(3000, 40), dtype=np.uint8), 4)
    fit_pseudolikelihood(data, n_threads=1)  # compiled from here on
    taken = fit_pseudolikelihood(data, n_threads=1).seconds
    told = plan_time("plm", 40, 4, 3000, 1).stages["fit"]
    assert told / 50 < taken < told * 50


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.1 s"),
        (0.456, "0.46 s"),
        (41.0, "41 s"),
        (99.99, "100 s"),
        (130.0, "2.2 min"),
        (7000.0, "1.9 h"),
        (1e6, "12 days"),
    ],
)
def test_times_are_told_with_two_digits(seconds, text):
    assert readable_seconds(seconds) == text


def test_choosing_the_ridge_and_errors_take_the_curvature():
    sizes = {"length": 100, "n_states": 21, "n_sequences": 500, "n_threads": 1}
    plain = plan_memory("plm", **sizes)
    chosen = plan_memory("plm", **sizes, chooses_ridge=True)
    both = plan_memory("plm", **sizes, chooses_ridge=True, wants_errors=True)
    tensor = 8 * (100 * 21) ** 2
    assert plain.peak_bytes < chosen.peak_bytes < both.peak_bytes
    assert chosen.stages[-1].kept == tensor  # the fit before
    assert both.stages[-1].kept == tensor + 8 * 2100 * 500  # errors, squared modes
    assert plan_memory("factored", **sizes, chooses_ridge=True) == plan_memory("factored", **sizes)
    with pytest.raises(InputError, match="a given --ridge and no --errors"):
        check_memory("plm", **sizes, wants_errors=True, available=plain.bytes_to_come)
