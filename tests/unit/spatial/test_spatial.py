"""The spatial system: closed forms against autograd, and what MASKED A.9 says must be seen."""

from __future__ import annotations

import dataclasses
import json
import signal
import time

import h5py
import numpy as np
import pytest
import torch

from pottsattn import InputError, load
from pottsattn._core.checkpoint import CheckpointFile
from pottsattn.spatial.areas import PatchAreas, grid_areas, random_areas
from pottsattn.spatial.inputs import InputLaw
from pottsattn.spatial.layer import (
    SpatialAttention,
    contrastive_loss,
    reconstruction_loss,
    synthetic_embeddings,
)
from pottsattn.spatial.mean_field import MeanField
from pottsattn.spatial.measures import diversity, measure, optimal_loss, rate_ratio
from pottsattn.spatial.objectives import (
    AreaLayer,
    attend,
    contrastive_step,
    reconstruction_step,
)
from pottsattn.spatial.recipe import SpatialRecipe
from pottsattn.spatial.run import SpatialRun
from pottsattn.spatial.training import train_areas

UNEVEN = PatchAreas(np.array([[0, 0, 0, 1, 1, 2, 2, 3], [1, 0, 1, 0, 0, 1, 0, 1]]))
SIZES = {"wide gap": (18, 3), "narrow gap": (8, 7)}


def random_layer(areas: PatchAreas, rng: np.random.Generator) -> AreaLayer:
    zero = AreaLayer.zero(areas)
    return AreaLayer(rng.normal(size=zero.phi.shape), rng.normal(size=zero.upsilon.shape))


class Embedded:
    """The same layer as a torch module on explicit embeddings."""

    def __init__(self, areas: PatchAreas, layer: AreaLayer) -> None:
        self.areas = areas
        self.embeddings = synthetic_embeddings(areas.n_clusters, areas.n_areas, areas.n_patches)
        features = self.embeddings.features.flatten(0, 1)
        positions = self.embeddings.positions
        self.module = SpatialAttention(areas.n_patches, positions.shape[1], positions=positions)
        phi = torch.from_numpy(layer.phi).movedim(1, 0).flatten(1)  # (P, K N)
        with torch.no_grad():
            of_keys = phi @ features + torch.from_numpy(layer.upsilon) @ positions
            self.module.weights.copy_(positions.T @ of_keys)

    def outputs(self, batch):
        patches = self.embeddings.patches(
            torch.from_numpy(batch.clusters),
            torch.from_numpy(self.areas.labels),
            torch.from_numpy(batch.latents),
        )
        visible = torch.from_numpy(~batch.hidden)
        return (*self.module(patches, visible), patches, visible)

    def gradient(self, loss: torch.Tensor) -> AreaLayer:
        self.module.zero_grad()
        loss.backward()
        phi, upsilon = self.embeddings.correlations(self.module.weights.grad)
        return AreaLayer(phi.numpy(), upsilon.numpy())


@pytest.mark.parametrize("areas", [UNEVEN, random_areas(36, 18, 3, rng=0)], ids=["uneven", "even"])
@pytest.mark.parametrize("objective", ["mae", "contrastive"])
def test_closed_form_gradient_is_that_of_autograd(objective, areas, rng):
    law = InputLaw(areas)
    layer = random_layer(areas, rng)
    embedded = Embedded(areas, layer)
    batch = law.draw(rng, 3)
    if objective == "mae":
        loss, gradient = reconstruction_step(layer, batch, areas.labels)
        output, attention, patches, visible = embedded.outputs(batch)
        expected = reconstruction_loss(output, patches, visible)
        np.testing.assert_allclose(
            attend(layer, batch).to_patches(), attention.detach().numpy(), rtol=0, atol=1e-13
        )
    else:
        other = law.mask(rng, batch.latents)
        loss, gradient = contrastive_step(layer, batch, other, 0.5)
        first, second = embedded.outputs(batch)[0], embedded.outputs(other)[0]
        expected = contrastive_loss(first, second, 0.5)
    by_autograd = embedded.gradient(expected)
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    exists = (areas.sizes > 0)[:, None, :] & np.ones(layer.phi.shape, bool)
    np.testing.assert_allclose(gradient.phi[exists], by_autograd.phi[exists], rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradient.upsilon, by_autograd.upsilon, rtol=0, atol=1e-12)
    assert np.abs(gradient.phi).max() > 1e-4


