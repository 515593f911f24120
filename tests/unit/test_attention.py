"""Factored attention is a Potts model, and its masked loss is the pseudo-likelihood."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pottsattn import FactoredAttention, InputError
from pottsattn.couplings import zero_sum_projector
from pottsattn.fitting.kernels_pseudolikelihood import row_loss_full
from pottsattn.fitting.objective import masked_losses
from pottsattn.potts import log_softmax

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


def test_state_dict_holds_what_is_learned():
    assert set(random_layer(2, "learned").state_dict()) == {
        "interactions",
        "color_similarity",
        "fields",
    }
