"""A recipe leaves to the network what it does not say."""

from __future__ import annotations

import pytest

from pottsattn import InputError
from pottsattn.training.recipe import FullRecipe, Recipe


def test_what_is_left_out_is_chosen_by_the_network():
    defaults = {"batch_size": 128, "learning_rate": 1e-3, "clip_norm": 1.0}
    found = Recipe(max_steps=7, learning_rate=0.5).completed(**defaults)
    assert found == FullRecipe(
        max_steps=7, batch_size=128, learning_rate=0.5, clip_norm=1.0, precision="single"
    )
    lbfgs = {"batch_size": 128, "optimizer": "lbfgs"}
    assert Recipe("lbfgs").completed(**defaults).precision == "mixed"
    assert Recipe().completed(**lbfgs) == FullRecipe("lbfgs", batch_size=128, precision="mixed")
    assert found.completed(**lbfgs) is found
    assert Recipe("lbfgs", precision="single").completed(**defaults).precision == "single"


def test_options_of_adam_ask_for_it():
    assert not Recipe(max_steps=9, precision="double").asks_for_adam
    for options in (
        {"learning_rate": 0.1}, {"schedule": "cosine"}, {"warmup_steps": 1}, {"clip_norm": 1.0},
        {"weight_decay": 0.1}, {"accumulate": 2},
    ):  # fmt: skip
        assert Recipe(**options).asks_for_adam
        with pytest.raises(InputError, match=f"{next(iter(options))} is for the optimizer adam"):
            Recipe("lbfgs", **options).completed()
    for options in ({"batch_size": 9}, {"stop_early": True}, {"precision": "bfloat16"}):
        assert Recipe(**options).asks_for_adam
    with pytest.raises(InputError, match="precision bfloat16 is for the optimizer adam"):
        Recipe("lbfgs", precision="bfloat16").completed()
    with pytest.raises(InputError, match="precision mixed is for the optimizer lbfgs"):
        Recipe(precision="mixed").completed()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of adam, lbfgs"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 1e9}, "learning_rate must be at most"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"precision": "half"}, "precision must be one of single, double, mixed, bfloat16"),
    ],
)
def test_recipes_check_themselves(options, message):
    with pytest.raises(InputError, match=message):
        Recipe(**options)
