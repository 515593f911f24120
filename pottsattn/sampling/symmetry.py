"""An exact check where no color is preferred: how often chains agree with a fixed sequence.

Without fields, and with U = a I + b 11^T in every head, the distribution stays the same when the
colors are permuted. Then every color has frequency 1 / C at every site, and the overlap of a
chain with a sequence r that does not depend on it has the mean 1 / C. Chains that all sit in one
phase or one valley, that of r, agree with each other and not with that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pottsattn.model.potts import PottsModel
from pottsattn.sampling.agreement import Array, Trace, z_of_t
from pottsattn.sampling.diagnostics import LARGEST_Z, diagnose

FEWEST_CHAINS = 8  # by whose spread the error is known
ROUNDING = 1e-12  # relative


@dataclass(frozen=True)
class ColorCheck:
    """Whether chains of a model in which all colors are alike show it.

    Attributes
    ----------
    overlap, error : float
        Mean overlap with the fixed sequence, and its standard error.
    expected : float
        1 / C.
    z : float
        Their difference in standard errors.
    """

    overlap: float
    error: float
    expected: float
    z: float

    @property
    def is_met(self) -> bool:
        """Whether abs(z) < 4."""
        return abs(self.z) < LARGEST_Z

    @property
    def message(self) -> str:
        """What it means if it is not met, in words."""
        return (
            f"no color is preferred, so the overlap with a fixed sequence is {self.expected:.4f}, "
            f"and the chains have {self.overlap:.4f} +- {self.error:.4f} (z = {self.z:.1f}): they "
            "share a phase, or remember their start"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return asdict(self)


def prefers_no_color(model: PottsModel) -> bool:
    """Return whether permuting the colors leaves the model as it is."""
    if not _is_uniform(model.fields):
        return False
    couplings = model.couplings
    blocks: Iterable[Array] = couplings.rows()
    if couplings.is_factored and couplings.color_similarity is not None:
        blocks = [couplings.color_similarity]
    return all(_is_permutable(block) for block in blocks)


def check_colors(overlap: Trace, length: int, n_states: int) -> ColorCheck | None:
    """Return the check of an overlap of shape (n_samples, n_chains), or None: it cannot be made.

    The error is from the spread of the means of 8 chains or more, of fewer from the effective
    sample size if that can be believed; and no less than that of as many samples of sites that do
    not know of each other, which keeps a few samples that happen to be equal from being exact.
    """
    n_chains = overlap.shape[1]
    expected = 1.0 / n_states
    floor = np.sqrt(expected * (1.0 - expected) / (length * overlap.size))
    mean = float(overlap.mean(dtype=np.float64))
    if n_chains >= FEWEST_CHAINS:
        means = overlap.mean(axis=0, dtype=np.float64)
        error = max(floor, float(means.std(ddof=1)) / np.sqrt(n_chains))
        z = z_of_t((mean - expected) / error, n_chains - 1)
    else:
        found = diagnose(overlap, 1.0)
        if not found.is_long_enough:
            return None
        error = max(floor, float(overlap.std(dtype=np.float64)) / np.sqrt(found.ess))
        z = (mean - expected) / error
    return ColorCheck(mean, float(error), expected, float(z))


def _is_uniform(values: Array) -> bool:
    """Return whether the last axis holds one value, to rounding."""
    largest = float(np.abs(values).max(initial=0.0))
    return bool(np.all(np.ptp(values, axis=-1) <= ROUNDING * largest))


def _is_permutable(blocks: Array) -> bool:
    """Return whether blocks (..., C, C) are a I + b 11^T, to rounding."""
    n_states = blocks.shape[-1]
    flat = blocks.reshape(-1, n_states**2)
    own = np.eye(n_states, dtype=bool).ravel()
    limit = ROUNDING * float(np.abs(flat).max(initial=0.0))
    return all(bool(np.all(np.ptp(flat[:, part], axis=1) <= limit)) for part in (own, ~own))