def test_large_scores_do_not_overflow(rng):
    areas = random_areas(36, 18, 3, rng=0)
    layer = random_layer(areas, rng)
    large = AreaLayer(50.0 * layer.phi, 50.0 * layer.upsilon)
    assert 1.5 * large.phi.max() + large.upsilon.max() > np.log(np.finfo(float).max) / 2
    attention = attend(large, InputLaw(areas).draw(rng, 4)).to_patches()
    np.testing.assert_allclose(attention.sum(axis=2), 1.0, rtol=1e-12)


def test_an_area_without_a_visible_patch_does_not_overflow(rng):
    """Its score, however large, must not push those of the other patches below zero."""
    areas = random_areas(12, 3, 3, rng=0)
    own = np.arange(areas.n_areas) == areas.labels[:, :, None]
    layer = AreaLayer(np.where(own, 5000.0, -5000.0), np.zeros((12, 12)))
    law = InputLaw(areas, mask_fraction=0.75)
    batch = law.draw(rng, 200)
    attention = attend(layer, batch).to_patches()
    np.testing.assert_allclose(attention.sum(axis=2), 1.0, rtol=1e-12)
    queries = np.array([7, 2])
    some = attend(layer, batch).to_patches(queries)
    np.testing.assert_array_equal(some, attention[:, queries])
    measures = measure(layer, law, batch, "mae")
    assert measures.excess == pytest.approx(0.0, abs=1e-12)
    assert np.isfinite(reconstruction_step(layer, batch, areas.labels)[1].phi).all()


@pytest.mark.filterwarnings("error")
def test_a_query_that_no_mask_hides_has_no_map():
    areas = random_areas(300, 150, 50, rng=0)
    recipe = SpatialRecipe(max_steps=1, mask_fraction=1 / 300, batch_size=2)
    maps = train_areas(areas, recipe).maps.maps
    assert np.isnan(maps).any()
    assert np.isnan(maps).all(axis=2).sum() == np.isnan(maps).any(axis=2).sum()


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_reconstruction_finds_every_area(sizes):
    run = train_areas(random_areas(36, *sizes, rng=0))
    found = run.to_dict()
    assert found["own_attention_global"] > 0.90
    assert found["own_attention_local"] > 0.90
    assert found["excess_loss_ratio"] < 0.02
    assert found["diversity"] > 0.6
    assert run.history.diversity[0] == pytest.approx(0.0, abs=1e-12)
    assert run.converged


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_contrastive_learning_collapses_onto_the_global_area(sizes):
    run = train_areas(random_areas(36, *sizes, rng=0), SpatialRecipe("contrastive"))
    found = run.to_dict()
    assert found["attention_to_global"] > 0.98
    assert found["own_attention_global"] > 0.98
    assert found["own_attention_local"] < 0.01
    assert found["diversity"] < 0.01
    assert np.isnan(found["excess_loss_ratio"])
    assert np.isnan(found["rate_ratio"])
    assert run.converged


def test_equal_areas_leave_no_global_one_to_collapse_onto():
    """The planted fault of the test above: same collapse, onto an arbitrary area."""
    run = train_areas(random_areas(36, 9, 9, rng=0), SpatialRecipe("contrastive"))
    assert run.to_dict()["attention_to_global"] < 0.5
    assert run.to_dict()["diversity"] < 0.01


def test_the_gap_decides_which_rate_is_larger(rng):
    assert rate_ratio(InputLaw(random_areas(36, 18, 3, rng=0)), rng) > 1.4
    assert rate_ratio(InputLaw(random_areas(36, 8, 7, rng=0)), rng) < 0.5


