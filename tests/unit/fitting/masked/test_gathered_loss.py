"""Gathering gives the loss and the gradients of the matrix products, for every layer and mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pottsattn import FactoredAttention
from pottsattn.fitting.masked import objective
from pottsattn.fitting.masked.gathered_loss import gathered_loss, gathers
from pottsattn.fitting.masked.masking import BoundMasking, MaskedBatch
from pottsattn.fitting.masked.objective import Objective
from pottsattn.fitting.penalty import Penalty

LENGTH, N_SEQUENCES = 7, 150  # more than a block of the kernel
LAYERS = {
    "identity": {},
    "fields none": {"fields": "none"},
    "learned": {"color_similarity": "learned"},
    "heads": {"n_heads": 3, "color_similarity": "learned"},
    "heads, fields none": {"n_heads": 2, "color_similarity": "learned", "fields": "none"},
    "softmax": {"attention": "softmax", "n_heads": 2, "color_similarity": "learned"},
    "query-key": {"head_dimension": 2},
    "softmax query-key": {
        "attention": "softmax", "head_dimension": 3, "n_heads": 2, "color_similarity": "learned",
    },
    "symmetric": {"symmetric": True, "n_heads": 2, "color_similarity": "learned"},
}  # fmt: skip
MASKS = {
    "all": {},
    "some": {"masks": 2},
    "fraction": {"mask_fraction": 0.3, "masks": 2},
    "bert": {"mask_fraction": 0.4, "hidden_as": "bert"},
    "replaced": {"mask_fraction": 0.4, "hidden_as": "replaced"},
}


def make_layer(n_states: int, dtype: torch.dtype = torch.float64, **options) -> FactoredAttention:
    """Return a layer with random parameters, the unused diagonal and the gauge included."""
    generator = torch.Generator().manual_seed(3)
    layer = FactoredAttention(LENGTH, n_states, generator=generator, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer.to(dtype)


def make_batch(n_states: int, dtype: torch.dtype = torch.float64, **options) -> MaskedBatch:
    """Return masked sequences whose weights are uneven, some zero, of sum of about 1."""
    rng = np.random.default_rng(n_states)
    sequences = rng.integers(n_states, size=(N_SEQUENCES, LENGTH), dtype=np.uint8)
    weights = rng.uniform(0.0, 2.0, size=N_SEQUENCES) / N_SEQUENCES
    weights[::10] = 0.0
    policy = BoundMasking(length=LENGTH, n_states=n_states, seed=2, **options)
    numbers = np.arange(N_SEQUENCES)
    return policy.batch(numbers, sequences, torch.from_numpy(weights).to(dtype), 0)


def loss_and_gradients(layer, batch, way) -> dict[str, np.ndarray]:
    layer.zero_grad()
    loss = way(layer, batch)
    (3.0 * loss).backward()  # a factor that the backward pass must not lose
    found = {name: parameter.grad.numpy().copy() for name, parameter in layer.named_parameters()}
    return {"loss": loss.detach().numpy().copy(), **found}


def gathering(layer, batch, n_threads: int = 1):
    return gathered_loss(layer, batch, n_threads)


def products(layer, batch):
    """The plain form: logits of every site, cross-entropy, then the choice of sites."""
    logits = layer(batch.context)
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.targets.flatten().long(), reduction="none"
    ).reshape(batch.targets.shape)
    if batch.predicted is not None:
        losses = losses * batch.predicted
    return (batch.weights[:, None] * losses).sum()


def assert_equal_to(rtol: float, found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        error = np.abs(found[name] - values).max()
        assert error <= rtol * max(np.abs(values).max(), 1e-3), (name, error)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer_and_every_mask(kind, masks):
    layer, batch = make_layer(4, **LAYERS[kind]), make_batch(4, **MASKS[masks])
    expected = loss_and_gradients(layer, batch, products)
    assert_equal_to(1e-11, loss_and_gradients(layer, batch, gathering), expected)
    single = make_batch(4, torch.float32, **MASKS[masks])
    found = loss_and_gradients(make_layer(4, torch.float32, **LAYERS[kind]), single, gathering)
    assert found["loss"].dtype == np.float32
    assert_equal_to(2e-5, found, expected)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("n_states", [2, 5, 17, 21, 255])
def test_every_width_of_rows(n_states, masks):
    options = {"n_heads": 2, "color_similarity": "learned"}
    layer, batch = make_layer(n_states, **options), make_batch(n_states, **MASKS[masks])
    expected = loss_and_gradients(layer, batch, products)
    assert_equal_to(1e-11, loss_and_gradients(layer, batch, gathering), expected)
    layer, batch = layer.float(), make_batch(n_states, torch.float32, **MASKS[masks])
    assert_equal_to(5e-5, loss_and_gradients(layer, batch, gathering), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_256_states(dtype):
    layer, batch = make_layer(256, dtype), make_batch(256, dtype, masks=3)
    expected = loss_and_gradients(layer, batch, products)
    assert_equal_to(1e-5, loss_and_gradients(layer, batch, gathering), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_site_that_no_row_predicts(dtype):
    layer, batch = make_layer(4, dtype), make_batch(4, dtype, **MASKS["fraction"])
    batch.predicted[:, 2] = False
    found = loss_and_gradients(layer, batch, gathering)
    assert_equal_to(1e-5, found, loss_and_gradients(layer, batch, products))
    assert not found["fields"][2].any()
    batch.predicted[:] = False
    for values in loss_and_gradients(layer, batch, gathering).values():
        assert not values.any()


def test_rows_of_weight_zero_do_not_count():
    layer, batch = make_layer(4), make_batch(4, **MASKS["fraction"])
    kept = batch.weights > 0.0
    fewer = MaskedBatch(
        batch.context[kept], batch.targets[kept], batch.predicted[kept], batch.weights[kept],
        one_site=False,
    )  # fmt: skip
    assert len(fewer.context) < len(batch.context)
    expected = loss_and_gradients(layer, fewer, products)
    assert_equal_to(1e-12, loss_and_gradients(layer, batch, gathering), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masks", MASKS)
def test_threads_do_not_change_a_bit(masks, dtype):
    options = {"n_heads": 2, "color_similarity": "learned"}
    layer, batch = make_layer(5, dtype, **options), make_batch(5, dtype, **MASKS[masks])
    one = loss_and_gradients(layer, batch, gathering)
    two = loss_and_gradients(layer, batch, lambda *both: gathering(*both, n_threads=2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("masks", MASKS)
def test_gradients_are_finite_differences(masks):
    """Along a random direction, in double precision."""
    options = {"n_heads": 2, "color_similarity": "learned", "attention": "softmax"}
    layer, batch = make_layer(3, **options), make_batch(3, **MASKS[masks])
    gradients = loss_and_gradients(layer, batch, gathering)
    generator = torch.Generator().manual_seed(8)
    directions = {
        name: torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        for name, parameter in layer.named_parameters()
    }
    step, losses = 1e-4, []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                parameter += sign * step * directions[name]
            losses.append(gathered_loss(layer, batch, 1).item())
            for name, parameter in layer.named_parameters():
                parameter -= sign * step * directions[name]
    slope = 3.0 * (losses[0] - losses[1]) / (2.0 * step)
    expected = sum(float((gradients[name] * directions[name].numpy()).sum()) for name in directions)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_the_faster_way_is_taken(monkeypatch):
    """Many heads and states gather, few multiply; and the choice does not show in the result."""
    taken = []

    def note(*arguments):
        taken.append("gathered")
        return gathered_loss(*arguments)

    monkeypatch.setattr(objective, "gathered_loss", note)
    values = {}
    for dtype in (torch.float32, torch.float64):
        layer = make_layer(21, dtype, n_heads=8, color_similarity="learned")
        batch = make_batch(21, dtype, masks=1)
        batch = MaskedBatch(
            *(part.repeat(40, *[1] * (part.ndim - 1)) for part in (
                batch.context, batch.targets, batch.predicted, batch.weights
            )), one_site=True,
        )  # fmt: skip
        assert gathers(layer, batch)
        values[dtype] = Objective(layer, Penalty(0.0, 0.0), 1).loss(batch).item()
        assert abs(values[dtype] - products(layer, batch).item()) < 1e-4 * values[dtype]
    assert taken == ["gathered"] * 2
    assert not gathers(make_layer(4), make_batch(4))
    with torch.autocast("cpu", torch.bfloat16):
        assert not gathers(layer, batch)
    assert not gathers(layer.half(), batch)
