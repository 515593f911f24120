"""Choosing the number of heads of a factored fit by the loss of held-out sequences.

A part of the data, whole identity clusters, is held out. Numbers of heads are tried by factors of
two from 1 until the held-out pseudo-likelihood loss rises, each at the same ridge in the units of
the theory; the best one is fitted to all data. What more heads gain in bias they lose in variance
unless the ridge holds it down, so the choice is the best for this ridge.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import Progress, html_table
from pottsattn._core.stopwatch import Stopwatch
from pottsattn._core.validate import ConvergenceWarning, check_at_least
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.resampling import split
from pottsattn.fitting.losses import sequence_losses, squared_error
from pottsattn.fitting.penalty import Penalty, Ridge, penalty_or_ridge
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
from pottsattn.fitting.pseudolikelihood.solver import Solver
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.selection.refitting import LOOSE_GAP

Array = NDArray[np.float64]
HELD_OUT = 0.2
MOST_HEADS = 128


@dataclass(frozen=True, eq=False, repr=False)
class HeadsChoice:
    """The best number of heads and those tried.

    Attributes
    ----------
    n_heads : int
    is_inside : bool
        Whether the loss rose beyond it; otherwise it is the largest number tried.
    fit : FitResult
        The fit of `n_heads` to all data; `config["heads_path"]` has the table, `seconds` counts
        all fits.
    heads, losses, train_losses : arrays of one length
        Every number tried, its held-out and training loss, nats per masked site.
    errors : array
        Standard error, over held-out sequences, of the difference from the least loss.
    n_held_out : int
        Sequences held out.
    """

    n_heads: int
    is_inside: bool
    fit: FitResult
    heads: NDArray[np.int64]
    losses: Array
    errors: Array
    train_losses: Array
    n_held_out: int

    def to_dict(self) -> dict[str, Any]:
        """Return what was tried as plain lists."""
        return {
            "n_heads": self.n_heads,
            "is_inside": self.is_inside,
            "heads": self.heads.tolist(),
            "held_out_losses": self.losses.tolist(),
            "difference_errors": self.errors.tolist(),
            "train_losses": self.train_losses.tolist(),
            "n_held_out": self.n_held_out,
        }

    def _repr_html_(self) -> str:
        return html_table("HeadsChoice", self.to_dict())

    def __repr__(self) -> str:
        where = "" if self.is_inside else ", the largest number tried"
        return (
            f"HeadsChoice(n_heads={self.n_heads}{where}, held-out loss "
            f"{self.losses.min():.4f} nats)"
        )


def choose_heads(
    dataset: SequenceDataset,
    *,
    ridge: float | None = None,
    penalty: Penalty | Ridge | None = None,
    fields: str = "learned",
    most_heads: int = MOST_HEADS,
    solver: Solver | None = None,
    rng: np.random.Generator | int = 0,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> HeadsChoice:
    """Return the number of heads with the least held-out loss, and the fit of all data with it.

    Parameters
    ----------
    dataset
        Training data, of which a fifth is held out: whole identity clusters of an alignment.
    ridge, penalty, fields
        As in `fit_pseudolikelihood`.
    most_heads
        The largest number tried.
    solver
        Of all fits; those along the way are solved to 1e-3 nats per site.
    rng
        Draws the part that is held out, by its seed; also that of the starts.
    progress
        Called with (fits done, that and the next one).

    Raises
    ------
    InputError
        A wrong option, or too few clusters to hold a part out.
    """
    check_at_least("most_heads", most_heads, 1)
    watch = Stopwatch()
    kept, held_out = split(dataset, HELD_OUT, rng=rng)
    solver = solver or Solver()
    shared: dict[str, Any] = {
        "penalty": penalty_or_ridge(ridge, penalty),
        "fields": fields,
        "color_similarity": "learned",
        "rng": rng,
        "n_threads": n_threads,
    }
    losses: list[Array] = []
    train_losses: list[float] = []
    tried: list[int] = []
    weights = held_out.normalized_weights
    n_heads = 1
    while n_heads <= most_heads:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # the last fit is the one that counts
            found = fit_pseudolikelihood(
                kept,
                "factored",
                n_heads=n_heads,
                solver=replace(solver, gap_tolerance=LOOSE_GAP),
                **shared,
            )
        if found.interrupted:
            raise KeyboardInterrupt
        tried.append(n_heads)
        losses.append(sequence_losses(found, held_out))
        train_losses.append(found.train_loss)
        if progress is not None:
            progress(len(tried), len(tried) + 1)
        if len(tried) > 1 and weights @ losses[-1] > weights @ losses[-2]:
            break
        n_heads *= 2
    means = np.array([weights @ loss for loss in losses])
    best = int(np.argmin(means))
    differences = np.array(losses) - losses[best] - (means - means[best])[:, None]
    errors = np.sqrt(squared_error(differences, weights, held_out.effective_size))
    fit = fit_pseudolikelihood(dataset, "factored", n_heads=tried[best], solver=solver, **shared)
    choice = HeadsChoice(
        tried[best],
        best < len(tried) - 1,
        fit,
        np.array(tried),
        means,
        errors,
        np.array(train_losses),
        held_out.n_sequences,
    )
    config = fit.config | {"heads_path": choice.to_dict()}
    times: dict[str, Any] = {"seconds": watch.seconds, "compile_seconds": watch.compile_seconds}
    return replace(choice, fit=replace(fit, config=config, **times))
