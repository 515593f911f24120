"""Factored attention is a Potts model, and its masked loss is the pseudo-likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pottsattn import FactoredAttention, InputError
from pottsattn.fitting.masked.objective import masked_losses
from pottsattn.fitting.pseudolikelihood.kernels_pseudolikelihood import row_loss_full
from pottsattn.model.couplings import zero_sum_projector
from pottsattn.model.potts import log_softmax

LENGTH, N_STATES = 6, 4
SHAPES = [(1, "identity"), (1, "learned"), (3, "learned")]


def random_layer(n_heads: int, color_similarity: str) -> FactoredAttention:
    generator = torch.Generator().manual_seed(5)
    layer = FactoredAttention(
        LENGTH, N_STATES, n_heads, color_similarity=color_similarity, generator=generator
    ).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


@pytest.fixture
def sequences(rng) -> torch.Tensor:
    return torch.from_numpy(rng.integers(N_STATES, size=(30, LENGTH), dtype=np.uint8))


@pytest.mark.parametrize(("n_heads", "similarity"), SHAPES)
def test_gradient_of_masked_loss_is_that_of_pseudolikelihood(n_heads, similarity, sequences):
    """d loss / d(A, U, h) by autograd equals the chain rule of d PL / d(J, h), to 1e-10."""
    layer = random_layer(n_heads, similarity)
    loss = masked_losses(layer, sequences).mean()
    loss.backward()

    fields, couplings = layer.implied_couplings()
    dense = couplings.to_dense()
    weights = np.full(len(sequences), 1.0 / len(sequences))
    total = 0.0
    field_gradient = np.empty_like(fields)
    gradient = np.empty_like(dense)  # d / d J_ij(a, b)
    for site in range(LENGTH):
        row = np.ascontiguousarray(dense[site].transpose(0, 2, 1)).ravel()
        row_gradient = np.empty_like(row)
        total += row_loss_full(
            site, sequences.numpy(), weights, fields[site], row, field_gradient[site], row_gradient
        )
        gradient[site] = row_gradient.reshape(LENGTH, N_STATES, N_STATES).transpose(0, 2, 1)
    interactions, similarities = couplings.factors()
    of_similarity = np.einsum("ijab,hij->hab", gradient, interactions)
    if layer.learns_similarity:  # with learned fields its zero-sum part alone acts
        projector = zero_sum_projector(N_STATES)
        of_similarity = projector @ of_similarity @ projector
    expected = {
        "interactions": np.einsum("ijab,hab->hij", gradient, similarities),
        "color_similarity": of_similarity,
        "fields": field_gradient,
    }
    assert_allclose(loss.item(), total / LENGTH, rtol=1e-12)
    for name, parameter in layer.named_parameters():
        wanted = expected[name] / LENGTH
        found = parameter.grad.numpy()
        assert np.abs(found - wanted).max() <= 1e-10 * np.abs(wanted).max(), name


@pytest.mark.parametrize(("n_heads", "similarity"), SHAPES)
def test_layer_is_its_implied_couplings(n_heads, similarity, sequences):
    layer = random_layer(n_heads, similarity)
    fields, couplings = layer.implied_couplings()
    expected = couplings.logits(sequences.numpy()) + fields
    assert_allclose(layer(sequences).detach().numpy(), expected, atol=1e-12)
    blocks = zero_sum_projector(N_STATES) @ couplings.to_dense() @ zero_sum_projector(N_STATES)
    assert_allclose(layer.penalty().item(), (blocks**2).sum() / (N_STATES - 1), rtol=1e-12)


def test_a_masked_site_is_predicted_as_without_a_mask(sequences):
    """One forward pass without a mask holds all L one-site maskings."""
    layer = random_layer(3, "learned")
    plain = layer(sequences)
    for site in range(LENGTH):
        mask = torch.zeros(sequences.shape, dtype=torch.bool)
        mask[:, site] = True
        torch.testing.assert_close(layer(sequences, mask)[:, site], plain[:, site])


def test_masked_sites_leave_every_context(sequences):
    layer = random_layer(1, "learned")
    mask = torch.zeros(sequences.shape, dtype=torch.bool)
    mask[:, [1, 4]] = True
    fields, couplings = layer.implied_couplings()
    dense = couplings.to_dense().copy()
    dense[:, [1, 4]] = 0.0
    expected = fields + type(couplings)(dense=dense).logits(sequences.numpy())
    assert_allclose(layer(sequences, mask).detach().numpy(), expected, atol=1e-12)


def test_a_site_never_sees_itself(sequences):
    layer = random_layer(3, "learned")
    changed = sequences.clone()
    changed[:, 2] = (changed[:, 2] + 1) % N_STATES
    before, after = layer(sequences), layer(changed)
    torch.testing.assert_close(after[:, 2], before[:, 2], rtol=0.0, atol=0.0)
    assert (after[:, 0] - before[:, 0]).abs().max() > 0.1


def test_losses_are_conditionals(sequences):
    layer = random_layer(1, "identity")
    fields, couplings = layer.implied_couplings()
    states = sequences.numpy()
    log_p = log_softmax(couplings.logits(states) + fields)
    expected = -np.take_along_axis(log_p, states[:, :, None].astype(int), axis=2)[:, :, 0]
    assert_allclose(masked_losses(layer, sequences).detach().numpy(), expected, atol=1e-12)


def test_identity_with_several_heads_is_an_error():
    with pytest.raises(InputError, match="2 heads with color_similarity 'identity' are one head"):
        FactoredAttention(5, 3, 2)


KINDS = {
    "identity": {},
    "fields none": {"fields": "none"},
    "learned": {"n_heads": 3, "color_similarity": "learned"},
    "learned, fields none": {"n_heads": 2, "color_similarity": "learned", "fields": "none"},
    "fixed": {"n_heads": 2, "color_similarity": np.random.default_rng(2).normal(size=(2, 4, 4))},
    "query-key": {"head_dimension": 2},
    "softmax": {"attention": "softmax", "n_heads": 2, "color_similarity": "learned"},
    "softmax query-key": {
        "attention": "softmax", "head_dimension": 3, "n_heads": 2, "color_similarity": "learned",
    },
    "symmetric": {"symmetric": True, "n_heads": 2, "color_similarity": "learned"},
    "symmetric query-key": {"symmetric": True, "head_dimension": 2, "fields": "none"},
    "symmetric softmax": {"symmetric": True, "attention": "softmax"},
}  # fmt: skip


@pytest.fixture(params=KINDS)
def layer(request) -> FactoredAttention:
    """Every kind of layer, with random parameters, in double precision."""
    return drawn(FactoredAttention(LENGTH, N_STATES, **KINDS[request.param])).double()


def drawn(layer: FactoredAttention) -> FactoredAttention:
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


def test_logits_and_penalty_are_those_of_the_implied_couplings(layer, sequences):
    fields, couplings = layer.implied_couplings()
    dense = couplings.to_dense()
    assert not np.diagonal(dense).any()
    one_hot = np.eye(N_STATES)[sequences.numpy()]
    expected = fields + np.einsum("ijab,mjb->mia", dense, one_hot)
    assert_allclose(layer(sequences).detach().numpy(), expected, atol=1e-12)
    projector = zero_sum_projector(N_STATES)
    penalty = ((projector @ dense @ projector) ** 2).sum() / (N_STATES - 1)
    assert_allclose(layer.penalty().item(), penalty, rtol=1e-12)
    if layer.symmetric:
        assert_allclose(dense, dense.transpose(1, 0, 3, 2), atol=1e-14)


def test_softmax_rows_are_positive_and_sum_to_one(layer):
    attention = layer.attention_weights().detach()
    assert attention.shape == (layer.n_heads, LENGTH, LENGTH)
    assert not attention.diagonal(dim1=1, dim2=2).any()
    others = attention[:, ~torch.eye(LENGTH, dtype=torch.bool)]
    if layer.attention == "free":
        assert (others < 0.0).any()
        return
    assert (others > 0.0).all()
    assert_allclose(attention.sum().item(), layer.n_heads * LENGTH)
    if not layer.symmetric:
        assert_allclose(attention.sum(dim=2).numpy(), 1.0, rtol=1e-14)


def test_attention_is_that_of_its_queries_and_keys():
    layer = drawn(FactoredAttention(LENGTH, N_STATES, head_dimension=2))
    products = torch.einsum("hid,hjd->hij", layer.query, layer.key) / 2**0.5
    off_diagonal = 1.0 - torch.eye(LENGTH)
    torch.testing.assert_close(layer.attention_weights(), products * off_diagonal)
    softmax = drawn(FactoredAttention(LENGTH, N_STATES, head_dimension=2, attention="softmax"))
    weights = products.exp() * off_diagonal
    torch.testing.assert_close(softmax.attention_weights(), weights / weights.sum(2, keepdim=True))


def test_no_layer_sees_what_it_predicts(layer, sequences):
    """Bit for bit: alone, under a mask, and in half precision."""
    mask = torch.rand(sequences.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    for site in range(LENGTH):
        changed = sequences.clone()
        changed[:, site] = (changed[:, site] + 1) % N_STATES
        assert torch.equal(layer(changed)[:, site], layer(sequences)[:, site])
        hidden = mask.clone()
        hidden[:, site] = True
        assert torch.equal(layer(changed, hidden), layer(sequences, hidden))
        token = sequences.clone()
        token[hidden] = N_STATES  # as masked batches show it
        assert torch.equal(layer(token), layer(sequences, hidden))
        with torch.autocast("cpu", torch.bfloat16):
            single = layer.float()
            assert torch.equal(single(changed)[:, site], single(sequences)[:, site])
            assert torch.equal(single(changed, hidden), single(sequences, hidden))
        layer.double()
        assert not torch.equal(layer(changed), layer(sequences))


def test_half_precision_is_single_outside_and_close(layer, sequences):
    layer = layer.float()
    exact = layer(sequences)
    with torch.autocast("cpu", torch.bfloat16):
        logits = layer(sequences)
        penalty = layer.penalty()
    assert logits.dtype == penalty.dtype == torch.float32
    assert not torch.equal(logits, exact)
    # Products of A and U round each factor and the sums: a few 2^-9 of the largest logit.
    assert (logits - exact).abs().max() < 8 * 2.0**-9 * exact.abs().max()
    torch.testing.assert_close(penalty, layer.penalty())


def test_a_fixed_color_similarity_is_kept():
    similarity = np.random.default_rng(2).normal(size=(2, N_STATES, N_STATES))
    layer = FactoredAttention(LENGTH, N_STATES, 2, color_similarity=similarity)
    assert not layer.learns_similarity
    assert layer.is_convex
    assert layer.architecture["color_similarity"] == "fixed"
    assert not layer.interactions.detach().any()  # convex: from zero
    assert_allclose(layer.implied_couplings()[1].factors()[1], similarity, rtol=1e-6)
    identity = FactoredAttention(LENGTH, N_STATES, color_similarity=np.eye(N_STATES)[None])
    assert identity.architecture["color_similarity"] == "identity"
    with pytest.raises(InputError, match=r"color_similarity must have shape \(2, 4, 4\)"):
        FactoredAttention(LENGTH, N_STATES, 2, color_similarity=similarity[:1])


STATE = {  # names and shapes, as the docstring has them; H, L, C, d
    "identity": {"interactions": (1, 6, 6), "color_similarity": (1, 4, 4), "fields": (6, 4)},
    "fields none": {"interactions": (1, 6, 6), "color_similarity": (1, 4, 4), "fields": (6, 4)},
    "fixed": {"interactions": (2, 6, 6), "color_similarity": (2, 4, 4), "fields": (6, 4)},
    "query-key": {
        "query": (1, 6, 2), "key": (1, 6, 2), "color_similarity": (1, 4, 4), "fields": (6, 4),
    },
    "softmax": {"scores": (2, 6, 6), "color_similarity": (2, 4, 4), "fields": (6, 4)},
    "softmax query-key": {
        "query": (2, 6, 3), "key": (2, 6, 3), "color_similarity": (2, 4, 4), "fields": (6, 4),
    },
}  # fmt: skip
# Free numbers: L (L - 1) = 30 of a head, of which half if symmetric; C^2 = 16; L C = 24.
N_PARAMETERS = {
    "identity": 30 + 24,
    "fields none": 30,
    "learned": 3 * (30 + 16) + 24,
    "learned, fields none": 2 * (30 + 16),
    "fixed": 2 * 30 + 24,
    "query-key": 2 * 12 + 24,
    "softmax": 2 * (30 + 16) + 24,
    "softmax query-key": 2 * (2 * 18 + 16) + 24,
    "symmetric": 2 * (15 + 10) + 24,
    "symmetric query-key": 2 * 12,
    "symmetric softmax": 30 + 24,
}


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_and_parameters(kind):
    layer = drawn(FactoredAttention(LENGTH, N_STATES, **KINDS[kind]))
    assert layer.n_parameters == N_PARAMETERS[kind]
    state = layer.state_dict()
    if kind in STATE:
        assert {name: tuple(tensor.shape) for name, tensor in state.items()} == STATE[kind]
    other = FactoredAttention(LENGTH, N_STATES, **KINDS[kind])
    sequences = torch.zeros((2, LENGTH), dtype=torch.uint8)
    assert not torch.equal(other(sequences), layer(sequences))
    other.load_state_dict(state)
    assert torch.equal(other(sequences), layer(sequences))
    assert other.architecture == layer.architecture


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "hard"}, "attention must be one of free, softmax; got 'hard'"),
        ({"head_dimension": 0}, "head_dimension must be at least 1, got 0"),
        ({"fields": "some"}, "fields must be one of learned, none"),
        ({"n_heads": 0}, "heads must be at least 1"),
        ({"length": 1}, "length must be at least 2"),
        ({"n_states": 1}, "n_states must be at least 2"),
        ({"color_similarity": "ones"}, "color_similarity must be one of identity, learned"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        FactoredAttention(**{"length": 5, "n_states": 3, **options})


def test_state_dict_holds_what_is_learned():
    assert set(random_layer(2, "learned").state_dict()) == {
        "interactions",
        "color_similarity",
        "fields",
    }


def test_parameters_can_be_set(rng):
    layer, other = random_layer(3, "learned"), random_layer(3, "learned")
    with torch.no_grad():
        other.fields.zero_()
        other.interactions.zero_()
    other.set_parameters(*layer.implied_couplings())
    sequences = torch.from_numpy(rng.integers(N_STATES, size=(4, LENGTH), dtype=np.uint8))
    torch.testing.assert_close(other(sequences), layer(sequences))
    with pytest.raises(InputError, match="3 heads for a layer that has 2"):
        random_layer(2, "learned").set_parameters(*layer.implied_couplings())
    softmax = FactoredAttention(LENGTH, N_STATES, attention="softmax")
    with pytest.raises(InputError, match="only free attention without a head_dimension"):
        softmax.set_parameters(*random_layer(1, "learned").implied_couplings())
