"""The encoder of instances sees a set of tokens; masks are disjoint; heads do not mix masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pottsattn import InputError
from pottsattn.instances.encoder import Encoder
from pottsattn.instances.losses import byol, infonce
from pottsattn.instances.masks import n_visible, visible_tokens
from pottsattn.instances.projection_heads import make_predictor, make_projector
from pottsattn.instances.settings import EncoderConfig, HeadConfig

CONFIGS = {
    "sequences": EncoderConfig(12, n_states=4, width=16, n_class_layers=3),
    "images": EncoderConfig(12, patch_dim=5, grid=(3, 4), width=16, n_class_layers=1),
}
N_INSTANCES = 6


def inputs_for(config: EncoderConfig) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if config.n_states is not None:
        size = (N_INSTANCES, config.n_tokens)
        return torch.randint(config.n_states, size, generator=generator).to(torch.uint8)
    return torch.rand(N_INSTANCES, config.n_tokens, config.patch_dim, generator=generator)


def encoder_for(config: EncoderConfig) -> Encoder:
    return Encoder(config, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=CONFIGS)
def config(request) -> EncoderConfig:
    return CONFIGS[request.param]


@pytest.mark.parametrize("n_tokens", [7, 32, 196])
@pytest.mark.parametrize(("ratio", "masks"), [(0.5, 2), (0.8, 5), (0.8, 2), (0.5, 3), (0.6, 1)])
def test_masks_are_disjoint_whenever_they_can_be(n_tokens, ratio, masks):
    visible = visible_tokens(50, n_tokens, ratio, masks, np.random.default_rng(0))
    size = n_visible(n_tokens, ratio, masks)
    assert visible.shape == (masks, 50, size)
    assert 0 <= visible.min() <= visible.max() < n_tokens
    can_be = masks * size <= n_tokens
    for instance in visible.transpose(1, 0, 2):
        assert all(len(set(mask)) == size for mask in instance)
        if can_be:
            assert len(set(instance.ravel())) == masks * size
    assert len({tuple(row) for row in visible.reshape(-1, size)}) >= 7
    assert np.array_equal(
        visible, visible_tokens(50, n_tokens, ratio, masks, np.random.default_rng(0))
    )


def test_masks_show_every_token_equally_often():
    visible = visible_tokens(4000, 10, 0.8, 1, np.random.default_rng(0))
    counts = np.bincount(visible.ravel(), minlength=10)
    # Binomial with probability 0.2: standard deviation 25.
    assert np.abs(counts - 800).max() < 5 * np.sqrt(4000 * 0.2 * 0.8)


def test_no_masking_shows_all_tokens_in_order():
    visible = visible_tokens(3, 5, 0.0, 1, np.random.default_rng(0))
    assert np.array_equal(visible, np.broadcast_to(np.arange(5), (1, 3, 5)))


@pytest.mark.parametrize(
    ("ratio", "masks", "message"),
    [
        (0.97, 1, "`mask_fraction=0.97` leaves none of 32 tokens visible; use at most 0.96875"),
        (0.0, 2, "hides nothing"),
        (1.0, 1, "mask_fraction must be below 1, got 1.0"),
        (-0.1, 1, "mask_fraction must not be negative"),
        (0.5, 0, "masks must be at least 1"),
    ],
)
def test_wrong_masks_are_refused(ratio, masks, message):
    with pytest.raises(InputError, match=message):
        n_visible(32, ratio, masks)
    assert n_visible(10, 0.9) == 1  # although 10 * (1 - 0.9) < 1 in floating point


def test_vectors_do_not_depend_on_the_order_of_tokens(config):
    encoder, inputs = encoder_for(config), inputs_for(config)
    orders = torch.stack([torch.randperm(12) for _ in range(N_INSTANCES)])
    with torch.no_grad():
        instance, tokens = encoder(inputs)
        shuffled, shuffled_tokens = encoder(inputs, orders[None])
    assert (instance - shuffled).abs().max() < 1e-5
    rows = torch.arange(N_INSTANCES)[:, None]
    assert (tokens[rows, orders] - shuffled_tokens).abs().max() < 1e-5
    assert (instance - instance.mean(0)).abs().max() > 1e-3


def test_masks_in_one_batch_are_masks_one_by_one(config):
    encoder, inputs = encoder_for(config), inputs_for(config)
    visible = torch.from_numpy(visible_tokens(N_INSTANCES, 12, 0.7, 4, np.random.default_rng(2)))
    with torch.no_grad():
        together = encoder(inputs, visible)[0].view(4, N_INSTANCES, -1)
        alone = torch.stack([encoder(inputs, mask[None])[0] for mask in visible])
    # Rounding of float32 in products of matrices of different sizes.
    assert (together - alone).abs().max() < 2e-6
    unseen = inputs.clone()
    unseen[:, 0] = 0
    hides = ~(visible == 0).any(dim=-1)  # (4, N_INSTANCES)
    with torch.no_grad():
        changed = encoder(unseen, visible)[0].view(4, N_INSTANCES, -1)
    assert torch.equal(changed[hides], together[hides])
    assert 0 < hides.sum() < hides.numel()


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("loss", [byol, lambda q, k: infonce(q, k, 0.2)])
def test_loss_of_masks_is_the_mean_of_their_losses(norm, loss):
    generator = torch.Generator().manual_seed(0)
    config = HeadConfig(hidden=24, size=8, norm=norm)
    projector, predictor = make_projector(16, config, generator), make_predictor(config, generator)
    vectors = torch.randn(5, 10, 16, generator=generator)
    targets = torch.randn(10, 8, generator=generator)
    together = loss(predictor(projector(vectors)), targets)
    alone = [loss(predictor(projector(one[None])), targets) for one in vectors]
    assert abs((together - sum(alone) / 5).item()) < 1e-6


def test_losses_are_what_they_say():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    q_unit, k_unit = (x / x.norm(dim=-1, keepdim=True) for x in (q[0], k))
    assert torch.isclose(byol(q, k), ((q_unit - k_unit) ** 2).sum(-1).mean())
    odds = (q_unit @ k_unit.T / 0.5).softmax(dim=-1)
    assert torch.isclose(infonce(q, k, 0.5), -odds.diag().log().mean())
    assert abs(float(byol(3 * k[None], k))) < 1e-6


@pytest.mark.parametrize(
    "config", [*CONFIGS.values(), EncoderConfig.preset("vit-base")], ids=[*CONFIGS, "vit-base"]
)
def test_number_of_parameters(config):
    with torch.device("meta"):
        encoder = Encoder(config)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == config.n_parameters


def test_vit_base_is_that_of_the_paper():
    config = EncoderConfig.preset("vit-base")
    assert (config.n_tokens, config.patch_dim, config.grid) == (196, 768, (14, 14))
    with torch.device("meta"):
        encoder, inputs = Encoder(config), torch.empty(2, 196, 768)
        visible = torch.empty(5, 2, n_visible(196, 0.8, 5), dtype=torch.int64)
        instance, tokens = encoder(inputs, visible)
        heads = make_projector(768, HeadConfig.preset("vit-base"))
        assert heads(instance.view(5, 2, -1)).shape == (5, 2, 256)
    assert instance.shape == (10, 768)
    assert tokens.shape == (10, 39, 768)
    assert not encoder.positions.requires_grad


def test_positions_of_images_tell_patches_apart():
    positions = encoder_for(CONFIGS["images"]).positions
    distances = torch.cdist(positions, positions) + torch.eye(12)
    assert distances.min() > 0.1
    assert torch.allclose(positions[0], torch.tensor([0.0, 1.0]).repeat(2).repeat_interleave(4))


def test_branches_of_the_last_layer_are_dropped():
    config = EncoderConfig(4, n_states=3, width=8, drop_path=0.5)
    encoder, inputs = encoder_for(config), torch.zeros(4000, 4, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        dropped = encoder(inputs, drop_generator=generator)[1]
    _, counts = torch.unique(dropped[:, 0, 0].round(decimals=4), return_counts=True)
    assert len(counts) == 4  # of two branches, each dropped with probability 1/2
    assert (counts - 1000).abs().max() < 5 * 27.4  # binomial standard deviation


def test_class_attention_is_of_tokens(config):
    attention = encoder_for(config).class_attention(inputs_for(config))
    assert attention.shape == (N_INSTANCES, 12)
    total = attention.sum(dim=1)
    assert ((total > 0) & (total < 1)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_states": 3, "width": 30}, "width must be a multiple of n_heads 4, got 30"),
        ({}, "give either n_states"),
        ({"n_states": 3, "patch_dim": 4}, "give either n_states"),
        ({"patch_dim": 4}, "12 patches are no grid of 3 x 3"),
        ({"n_states": 3, "drop_path": 1.0}, "drop_path must be below 1"),
    ],
)
def test_wrong_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        EncoderConfig(12, **options)
