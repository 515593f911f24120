"""The layer on explicit embeddings follows the closed-form gradients of its correlations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from pottsattn import InputError
from pottsattn.spatial.layer import (
    SpatialAttention,
    contrastive_loss,
    draw_visible,
    reconstruction_loss,
    synthetic_embeddings,
)

AREAS = np.array([[0, 0, 1, 0, 2, 1, 0, 2], [2, 0, 0, 1, 0, 0, 1, 2]])  # global area 4 patches
N_CLUSTERS, N_PATCHES, N_AREAS = 2, 8, 3
TEMPERATURE = 0.3
SHAPE = (N_CLUSTERS, N_PATCHES, N_AREAS)


def draw_batch(seed: int, n_samples: int = 12):
    """Return clusters, latents and two maskings as arrays."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    visible = [draw_visible(n_samples, N_PATCHES, 0.5, generator).numpy() for _ in range(2)]
    clusters = rng.integers(N_CLUSTERS, size=n_samples)
    return clusters, rng.uniform(0.5, 1.5, size=(n_samples, N_AREAS)), visible


def attend(phi, upsilon, cluster, z, seen):
    """Return attention (P, P) and area attention (P, N) of one sample."""
    area = AREAS[cluster]
    scores = upsilon + phi[cluster][:, area] * (z[area] * seen)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    attention = weights / weights.sum(axis=1, keepdims=True)
    in_area = (area[:, None] == np.arange(N_AREAS)) & seen[:, None]  # (P, N)
    return attention, attention @ in_area


def collect(gradient_of_scores, clusters, latents, visible):
    """Sum the gradients of scores (B, P, P) to those of Phi and Upsilon, means over samples."""
    phi, upsilon = np.zeros(SHAPE), np.zeros((N_PATCHES, N_PATCHES))
    for of_score, cluster, z, seen in zip(
        gradient_of_scores, clusters, latents, visible, strict=True
    ):
        upsilon += of_score
        for q in np.flatnonzero(seen):
            phi[cluster, :, AREAS[cluster, q]] += of_score[:, q] * z[AREAS[cluster, q]]
    return phi / len(clusters), upsilon / len(clusters)


def reconstruction_gradient(phi, upsilon, clusters, latents, visible):
    """Use -dl_p / ds_pq = a_pq (G_area(q) 1{q seen} - sum_a G_a A_a), masked p only."""
    gradients = []
    for cluster, z, seen in zip(clusters, latents, visible, strict=True):
        area = AREAS[cluster]
        attention, areas = attend(phi, upsilon, cluster, z, seen)
        pull = -(z**2) * areas  # (P, N)
        own = np.arange(N_PATCHES), area
        pull[own] = z[area] ** 2 * (1.0 - areas[own])
        mean = (pull * areas).sum(axis=1, keepdims=True)
        of_score = attention * (np.where(seen, pull[:, area], 0.0) - mean)
        gradients.append(-of_score * ~seen[:, None])
    return collect(gradients, clusters, latents, visible)


