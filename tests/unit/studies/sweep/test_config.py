"""Configurations of sweeps: the fits they ask for, and one clear line for every wrong entry."""

from __future__ import annotations

import pytest

from pottsattn import InputError
from pottsattn.studies.sweep.config import SweepConfig, read_config
from pottsattn.theory.optimum import optimal_ridge

BASE = {
    "n_states": 3,
    "coupling_scales": [1.0, 1.5],
    "lengths": [10, 20],
    "instances": 2,
    "alphas": [1, 2.5],
    "ridges": 0.3,
    "methods": ["factored", "attention"],
    "mask_fractions": [0.2, 0.5],
}


def test_the_product_of_the_lists_is_made_instance_by_instance():
    tasks = SweepConfig.from_dict(BASE, first_seed=5).tasks()
    instances = list(dict.fromkeys(task.instance for task in tasks))
    assert len(instances) == 2 * 2 * 2
    assert len(tasks) == 8 * 2 * 3  # factored, and attention at two mask fractions
    assert [task.instance for task in tasks] == sorted(
        (task.instance for task in tasks), key=instances.index
    )
    assert {instance.seed for instance in instances} == {5, 6}
    assert {(i.length, i.n_train) for i in instances} == {(10, 25), (20, 50)}
    masks = {(task.method, task.mask_fraction, task.mask_mode, task.masks) for task in tasks}
    assert masks == {
        ("factored", None, None, None),
        ("attention", 0.2, "static", 1),
        ("attention", 0.5, "static", 1),
    }
    assert len({tuple(instance.entropy) for instance in instances}) == len(instances)


def test_grids_are_united_and_a_fit_is_made_once():
    """Instances are the same whichever grid names them first; the larger sample serves all."""
    first = {"methods": "plm", "alphas": [1, 4]}
    second = {"methods": ["plm", "factored"], "alphas": [4, 8], "instances": [1, 7]}
    shared = {key: value for key, value in BASE.items() if key != "mask_fractions"}
    tasks = SweepConfig.from_dict({**shared, "grid": [first, second]}).tasks()
    assert len(tasks) == len(set(tasks))
    of_seed = {
        seed: {(t.method, t.alpha) for t in tasks if t.instance.seed == seed} for seed in (0, 1, 7)
    }
    both = {(method, alpha) for method in ("plm", "factored") for alpha in (4.0, 8.0)}
    assert of_seed == {0: {("plm", 1.0), ("plm", 4.0)}, 1: {("plm", 1.0), *both}, 7: both}
    assert {t.instance.n_train for t in tasks if t.instance.seed == 1} == {80, 160}


def test_each_length_may_have_its_own_instances():
    entries = {**BASE, "instances": {"10": 3, "20": [4]}, "coupling_scales": 1.0}
    tasks = SweepConfig.from_dict(entries).tasks()
    seeds = {(task.instance.length, task.instance.seed) for task in tasks}
    assert seeds == {(10, 0), (10, 1), (10, 2), (20, 4)}


def test_optimal_ridges_are_those_of_the_student():
    entries = {**BASE, "ridges": ["optimal", 2], "coupling_scales": 1.5, "alphas": 4}
    tasks = SweepConfig.from_dict(entries).tasks()
    expected = {
        None: optimal_ridge(3, 1.5, [4.0]).ridge[0],
        0.5: optimal_ridge(3, 1.5, [4.0], mask_fraction=0.5, mask_mode="static").ridge[0],
    }
    for fraction, ridge in expected.items():
        found = {t.ridge for t in tasks if t.mask_fraction == fraction and t.ridge_kind != "fixed"}
        assert found == {ridge}
    assert {task.ridge for task in tasks if task.ridge_kind == "fixed"} == {2.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": [1]}, r"unknown key 'alpha' \(did you mean alphas\?\); the keys are n_states"),
        ({"grid": [{"L": 3}]}, "unknown key 'L'"),
        ({"grid": 3}, r"grid must be tables, each under a line \[\[grid\]\]"),
        ({"lengths": None}, r"the key lengths is missing; add a line such as lengths = \[100\]"),
        ({"lengths": []}, "lengths is empty: at least one value"),
        ({"lengths": [10, 1]}, "lengths must be at least 2, got 1"),
        ({"lengths": "10"}, "lengths must be a whole number, got '10'"),
        ({"n_states": 2.0}, "n_states must be a whole number, got 2.0"),
        ({"coupling_scales": -1}, "coupling_scales must be above 0, got -1"),
        ({"alphas": [True]}, "alphas must be a number, got True"),
        ({"alphas": 0.33}, r"alphas times lengths must be whole numbers.*0.33 times 10 = 3.3"),
        ({"ridges": 0}, "ridges must be above 0, got 0"),
        ({"ridges": "best"}, "ridges must be numbers above 0 or 'optimal', got 'best'"),
        ({"ridges": "optimal", "masks": 2}, "ridges 'optimal' needs masks = 1 with static"),
        ({"methods": ["plmc"]}, r"methods must be one of .*; got 'plmc' \(did you mean plm\?\)"),
        ({"methods": ["plm"]}, "mask_fractions are for the method attention, got methods plm"),
        ({"mask_fractions": 1.0}, "mask_fractions must be above 0 and below 1, got 1.0"),
        ({"mask_mode": "both"}, "mask_mode must be one of fresh, static; got 'both'"),
        ({"instances": 0}, "instances must be at least 1, got 0"),
        ({"instances": [-1]}, "instances must be at least 0, got -1"),
        (
            {"instances": {"10": 2}},
            "instances have no entry for length 20; add a line such as 20 =",
        ),
        ({"n_test": "many"}, "n_test must be a whole number, got 'many'"),
        ({"sampling": {"thin": 2}}, r"unknown key 'thin' in \[sampling\] \(did you mean thin_by"),
        ({"sampling": {"thin_by": 0}}, r"\[sampling\]: thin_by must be at least 1, got 0"),
        ({"sampling": 3}, r"sampling must be a table under a line \[sampling\], got 3"),
    ],
)
def test_wrong_entries_are_named(change, message):
    entries = {key: value for key, value in {**BASE, **change}.items() if value is not None}
    with pytest.raises(InputError, match=message):
        SweepConfig.from_dict(entries).tasks()


def test_no_optimal_ridge_is_said():
    """Where couplings are too weak to be learned, the best ridge is infinite."""
    entries = {**BASE, "ridges": "optimal", "coupling_scales": 0.02, "methods": "factored"}
    del entries["mask_fractions"]
    with pytest.warns(match="no optimal ridge"), pytest.raises(InputError, match="give ridges as"):
        SweepConfig.from_dict(entries).tasks()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"n_states = ", "config.toml is not TOML: Invalid value"),
        (b"\xff\xfe", "cannot read .*not a text file"),
        (b"n_states = 1", r"config.toml: .*coupling_scales is missing"),
    ],
)
def test_files_that_cannot_be_read(text, message, tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_config(path)
    with pytest.raises(InputError, match="No such file"):
        read_config(tmp_path / "none.toml")
