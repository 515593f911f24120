"""What a sweep consists of: instances, and the fits to make on each.

An instance is one SK-Potts model and one long sample. Its first alpha L sequences are training
data, so that training sets are nested; its last `n_test` are test data, the same for all fits.
"""

from __future__ import annotations

from dataclasses import dataclass

from pottsattn.sampling.schedule import Schedule

ESTIMATOR_OF = {"factored": "factored", "plm": "full", "attention": "factored"}
METHODS = tuple(ESTIMATOR_OF)


@dataclass(frozen=True)
class Instance:
    """One random model and its sequences."""

    n_states: int
    coupling_scale: float
    length: int
    seed: int
    n_train: int  # of the largest training set
    n_test: int
    schedule: Schedule

    @property
    def entropy(self) -> list[int]:
        """The seed of its random numbers: instances of other sizes or scales are independent."""
        return [self.seed, self.n_states, self.length, *self.coupling_scale.as_integer_ratio()]


@dataclass(frozen=True)
class FitTask:
    """One fit to make on one instance."""

    instance: Instance
    method: str
    alpha: float
    ridge_kind: str  # "fixed" or "optimal"
    ridge: float
    mask_fraction: float | None = None
    mask_mode: str | None = None
    masks: int | None = None
    max_steps: int = 20_000

    @property
    def n_sequences(self) -> int:
        """Size of the training set, M."""
        return round(self.alpha * self.instance.length)

    def __str__(self) -> str:
        instance = self.instance
        return (
            f"{self.method}, C {instance.n_states}, J {instance.coupling_scale:g}, "
            f"L {instance.length}, alpha {self.alpha:g}, seed {instance.seed}"
        )
