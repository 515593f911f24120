"""References of the same size, sources of instances, and files of runs."""

from __future__ import annotations

import dataclasses
import json

import h5py
import numpy as np
import pytest
import torch

from pottsattn import InputError, load
from pottsattn.instances import data as sources
from pottsattn.instances.data import digit_data, mixture_data, read_data
from pottsattn.instances.encoder import Encoder, encode
from pottsattn.instances.references import random_encoder, train_masked_tokens, train_supervised
from pottsattn.instances.result import InstanceRun
from pottsattn.instances.run import encoder_config_for, run_instances
from pottsattn.instances.settings import EncoderConfig, HeadConfig, PretrainConfig, TrainingConfig

# Most trainings here are too short to converge.
pytestmark = pytest.mark.filterwarnings("ignore::pottsattn.ConvergenceWarning")
ENCODER = EncoderConfig(10, n_states=3, width=8, n_heads=2)


@pytest.fixture(scope="module")
def small():
    """A mixture of two classes, with few labeled sequences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PROBE_TRAIN", 120)
        patch.setattr(sources, "PROBE_TEST", 80)
        return mixture_data("fields", 2, 10, 3, degree=2, n_sequences=300, rng=0)


@pytest.fixture(scope="module")
def finished(small):
    config = PretrainConfig(max_steps=30, mask_fraction=0.5, masks=2, batch_size=32)
    names = ("random", "supervised", "masked")
    return run_instances(small, ENCODER, HeadConfig(16, 8), config, references=names, rng=4)


def test_supervised_encoders_learn_the_labels(small):
    config = TrainingConfig(max_steps=80, batch_size=32, learning_rate=5e-3)
    run = train_supervised(small.train, small.train_labels, ENCODER, config, rng=0)
    assert run.history.loss[-1] < 0.7 * np.log(2)  # nats, of guessing
    assert run.message.endswith("; raise the steps")  # a third of the fall is in the second half
    shuffled = np.random.default_rng(0).permutation(small.train_labels)
    guessing = train_supervised(small.train, shuffled, ENCODER, config, rng=0)
    assert guessing.history.loss[-1] > 0.9 * np.log(2)


def test_masked_tokens_are_predicted_from_the_others():
    states = np.repeat(np.random.default_rng(0).integers(3, size=(300, 1)), 10, axis=1)
    config = TrainingConfig(max_steps=120, batch_size=16, learning_rate=1e-2)
    run = train_masked_tokens(states, ENCODER, config, mask_fraction=0.3, rng=0)
    assert run.history.loss[-1] < 0.1 * np.log(3)
    start = random_encoder(ENCODER, 0)
    for part in ("class_token", "class_layers.0.linear1.weight"):
        assert torch.equal(run.encoder.state_dict()[part], start.state_dict()[part])
    alone = np.random.default_rng(0).integers(3, size=(300, 10))
    run = train_masked_tokens(alone, ENCODER, config, mask_fraction=0.3, rng=0)
    assert run.history.loss[-1] > 0.95 * np.log(3)  # a hidden token is not seen


def test_masked_patches_are_predicted_too():
    patches = np.repeat(np.random.default_rng(0).normal(size=(200, 1, 3)), 4, axis=1)
    encoder = EncoderConfig(4, patch_dim=3, width=16, n_heads=2)
    config = TrainingConfig(max_steps=60, batch_size=16, learning_rate=1e-2)
    run = train_masked_tokens(patches, encoder, config, mask_fraction=0.25, rng=0)
    assert run.history.loss[-1] < 0.3 * run.history.loss[1]


def test_random_reference_is_the_start_of_the_training(finished, small):
    start = random_encoder(ENCODER, 4)
    vectors, _ = encode(start, torch.from_numpy(small.train[:256]))
    spread = np.sqrt(8) * (vectors / np.linalg.norm(vectors, axis=1)[:, None]).std(0).mean()
    assert abs(spread - finished.history.feature_std[0]) < 1e-6


def test_references_that_did_not_converge_are_named(finished):
    """Fifteen steps are too few to learn labels."""
    assert "; reference supervised: NOT converged: 15 steps done" in finished.message
    assert "random" not in finished.message


def test_older_names_of_a_file_are_read(finished, tmp_path):
    path = tmp_path / "run.h5"
    finished.save(path)
    older = {"masks": "n_masks", "mask_fraction": "mask_ratio"}
    training = {older.get(name, name): x for name, x in finished.config["training"].items()}
    with h5py.File(path, "a") as file:
        file.attrs["config"] = json.dumps({**finished.config, "training": training})
    assert load(path).config == finished.config


def test_runs_are_read_as_they_were_written(finished, small, tmp_path):
    path = tmp_path / "run.h5"
    finished.save(path, seed=4)
    found = load(path)
    assert isinstance(found, InstanceRun)
    assert found.to_dict() == finished.to_dict()
    assert found.config == finished.config
    assert repr(found) == repr(finished)
    for name, values in dataclasses.asdict(finished.history).items():
        assert np.array_equal(getattr(found.history, name), values, equal_nan=True)
    assert found.mixture.n_classes == 2
    assert np.array_equal(found.labels, small.labels[120:])
    vectors, _ = encode(found.encoder, torch.from_numpy(small.probed[120:]))
    centered = vectors - vectors.mean(axis=0)
    assert np.allclose(
        np.linalg.norm(found.embeddings, axis=0) ** 2,
        found.explained_variance * (centered**2).sum(),
        rtol=1e-4,
    )
    assert found.class_attention.shape == (80, 10)
    finished.to_csv(tmp_path / "run.csv")
    assert (tmp_path / "run.csv").read_text().startswith("steps,loss,feature_std,seconds\n0,,")


def test_scores_are_those_of_the_contract(finished):
    report = finished.to_dict()
    assert report["chance"] == 0.5
    assert report["bayes"] > report["chance"]
    assert report["random_linear_probe"] == report["references"]["random"]["linear_probe"]
    assert report["supervised_linear_probe"] == report["references"]["supervised"]["linear_probe"]
    assert 0.0 < report["field_r2"] < 1.0
    assert set(finished.references) == {"random", "supervised", "masked"}


def test_damaged_weights_are_refused(finished, tmp_path):
    path = tmp_path / "run.h5"
    weights = {**finished.teacher, "class_token": finished.teacher["class_token"][:3]}
    dataclasses.replace(finished, teacher=weights).save(path)
    with pytest.raises(InputError, match="the weights are not those of the encoder"):
        load(path)


def test_digits_are_standardized_patches():
    data = digit_data(2, rng=0)
    assert data.train.shape == (1348, 16, 4)
    assert len(data.probed) - data.n_probe_train == 449
    assert abs(data.train.mean()) < 1e-12
    assert abs(data.train.std() - 1.0) < 1e-12
    assert data.n_classes == 10
    assert encoder_config_for(data).grid == (4, 4)


def test_a_folder_of_folders_is_labeled(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = rng.integers(256, size=(8, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    data = read_data(tmp_path, patch_size=4, image_size=8, rng=0)
    assert sorted(data.labels) == [0] * 6 + [1] * 6
    assert data.train.shape == (9, 4, 16)
    for number in range(6, 8):
        pixels = rng.integers(256, size=(8, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "cats" / f"{number}.png")
    alone = read_data(tmp_path / "cats", patch_size=4, image_size=8, rng=0)
    assert alone.labels is None
    config = PretrainConfig(max_steps=2, mask_fraction=0.5, masks=2)
    report = run_instances(alone, config=config).to_dict()
    unknown = ("linear_probe", "knn", "chance", "bayes", "raw_linear_probe", "field_r2")
    assert [report[name] for name in unknown] == [None] * 6
    assert report["feature_std"] > 0.0
    assert list(report["references"]) == ["random"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, r"must hold one of sequences, images, patches, found \['x'\]"),
        ({"sequences": np.zeros((9, 4))}, "sequences in .* must be integers from 0"),
        ({"sequences": np.zeros((7, 4), int)}, "holds 7 instances, expected at least 8"),
        ({"images": np.zeros((9, 5, 5))}, "must be multiples of patch_size"),
        ({"patches": np.full((9, 4, 2), np.inf)}, "patches must be finite numbers"),
        ({"patches": np.ones((9, 4, 2)), "labels": np.zeros(8, int)}, "labels must be integers"),
    ],
)
def test_wrong_files_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_data(tmp_path / "data.npz")


def test_what_is_no_npz_file_is_refused(tmp_path):
    for content in (b"", b"PK\x03\x04 damaged", b"hello"):
        (tmp_path / "data.npz").write_bytes(content)
        with pytest.raises(InputError, match="cannot read"):
            read_data(tmp_path / "data.npz")
    np.save(tmp_path / "data.npy", np.zeros(3))
    with pytest.raises(InputError, match="cannot read"):
        read_data(tmp_path / "data.npy")


def test_encoders_of_other_sizes_are_refused(small):
    with pytest.raises(InputError, match="sequences have length 10, the encoder takes 9"):
        run_instances(small, EncoderConfig(9, n_states=3))
    with pytest.raises(InputError, match="reference must be one of"):
        run_instances(small, references=["supervise"])
    assert isinstance(random_encoder(ENCODER, 0), Encoder)
