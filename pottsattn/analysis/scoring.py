"""What a fitted model says of sequences: scores, and all single mutants of one sequence.

Two scores, both in nats and larger for a more probable sequence:

    exponent               -H(s) of the symmetrized model, zero-sum gauge: log P(s) + log Z
    pseudo-log-likelihood  sum_i log P(s_i | s_-i) of the rows as the optimum left them

The exponent needs one block per pair of sites, so it takes (J_ij(a, b) + J_ji(b, a)) / 2, as
`sample --model` does; its mean over all C^L sequences is 0. The pseudo-log-likelihood is what was
fitted, and minus L times the loss of `comparison`. log Z is unknown but common to all sequences, so
differences of exponents are log-odds.

Reference: T. A. Hopf et al., Mutation effects predicted from sequence co-variation, Nat.
Biotechnol. 35, 128 (2017).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.display import one_line
from pottsattn._core.storage import write_csv
from pottsattn._core.validate import InputError, check_sequences
from pottsattn.data.alignment.placing import Sites
from pottsattn.data.dataset import SequenceDataset
from pottsattn.data.sites import on_sites_of
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.fitting.result import FitResult
from pottsattn.model.couplings import sequence_blocks
from pottsattn.model.potts import log_softmax, own_log_p

Array = NDArray[np.float64]
N_SHOWN = 5  # mutations at either end, in words


@one_line
@dataclass(frozen=True, eq=False)
class SequenceScores:
    """Scores of sequences, nats; the exponents of a transformer are NaN: it has no energy."""

    exponent: Array  # (n_sequences,), -H(s)
    pseudo_log_likelihood: Array  # (n_sequences,), sum over sites
    names: tuple[str, ...]  # empty if the sequences have none

    def rows(self) -> list[tuple[Any, ...]]:
        """Return (number from 1, name, exponent, pseudo_log_likelihood) of every sequence."""
        numbers = range(1, len(self.exponent) + 1)
        names = self.names or ("",) * len(self.exponent)
        scores = self.exponent.tolist(), self.pseudo_log_likelihood.tolist()
        return list(zip(numbers, names, *scores, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as lists, the JSON of `pottsattn energies`."""
        return {
            "n_sequences": len(self.exponent),
            "names": list(self.names) or None,
            "exponent": self.exponent,
            "pseudo_log_likelihood": self.pseudo_log_likelihood,
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write number, name, exponent and pseudo_log_likelihood of every sequence."""
        write_csv(path, ["number", "name", "exponent", "pseudo_log_likelihood"], self.rows())


@one_line
@dataclass(frozen=True, eq=False)
class MutationScan:
    """Changes of both scores by every single mutation, nats; 0 for the state of the wild type."""

    exponent_change: Array  # (L, C), log P(mutant) - log P(wild type)
    pseudo_log_likelihood_change: Array  # (L, C)
    wild_type: NDArray[np.uint8]  # (L,), states
    columns: NDArray[np.int32]  # (L,), original column numbers
    alphabet: str  # "" for plain integers

    @property
    def letters(self) -> list[str]:
        """Names of the states."""
        return list(self.alphabet) or [str(state) for state in range(self.n_states)]

    @property
    def n_states(self) -> int:
        """Number of states, C."""
        return self.exponent_change.shape[1]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `pottsattn mutations`."""
        letters = self.letters
        return {
            "wild_type": [letters[state] for state in self.wild_type],
            "states": letters,
            "columns": self.columns,
            "exponent_change": self.exponent_change,
            "pseudo_log_likelihood_change": self.pseudo_log_likelihood_change,
        }

    def __str__(self) -> str:
        """Return the mutations that the model likes most and least."""
        change = self.exponent_change.copy()
        change[np.arange(len(change)), self.wild_type] = np.nan
        order = np.argsort(change, axis=None)[: np.isfinite(change).sum()]  # NaN comes last
        letters = self.letters

        def shown(chosen: NDArray[np.intp]) -> str:
            places = (np.unravel_index(at, change.shape) for at in chosen)
            return ", ".join(
                f"{letters[self.wild_type[i]]}{self.columns[i]}{letters[a]} {change[i, a]:+.2f}"
                for i, a in places
            )

        n_better = int((change > 0.0).sum())
        return (
            f"{change.size - len(change)} mutations of {len(change)} sites, {n_better} raise -H; "
            "change of -H, in k_B T:\n"
            f"  largest   {shown(order[::-1][:N_SHOWN])}\n"
            f"  smallest  {shown(order[:N_SHOWN])}"
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per site and state; `is_wild_type` marks those that change nothing."""
        header = ["column", "wild_type", "mutant", "exponent_change"]
        header += ["pseudo_log_likelihood_change", "is_wild_type"]
        letters = self.letters
        rows = (
            (
                self.columns[site],
                letters[own],
                letters[state],
                self.exponent_change[site, state],
                self.pseudo_log_likelihood_change[site, state],
                state == own,
            )
            for site, own in enumerate(self.wild_type.tolist())
            for state in range(self.n_states)
        )
        write_csv(path, header, rows)


def score_sequences(fit: FitResult | NetworkFit, dataset: SequenceDataset) -> SequenceScores:
    """Return the scores of the sequences of a data set under a fit.

    Parameters
    ----------
    fit
        Of any method; a transformer has no exponent.
    dataset
        With the columns of the fit, or more of the same alignment; its weights do not matter. Where
        the fit ignores gaps, sequences with gaps have the pseudo-likelihood of their other sites
        and no exponent.

    Raises
    ------
    InputError
        Columns of the fit are missing, or letters that the fit does not know occur.

    Examples
    --------
    >>> score_sequences(fit, dataset).exponent.argmax()  # doctest: +SKIP
    """
    states = states_for(fit, fit.as_seen(dataset))
    likelihood = np.empty(len(states))
    for block in sequence_blocks(len(states), fit.length * fit.n_states):
        log_p = fit.log_conditionals(states[block])
        likelihood[block] = own_log_p(log_p, states[block]).sum(axis=1)
    exponent = np.full(len(states), np.nan)
    if isinstance(fit, FitResult):
        is_whole = (states < fit.n_states).all(axis=1)
        exponent[is_whole] = -fit.to_model().energy(states[is_whole])
    return SequenceScores(exponent, likelihood, dataset.names)


def scan_mutations(fit: FitResult, sequence: ArrayLike) -> MutationScan:
    """Return the changes of the scores of one sequence by all its single mutations.

    Parameters
    ----------
    fit
        With couplings.
    sequence : integers, shape (length,)
        States of the wild type; `states_of` makes them from letters.

    Raises
    ------
    InputError
        The sequence is not of the length or the states of the fit.
    """
    states = check_sequences(np.atleast_2d(np.asarray(sequence)), fit.n_states)
    if states.shape != (1, fit.length):
        raise InputError(
            f"the sequence must have shape ({fit.length},), got {np.shape(sequence)}; "
            "one sequence is scanned at a time"
        )
    # Given the other sites, log P(mutant) - log P(wild type) is that of the conditionals.
    log_p = fit.to_model().log_conditionals(states)[0]
    own = states[0].astype(np.intp)
    return MutationScan(
        exponent_change=log_p - log_p[np.arange(fit.length), own, None],
        pseudo_log_likelihood_change=_likelihood_changes(fit, own),
        wild_type=states[0],
        columns=_columns(fit),
        alphabet=fit.alphabet,
    )


def _likelihood_changes(fit: FitResult, own: NDArray[np.intp]) -> Array:
    """Return the change of sum_i log P(s_i | s_-i) by every mutation, shape (L, C).

    A mutation at k moves the logits of all other sites i by J_ik(., a) - J_ik(., s_k): the whole
    scan costs as much as reading the tensor of couplings once.
    """
    length, n_states = fit.fields.shape
    sites, seen = np.arange(length), fit.couplings.transposed()
    logits = fit.fields + fit.couplings.logits(own[None].astype(np.uint8))[0]  # (L, C)
    changes = np.empty((length, n_states))
    wild = log_softmax(logits)[sites, own].sum()
    for site in range(length):
        column = seen.row(site)  # (L, C, C): J_ik(b, a) at [i, a, b]
        moved = logits + (column - column[:, own[site], None]).transpose(1, 0, 2)  # (C, L, C)
        chosen = np.broadcast_to(own, (n_states, length)).copy()
        chosen[:, site] = np.arange(n_states)
        changes[site] = own_log_p(log_softmax(moved), chosen).sum(axis=1) - wild
        changes[site, own[site]] = 0.0  # not the rounding of two sums
    return changes


def states_for(fit: Sites, dataset: SequenceDataset) -> NDArray[np.uint8]:
    """Return the sequences of a data set in the columns and states of a fit, (M, L).

    Columns are found by what their numbers mean (`pottsattn.data.sites`), states by their letters.

    Raises
    ------
    InputError
        The columns are not those of the fit, or there are letters that it does not know.
    """
    found = on_sites_of(dataset, fit)
    return _translated(found.sequences, found.alphabet, fit)


def states_of(fit: FitResult | NetworkFit, letters: str) -> NDArray[np.uint8]:
    """Return the states of one aligned sequence, shape (length,).

    Parameters
    ----------
    fit
        Whose columns the sequence has.
    letters
        Letters of the alphabet of the fit, upper or lower case, `.` for a gap; for a fit to
        integers, these with commas in between.

    Raises
    ------
    InputError
        Another number of letters than the fit has columns, or letters that it does not know.
    """
    entries = list(letters.upper().replace(".", "-")) if fit.alphabet else letters.split(",")
    known = list(fit.alphabet) or [str(state) for state in range(fit.n_states)]
    unknown = [entry for entry in entries if entry not in known]
    if unknown:
        raise InputError(
            f"{unknown[0]!r} is no state of the fit, which knows {fit.alphabet or ', '.join(known)}"
        )
    if len(entries) != fit.length:
        raise InputError(
            f"the sequence has {len(entries)} letters, the fit {fit.length} columns; align it to "
            "those of the fit, with - for gaps"
        )
    return np.array([known.index(entry) for entry in entries], dtype=np.uint8)


def _columns(fit: FitResult | NetworkFit) -> NDArray[np.int32]:
    columns = np.arange(1, fit.length + 1) if fit.columns is None else fit.columns
    return columns.astype(np.int32)


def _translated(states: NDArray[np.uint8], alphabet: str, fit: Sites) -> NDArray[np.uint8]:
    """Return states of one alphabet as those of the fit."""
    used = np.unique(states)
    if fit.gap_policy == "ignored":
        used = used[used < fit.n_states]  # the number beyond the states is a gap
    if not fit.alphabet or not alphabet:
        unknown = [f"state {state}" for state in used if state >= fit.n_states]
    else:
        unknown = [f"letter {alphabet[a]!r}" for a in used if alphabet[a] not in fit.alphabet]
    if unknown:
        raise InputError(
            f"the data hold the {unknown[0]}, the fit knows "
            f"{fit.alphabet or f'0 to {fit.n_states - 1}'}"
        )
    if not fit.alphabet or not alphabet:
        return np.ascontiguousarray(states)
    found = [max(fit.alphabet.find(letter), 0) for letter in alphabet]
    table = np.array([*found, fit.n_states], dtype=np.uint8)
    return table[states]
