"""Fixtures: small random models of every form, an exactly solvable chain, and optional data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pottsattn.model.couplings import Couplings
from pottsattn.model.ensembles import chain
from pottsattn.model.graph import NeighborLists
from pottsattn.model.potts import PottsModel

# Read by torch and numba when they are imported: on problems this small, threads only wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

FORMS = ("dense", "factored", "two-heads", "sparse", "sparse two-heads")


def random_couplings(
    form: str, rng: np.random.Generator, length: int = 4, n_states: int = 3
) -> Couplings:
    """Return couplings in no gauge and not symmetric: every row is its own."""
    off_diagonal = 1.0 - np.eye(length)
    if form == "dense":
        blocks = rng.normal(scale=0.6, size=(length, length, n_states, n_states))
        return Couplings(dense=blocks * off_diagonal[:, :, None, None])
    n_heads = 2 if form.endswith("two-heads") else 1
    interactions = rng.normal(scale=0.6, size=(n_heads, length, length)) * off_diagonal
    similarity = rng.normal(size=(n_heads, n_states, n_states))
    if form.startswith("sparse"):
        interactions[0, 1, 2] = interactions[:, 0, 3] = interactions[:, 3] = 0.0
        return Couplings(NeighborLists.from_dense(interactions), similarity)
    return Couplings(interactions, similarity)


def random_model(
    form: str, rng: np.random.Generator, length: int = 4, n_states: int = 3
) -> PottsModel:
    """Return a model in no gauge, with fields; U is general, with two heads not even symmetric."""
    fields = rng.normal(scale=0.5, size=(length, n_states))
    couplings = random_couplings(form, rng, length, n_states)
    if form == "factored":
        (interactions,), (similarity,) = couplings.factors()
        return PottsModel.factored(
            (interactions + interactions.T) / 2.0, similarity + similarity.T, fields=fields
        )
    if form == "sparse":
        similarity = couplings.color_similarity
        couplings = Couplings(couplings.interactions, similarity + similarity.transpose(0, 2, 1))
    if form == "two-heads":  # (A, U) and (A^T, U^T): symmetric as a sum only
        couplings = Couplings(*(factor[:1] for factor in couplings.factors()))
    return PottsModel(fields, couplings.symmetrized())


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240603)


@pytest.fixture
def tiny_model(rng) -> PottsModel:
    """L = 4, C = 3, one head, general U, fields: 81 states to enumerate."""
    return random_model("factored", rng)


@pytest.fixture(params=FORMS)
def model(request, rng) -> PottsModel:
    """The tiny model in every form: a test that takes it runs over the table."""
    return random_model(request.param, rng)


@pytest.fixture(params=FORMS)
def row_couplings(request, rng) -> Couplings:
    """Asymmetric couplings in every form, as a fit leaves them."""
    return random_couplings(request.param, rng)


@pytest.fixture
def chain_model(rng) -> PottsModel:
    """An open chain with fields, solved by `exact.solve_chain`."""
    regular = chain(8, 3, 1.0)
    return PottsModel(rng.normal(scale=0.5, size=(8, 3)), regular.couplings)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real alignments, which are not part of the repository."""
    folder = os.environ.get("POTTSATTN_TEST_DATA")
    if not folder:
        pytest.skip("set POTTSATTN_TEST_DATA to the folder of test alignments (PF00014.fasta.gz)")
    return Path(folder)
