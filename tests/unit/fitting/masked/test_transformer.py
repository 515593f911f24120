"""The transformer predicts sites that it does not see, and each variant lacks its ingredient."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pottsattn import InputError
from pottsattn.fitting.masked.objective import masked_losses
from pottsattn.fitting.masked.settings import VARIANTS
from pottsattn.fitting.masked.transformer import MaskedTransformer

LENGTH, N_STATES, WIDTH = 6, 4, 8


def build(variant: str = "vanilla", n_layers: int = 2, **options) -> MaskedTransformer:
    generator = torch.Generator().manual_seed(5)
    return MaskedTransformer(
        LENGTH,
        N_STATES,
        n_layers,
        2,
        width=WIDTH,
        variant=variant,
        generator=generator,
        **options,
    )


def one_masked(sequences: torch.Tensor, site: int) -> torch.Tensor:
    mask = torch.zeros(sequences.shape, dtype=torch.bool)
    mask[:, site] = True
    return mask


@pytest.fixture
def sequences() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(N_STATES, (30, LENGTH), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("n_layers", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_site_sees_the_others_and_never_itself(variant, n_layers, sequences):
    model = build(variant, n_layers)
    changed = sequences.clone()
    changed[:, 2] = (changed[:, 2] + 1) % N_STATES
    before, after = model(sequences), model(changed)
    torch.testing.assert_close(after[:, 2], before[:, 2], rtol=0.0, atol=0.0)
    others = [site for site in range(LENGTH) if site != 2]
    assert (after - before).abs().amax(dim=(0, 2))[others].min() > 0.01 * before.std()


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_a_mask_sites_are_masked_one_by_one(variant, sequences, monkeypatch):
    model = build(variant)
    monkeypatch.setattr("pottsattn.fitting.masked.transformer.NUMBERS_AT_ONCE", 3000)
    assert 1 < model._rows_at_once() < LENGTH  # chunks end within a sequence
    logits = model(sequences)
    for site in range(LENGTH):
        expected = model(sequences, one_masked(sequences, site))[:, site]
        torch.testing.assert_close(logits[:, site], expected, rtol=0.0, atol=1e-5)
    sites = torch.tensor([4, 0, 4]).expand(len(sequences), -1)
    torch.testing.assert_close(model.predict(sequences, sites), logits[:, [4, 0, 4]])
    assert model(sequences[:0]).shape == (0, LENGTH, N_STATES)


def test_vanilla_is_the_encoder_of_torch(sequences):
    model = build()
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
    kept = {n: p for n, p in model.state_dict().items() if n.startswith(("layers.", "norm."))}
    encoder.load_state_dict(kept)
    stream = model.symbols(sequences.long()) + model.positions.weight
    nothing = torch.zeros(sequences.shape, dtype=torch.bool)
    torch.testing.assert_close(model(sequences, nothing), model.readout(encoder(stream)))


def test_content_alone_has_no_order(sequences):
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(
        *(build("content")(sequences[:, order]), build("content")(sequences)[:, order])
    )
    assert (build()(sequences[:, order]) - build()(sequences)[:, order]).abs().max() > 0.1


@pytest.mark.parametrize(("variant", "sees_content"), [("positional", False), ("vanilla", True)])
def test_positional_attention_does_not_depend_on_content(variant, sees_content, sequences):
    model = build(variant)
    seen = []

    def record(attention, arguments, _):
        seen.append(nn.MultiheadAttention.forward(attention, *arguments)[1])

    last = model.layers[-1].self_attn
    with last.register_forward_pre_hook(record, with_kwargs=True):
        model(sequences, one_masked(sequences, 0))
    (weights,) = seen  # (M, L, L)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(sequences.shape))
    assert (weights.std(dim=0).max() > 1e-3) == sees_content


def test_linear_attention_has_no_softmax(sequences):
    """The stream after attention is linear in the queries' weights, with softmax it is not."""

    def curvature(variant):
        model, streams = build(variant, 1), []
        (layer,) = model.layers
        layer.norm2.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0]))
        weight = layer.self_attn.in_proj_weight.detach()
        queries = weight[:WIDTH].clone()
        for factor in (0.0, 1.0, 2.0):
            weight[:WIDTH] = factor * queries
            model(sequences)
        return (streams[0] - 2.0 * streams[1] + streams[2]).abs().max()

    assert curvature("linear") < 1e-5
    assert curvature("vanilla") > 1e-2


@pytest.mark.parametrize("variant", VARIANTS)
def test_number_of_parameters(variant):
    width, hidden = WIDTH, 10
    per_layer = 4 * width * (width + 1) + 2 * width * hidden + hidden + width + 4 * width
    expected = (N_STATES + 1) * width + 3 * per_layer + 2 * width + (width + 1) * N_STATES
    expected += LENGTH * width * (variant != "content")
    model = build(variant, 3, feedforward_width=hidden)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_starting_values_come_from_the_generator():
    before = torch.random.get_rng_state()
    first, again = build().state_dict(), build().state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = MaskedTransformer(LENGTH, N_STATES, 2, 2, width=WIDTH).state_dict()
    assert not torch.equal(first["symbols.weight"], other["symbols.weight"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_rebuilt_from_architecture_and_state(variant, sequences, tmp_path):
    model = build(variant)
    torch.save((model.architecture, model.state_dict()), tmp_path / "model.pt")
    architecture, state = torch.load(tmp_path / "model.pt", weights_only=True)
    other = MaskedTransformer(**architecture)
    other.load_state_dict(state)
    assert torch.equal(other(sequences), model(sequences))


@pytest.mark.parametrize("variant", VARIANTS)
def test_autocast_and_gradients(variant, sequences):
    model = build(variant)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(sequences)
        masked_losses(model, sequences).mean().backward()
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(sequences), rtol=0.1, atol=0.1)
    assert all(parameter.grad.abs().max() > 0.0 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "postional"}, r"variant must be one of .* \(did you mean positional\?\)"),
        ({"n_heads": 3, "width": 64}, "width must be a multiple of n_heads 3, got 64"),
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_one_line(options, message):
    with pytest.raises(InputError, match=message) as raised:
        MaskedTransformer(LENGTH, N_STATES, **options)
    assert "\n" not in str(raised.value)


def test_sequences_of_another_length_are_an_error(sequences):
    with pytest.raises(InputError, match=r"shape \(any, 6\), got \(30, 5\)"):
        build("content")(sequences[:, :5])