def contrastive_gradient(phi, upsilon, clusters, latents, first, second):
    """Use f_(k,m) = z_m mean_p A_pm; df / ds_pq = a_pq (M_q - F_p) / P."""
    attended = [
        [attend(phi, upsilon, *sample) for sample in zip(clusters, latents, seen, strict=True)]
        for seen in (first, second)
    ]
    f, f_second = np.zeros((2, len(clusters), N_CLUSTERS, N_AREAS))
    for sample, (cluster, z) in enumerate(zip(clusters, latents, strict=True)):
        f[sample, cluster] = z * attended[0][sample][1].mean(axis=0)
        f_second[sample, cluster] = z * attended[1][sample][1].mean(axis=0)
    similarity = np.einsum("ikm,jkm->ij", f, f_second) / TEMPERATURE
    weights = np.exp(similarity - similarity.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    of_f = np.einsum("ij,jkm->ikm", weights - np.eye(len(clusters)), f_second)
    gradients = []
    for sample, (cluster, z, seen) in enumerate(zip(clusters, latents, first, strict=True)):
        attention, areas = attended[0][sample]
        pull = of_f[sample, cluster] * z  # u . M_q by area
        of_score = attention * (np.where(seen, pull[AREAS[cluster]], 0.0) - (areas @ pull)[:, None])
        gradients.append(of_score / N_PATCHES)
    return collect(gradients, clusters, latents, first)


def rotated(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return synthetic_embeddings(N_CLUSTERS, N_AREAS, N_PATCHES, generator=generator)


def autograd(objective, layer, embeddings, batch):
    """Return the gradients of Phi and Upsilon, and that of Q, of one loss."""
    clusters, latents, visible = batch
    patches = embeddings.patches(
        torch.from_numpy(clusters), torch.from_numpy(AREAS), torch.from_numpy(latents)
    )
    first, second = map(torch.from_numpy, visible)
    output, _ = layer(patches, first)
    if objective == "reconstruction":
        loss = reconstruction_loss(output, patches, first)
    else:
        loss = contrastive_loss(output, layer(patches, second)[0], TEMPERATURE)
    (gradient,) = torch.autograd.grad(loss, layer.weights)
    return [part.numpy() for part in embeddings.correlations(gradient)], gradient


def closed_form(objective, phi, upsilon, batch):
    clusters, latents, (first, second) = batch
    if objective == "reconstruction":
        return reconstruction_gradient(phi, upsilon, clusters, latents, first)
    return contrastive_gradient(phi, upsilon, clusters, latents, first, second)


@pytest.mark.parametrize("objective", ["reconstruction", "contrastive"])
def test_autograd_is_the_closed_form(objective, rng):
    embeddings = rotated()
    layer = SpatialAttention(
        N_PATCHES, embeddings.positions.shape[1], positions=embeddings.positions
    )
    start = 0.7 * rng.normal(size=layer.weights.shape)
    with torch.no_grad():
        layer.weights.copy_(torch.from_numpy(start))
    phi, upsilon = (part.detach().numpy() for part in embeddings.correlations(layer.weights))
    found, _ = autograd(objective, layer, embeddings, draw_batch(3))
    expected = closed_form(objective, phi, upsilon, draw_batch(3))
    for one, other in zip(found, expected, strict=True):
        assert np.abs(other).max() > 1e-3
        assert_allclose(one, other, atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("objective", ["reconstruction", "contrastive"])
def test_gradient_descent_stays_in_the_span(objective):
    """From Q = 0 the rows of V^T Q stay zero, and Phi and Upsilon alone give the same path."""
    embeddings = rotated(1)
    layer = SpatialAttention(
        N_PATCHES, embeddings.positions.shape[1], positions=embeddings.positions
    )
    phi, upsilon = np.zeros(SHAPE), np.zeros((N_PATCHES, N_PATCHES))
    rate = 2.0 if objective == "reconstruction" else 20.0
    for step in range(25):
        _, gradient = autograd(objective, layer, embeddings, draw_batch(step))
        of_phi, of_upsilon = closed_form(objective, phi, upsilon, draw_batch(step))
        phi, upsilon = phi - rate * of_phi, upsilon - rate * of_upsilon
        with torch.no_grad():
            layer.weights -= rate * gradient
    weights = layer.weights.detach()
    read_phi, read_upsilon = embeddings.correlations(weights)
    assert np.abs(phi).max() > 0.5
    assert_allclose(read_phi, phi, atol=1e-11, rtol=0.0)
    assert_allclose(read_upsilon, upsilon, atol=1e-11, rtol=0.0)
    features = embeddings.features.flatten(0, 1)
    assert float((features @ weights).abs().max()) < 1e-12


def test_masked_patches_are_keys_without_a_value(rng):
    patches = torch.zeros((2, 3, 5), dtype=torch.float64)
    patches[..., :2] = torch.from_numpy(rng.normal(size=(2, 3, 2)))
    visible = torch.tensor([[True, False, True], [False, False, True]])
    layer = SpatialAttention(3, 5)
    output, attention = layer(patches, visible)
    assert_allclose(attention.detach(), np.full((2, 3, 3), 1.0 / 3.0))
    assert_allclose(output[1, 0].detach(), patches[1, 2] / 3.0)
    with torch.no_grad():
        layer.weights.copy_(torch.from_numpy(rng.normal(size=(5, 5))))
    hidden = patches.masked_fill(~visible[..., None], 7.0)
    assert_array_equal(layer(hidden, visible)[0].detach(), layer(patches, visible)[0].detach())
    by_content = SpatialAttention(3, 5, query="content")
    by_content.load_state_dict(layer.state_dict())
    same = (by_content(patches, visible)[1] - layer(patches, visible)[1]).abs().amax(dim=-1) < 1e-12
    assert_array_equal(same, ~visible)


def test_masks_have_their_exact_size():
    generator = torch.Generator().manual_seed(0)
    visible = draw_visible(4000, 9, 0.3, generator)
    assert_array_equal((~visible).sum(dim=1), np.full(4000, 3))
    error = np.sqrt(2.0 / 9.0 / 4000)
    assert float(((~visible).double().mean(dim=0) - 1.0 / 3.0).abs().max()) < 5.0 * error
    with pytest.raises(InputError, match="which masks 9"):
        draw_visible(2, 9, 0.99, generator)


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="dim must be at least 8"):
        SpatialAttention(8, 7)
    with pytest.raises(InputError, match="must be orthonormal"):
        SpatialAttention(2, 3, positions=torch.ones(2, 3))
    with pytest.raises(InputError, match="did you mean content"):
        SpatialAttention(2, 3, query="contents")
    with pytest.raises(InputError, match="samples of a batch must be at least 2"):
        contrastive_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), 0.5)