@pytest.mark.parametrize("masks", ["sampled", "mean-field"])
def test_areas_of_one_patch_have_no_rate_and_no_own_attention(masks):
    for sizes in ((2, 1, 1), (12, 6, 1)):
        run = train_areas(random_areas(*sizes, rng=0), SpatialRecipe(max_steps=3, masks=masks))
        assert np.isnan([run.rate_ratio, run.to_dict()["own_attention_local"]]).all()
        assert "what there was to gain is left after 3 steps" in run.message


@pytest.mark.parametrize(("sizes", "decouples_first"), [((60, 5), True), ((20, 10), False)])
def test_order_of_the_phases(sizes, decouples_first):
    areas = random_areas(100, *sizes, n_clusters=3, rng=0)
    recipe = SpatialRecipe(learning_rate=2.0, max_steps=240, record_every=4, masks="mean-field")
    times = train_areas(areas, recipe).phase_times
    assert np.isfinite([times.decoupled, times.grown]).all()
    assert (times.decoupled < times.grown) == decouples_first


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_mean_field_follows_sampled_masks(sizes):
    areas = random_areas(36, *sizes, rng=0)
    for max_steps in (20, 60, 300):
        exact = train_areas(areas, SpatialRecipe(max_steps=max_steps, batch_size=48)).layer.phi
        phi = train_areas(areas, SpatialRecipe(max_steps=max_steps, masks="mean-field")).layer.phi
        assert np.linalg.norm(phi - exact) < 0.08 * np.linalg.norm(exact)


def test_mean_field_gradient_is_that_of_its_loss(rng):
    mean_field = MeanField.of(InputLaw(UNEVEN), rng)
    layer, direction = random_layer(UNEVEN, rng), random_layer(UNEVEN, rng)
    _, gradient = mean_field.step(layer)
    ahead, behind = (mean_field.step(layer.moved(direction, step))[0] for step in (-1e-5, 1e-5))
    slope = np.sum(gradient.phi * direction.phi) + np.sum(gradient.upsilon * direction.upsilon)
    assert (ahead - behind) / 2e-5 == pytest.approx(slope, rel=1e-7)


def test_optimal_loss_is_that_of_perfect_attention(rng):
    """Attention that is all on the own area where a patch of it is visible: excess loss 0."""
    areas = random_areas(12, 6, 3, rng=0)
    law = InputLaw(areas)
    own = np.arange(areas.n_areas) == areas.labels[:, :, None]
    # Where nothing of the own area is visible, attention goes to hidden patches: value zero.
    perfect = AreaLayer(np.where(own, 100.0, -100.0), np.zeros((12, 12)))
    batch = law.draw(rng, 4000)
    found = measure(perfect, law, batch, "mae")
    assert abs(found.excess_global) < 1e-12
    assert abs(found.excess_local) < 1e-12
    n_hidden = batch.hidden.sum() / areas.n_clusters
    local = areas.labels[batch.clusters] > 0
    alone = np.stack([(batch.slots == m).sum(1) for m in range(areas.n_areas)], axis=1) == 0
    all_hidden = np.take_along_axis(alone, areas.labels[batch.clusters], axis=1) & local
    z_squared = np.take_along_axis(batch.latents, areas.labels[batch.clusters], axis=1) ** 2
    sampled = 0.5 * z_squared[all_hidden].sum() / (batch.hidden & local).sum()
    share = all_hidden.sum() / (batch.hidden & local).sum()
    expected = optimal_loss(law)[~areas.is_global]
    assert np.ptp(expected) == 0.0
    # Three hidden patches at a time: the error of the share is sqrt(3) times the binomial one.
    error = np.sqrt(3.0 * share * (1 - share) / n_hidden)
    assert abs(sampled / expected[0] - 1.0) < 4.0 * (error / share)
    assert optimal_loss(law)[areas.is_global] == pytest.approx(0.5 * (13 / 12) * 1 / 462)


def test_optimal_loss_of_many_patches():
    """Of an area of C, C - 1 others are hidden: about 2^-(C - 1), and never for half of them."""
    areas = random_areas(4000, 3900, 5, rng=0)
    found = optimal_loss(InputLaw(areas))
    assert (found[areas.is_global] == 0.0).all()
    assert found[~areas.is_global] == pytest.approx(0.5 * (13 / 12) / 16, rel=5e-3)


