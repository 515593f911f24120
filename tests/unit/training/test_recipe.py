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
    assert Recipe("lbfgs").completed(**defaults).precision == "double"
    assert Recipe("lbfgs", precision="single").completed(**defaults).precision == "single"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of adam, lbfgs"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": 1e9}, "learning_rate must be at most"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"precision": "half"}, "precision must be one of single, double, bfloat16"),
    ],
)
def test_recipes_check_themselves(options, message):
    with pytest.raises(InputError, match=message):
        Recipe(**options)