def test_diversity_of_what_diverged_is_no_number():
    assert np.isnan(diversity(np.full((1, 3, 3), np.nan)))
    assert diversity(np.full((1, 3, 3), 1 / 3)) == pytest.approx(0.0, abs=1e-15)


def test_areas_tell_their_sizes_and_gap():
    areas = random_areas(100, 60, 5, n_clusters=3, rng=1)
    assert areas.sizes.tolist() == [[60, *[5] * 8]] * 3
    assert areas.information_gap == pytest.approx(np.log(3600 / 500) / np.log(100))
    assert not np.array_equal(areas.labels[0], areas.labels[1])
    assert UNEVEN.sizes.tolist() == [[3, 2, 2, 1], [4, 4, 0, 0]]


def test_areas_of_a_grid_are_connected():
    from scipy.ndimage import label

    areas = grid_areas(8, 6, 18, 5, n_clusters=8, rng=0)
    assert areas.sizes.tolist() == [[18, *[5] * 6]] * 8
    for image in areas.labels.reshape(8, 8, 6):
        assert all(label(image == area)[1] == 1 for area in range(7))


def test_areas_of_labeled_images():
    image = np.array([[7, 7, 2], [7, 2, -1]])
    areas = PatchAreas.from_images([image, image.T.reshape(2, 3)])
    assert areas.grid == (2, 3)
    assert areas.labels[0].tolist() == [0, 0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: random_areas(36, 18, 4), "the closest size that does is 3"),
        (lambda: random_areas(36, 36, 4), "do not fit into 36 patches"),
        (lambda: PatchAreas(np.array([[0, 2]])), "without a hole"),
        (lambda: PatchAreas(np.zeros((1, 4), int)), "without a hole"),
        (lambda: PatchAreas(np.zeros((1, 4))), "integers"),
        (lambda: PatchAreas(np.array([[0, 1]]), grid=(2, 2)), "2 x 2"),
        (lambda: InputLaw(UNEVEN, mask_fraction=0.99), "at least one must be hidden"),
        (lambda: InputLaw(UNEVEN, (1.5, 0.5)), "low <= high"),
        (lambda: SpatialRecipe("contrastive", masks="mean-field"), "sampled masks"),
        (lambda: SpatialRecipe("autoencoder"), "must be one of mae, contrastive"),
        (lambda: SpatialRecipe(max_steps=0), "at least 1"),
    ],
)
def test_wrong_input_is_told(make, words):
    with pytest.raises(InputError, match=words):
        make()


def equal(run: SpatialRun, other: SpatialRun) -> bool:
    """Whether all numbers are the same, but for times."""
    parts = [(run.layer, other.layer), (run.history, other.history), (run.maps, other.maps)]
    return all(
        np.array_equal(getattr(a, item.name), getattr(b, item.name), equal_nan=True)
        for a, b in parts
        for item in dataclasses.fields(a)
    )


@pytest.mark.parametrize("objective", ["mae", "contrastive"])
def test_a_killed_run_goes_on_to_the_same_bits(objective, tmp_path, monkeypatch):
    monkeypatch.setattr("pottsattn._core.checkpoint.SHARE", np.inf)
    areas = random_areas(12, 6, 3, rng=0)
    recipe = SpatialRecipe(objective, max_steps=20, record_every=3)
    whole = train_areas(areas, recipe)
    path = tmp_path / "run.h5"

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 7:
            time.sleep(0.5)
        if done == 8:
            raise KilledError

    with pytest.raises(KilledError):
        train_areas(areas, recipe, checkpoint=CheckpointFile(path, seconds=0.0), progress=kill)
    with pytest.raises(InputError, match=r"mask_fraction: 0\.5 there, 0\.25 here"):
        train_areas(areas, dataclasses.replace(recipe, mask_fraction=0.25), checkpoint=path)
    again = train_areas(areas, recipe, checkpoint=path)
    assert again.resumed_from == 7  # the step that was killed had not been written
    assert again.seconds > 0.5  # that of both
    assert equal(whole, again)
    assert list(tmp_path.iterdir()) == []


def test_a_second_ctrl_c_waits_for_the_end_of_its_step_too(tmp_path, monkeypatch):
    """Half a step has an entry of the history that the whole one would make again."""
    areas, path = random_areas(12, 6, 3, rng=0), tmp_path / "run.h5"
    recipe = SpatialRecipe(max_steps=20, record_every=1)
    whole, drawn = train_areas(areas, recipe), []

    def press_twice(*arguments):
        drawn.append(1)
        if len(drawn) == 4:  # the map before step 5, whose entry is there already
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return attend(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("pottsattn._core.checkpoint.SHARE", np.inf)
        patch.setattr("pottsattn.spatial.training.attend", press_twice)
        stopped = train_areas(areas, recipe, checkpoint=CheckpointFile(path, seconds=0.0))
    assert (stopped.n_steps, stopped.interrupted) == (6, True)
    again = train_areas(areas, recipe, checkpoint=path)
    assert again.resumed_from == 6
    assert equal(whole, again)


def test_interrupt_returns_what_is_done():
    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    run = train_areas(random_areas(12, 6, 3, rng=0), progress=interrupt)
    assert (run.n_steps, run.interrupted, run.converged) == (5, True, False)
    assert run.message == "interrupted at step 5 of 300"


def test_a_rate_that_is_too_large_is_no_success():
    run = train_areas(random_areas(12, 6, 3, rng=0), SpatialRecipe(learning_rate=1e300))
    assert not run.converged
    assert run.message == (
        f"numbers became too large by step {run.n_steps}; lower the learning rate or the start "
        "scale"
    )


@pytest.mark.parametrize("objective", ["mae", "contrastive"])
@pytest.mark.parametrize("masks", ["sampled", "mean-field"])
def test_a_training_that_did_not_move_has_not_converged(objective, masks):
    if objective == "contrastive" and masks == "mean-field":
        return
    recipe = SpatialRecipe(objective, learning_rate=1e-8, masks=masks)
    run = train_areas(random_areas(36, 18, 3, rng=0), recipe)
    assert not run.converged
    assert "raise the steps or the learning rate" in run.message
    assert "NOT converged" in repr(run)


@pytest.mark.parametrize(("objective", "rate"), [("mae", 0.72), ("contrastive", 18.0)])
def test_a_loss_that_still_falls_has_not_converged(objective, rate):
    """A smaller rate than the default, to see phases one after the other."""
    recipe = SpatialRecipe(objective, learning_rate=rate, max_steps=240)
    run = train_areas(random_areas(36, 8, 7, rng=0), recipe)
    assert not run.converged
    assert "raise the steps" in run.message


def test_older_names_of_a_file_are_read(tmp_path):
    run, path = train_areas(random_areas(12, 6, 3, rng=0), SpatialRecipe(max_steps=3)), "run.h5"
    run.save(tmp_path / path)
    older = {"max_steps": "n_steps", "mask_fraction": "mask_ratio"}
    config = {older.get(name, name): value for name, value in run.config.items()}
    with h5py.File(tmp_path / path, "a") as file:
        file.attrs["config"] = json.dumps(config)
    assert load(tmp_path / path).config == run.config


def test_file_keeps_everything(tmp_path):
    run = train_areas(grid_areas(4, 3, 6, 3, rng=0), SpatialRecipe(max_steps=5), rng=3)
    run.save(tmp_path / "run.h5")
    back = load(tmp_path / "run.h5")
    assert isinstance(back, SpatialRun)
    assert equal(run, back)
    assert back.areas.grid == (4, 3)
    np.testing.assert_array_equal(back.areas.labels, run.areas.labels)
    assert repr(back.to_dict()) == repr(run.to_dict())
    assert repr(back) == repr(run)
    run.to_csv(tmp_path / "run.csv")
    assert len((tmp_path / "run.csv").read_text().splitlines()) == 1 + len(run.history)
