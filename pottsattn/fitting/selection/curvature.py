"""The curvature of a row at its optimum: how it gives way when a sequence is left out.

The Hessian of site i is  H = sum_m w_m Phi_m^T K_m Phi_m + penalty,  K = diag(p) - p p^T, where
Phi_m (C, parameters) takes parameters to the logits of sequence m. Three things are read from it:

- the shift of the logits of a sequence if it had not been there,  V g  with its score g = p - e_s
  and V = w Phi H'^-1 Phi^T, H' the Hessian without it; w is about 1 / M_eff, and g has the scores
  of its relatives, since they leave together (`pottsattn.fitting.selection.relatives`);
- how the loss of one sequence, left out, changes by another one: scatter of left-out losses;
- diagonals of H^-1 and of H^-1 G H^-1, G the mean of g g^T terms: standard errors.

`FactoredCurvature` has the exact Hessian, of C + L unknowns, and V = v (1 - K v)^-1 of every
sequence from v = w Phi H^-1 Phi^T.

Full blocks have L C^2 unknowns. `FullCurvature` replaces H by (D' x Sigma) + penalty, with Sigma
the covariance of one-hot sequences and D' = E[K (1 + V K)^-1] the curvature that a new sequence
meets; then V is the same for all sequences, the response of the replica theory (there
Vhat = alpha E tr[K (1 + V K)^-1]). Only the sample covariance S is known, but for a curvature d

    V = v / (1 - d v)  at  d' = d (1 - d v),   v = w tr S (d S + penalty)^-1,

holds on both sides, so that D' and V are iterated to consistency in the eigenbasis of D'. The mean
of K alone instead of D' is off by tens of percent where a fit has more parameters than data. One
eigenproblem of S serves all sites and penalties; the site's own block is part of S, and v is scaled
by (L - 1) / L for it. Means take that V. The scatter over sequences takes the response of each one,
from its own v of the same mean: far ones give way more and lose more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

from pottsattn._core.validate import check_generator
from pottsattn.data.dataset import SequenceDataset
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.coordinates import FieldSplit
from pottsattn.fitting.selection.kernels_curvature import same_state_sums
from pottsattn.fitting.selection.relatives import leaving_weight
from pottsattn.fitting.selection.row_state import Influence, RowState

Array = NDArray[np.float64]
ROUNDING = 1e-12
MOST_DRAWN = 256  # sequences over which curvatures are averaged
MOST_JUDGED = 400  # sequences by which the scatter of left-out losses is judged
LEAST_LEFT = 0.05  # of 1 - d v: a sequence that decides its own loss alone
MOST_ROUNDS, ACCURACY = 30, 1e-3
HALVINGS, LARGEST_LOG_RATIO = 40, 12.0


class FactoredCurvature:
    """Exact curvature of rows of factored couplings with U = I; fields come first."""

    def __init__(self, dataset: SequenceDataset, *, learn_fields: bool) -> None:
        self.dataset = dataset
        self.n_fields = dataset.n_states * learn_fields
        self._weights = dataset.normalized_weights
        self.leaving = leaving_weight(dataset)
        self._leaving = self.leaving / dataset.effective_size
        self.judged, self.shares = draw(dataset, MOST_JUDGED)

    def _features(self, state: int, sequences: NDArray[np.uint8], site: int) -> Array:
        """Return the derivative of the logit of a state in all parameters, (n, C + L)."""
        seen = (sequences == state).astype(np.float64)
        seen[:, site] = 0.0
        if not self.n_fields:
            return seen
        own = np.zeros((len(sequences), self.n_fields))
        own[:, state] = 1.0
        return np.concatenate([own, seen], axis=1)

    def hessian(self, site: int, state: RowState, penalty: Penalty) -> Array:
        """Return the Hessian of the objective of a site, (C + L, C + L); A_ii has its penalty."""
        length, n_states = self.dataset.length, self.dataset.n_states
        weighted = state.p * self._weights[:, None]
        of_sites, of_states = np.zeros((length, length)), np.zeros((n_states, length))
        same_state_sums(self.dataset.sequences, weighted, of_sites, of_states)
        mean = np.take_along_axis(state.p, self.dataset.sequences.astype(np.intp), axis=1)  # p(s_j)
        of_sites -= mean.T @ (mean * self._weights[:, None])
        hessian = of_sites
        if self.n_fields:
            of_states -= weighted.T @ mean
            own = np.diag(weighted.sum(axis=0)) - weighted.T @ state.p
            hessian = np.block([[own, of_states], [of_states.T, of_sites]])
        at = self.n_fields + site
        hessian[at] = hessian[:, at] = 0.0
        squares = np.full(len(hessian), 2.0 * penalty.couplings_l2)
        squares[: self.n_fields] = 2.0 * penalty.fields_l2
        squares[at] = 1.0  # not a parameter
        hessian[np.diag_indices(len(hessian))] += squares + ROUNDING * hessian.trace()
        return hessian

    def shifts(
        self,
        site: int,
        state: RowState,
        penalty: Penalty,
        chosen: NDArray[np.intp],
        scores: Array,
    ) -> Array:
        """Return V g of the chosen sequences, shape (n, C), with g = `scores`."""
        _, responses, left = self._responses(site, state, penalty, chosen)
        solved = np.linalg.solve(left, scores[:, :, None])
        shift: Array = (responses @ solved)[:, :, 0]
        return shift

    def influence(self, site: int, state: RowState, penalty: Penalty) -> Influence:
        """Return what the sequences of `judged` do to each other."""
        moved, responses, left = self._responses(site, state, penalty, self.judged)
        solved = np.linalg.solve(left, state.score[self.judged][:, :, None])
        without = state.moved((responses @ solved)[:, :, 0], self.judged)
        scores = without.score[:, :, None]
        # The Hessian has both sequences; without them it gives way more.
        felt = (moved.transpose(0, 2, 1) @ np.linalg.solve(left, scores))[:, :, 0]
        pull = (moved.transpose(0, 2, 1) @ scores)[:, :, 0]
        return Influence(without, self._leaving * felt, pull)

    def _responses(
        self, site: int, state: RowState, penalty: Penalty, chosen: NDArray[np.intp]
    ) -> tuple[Array, Array, Array]:
        """Return Phi H^-1/2 (n, C, parameters), v (n, C, C) and 1 - K v (n, C, C)."""
        factor = np.linalg.cholesky(self.hessian(site, state, penalty))
        half = np.linalg.inv(factor).T
        sequences, n_states = self.dataset.sequences[chosen], self.dataset.n_states
        features = [self._features(a, sequences, site) @ half for a in range(n_states)]
        moved = np.stack(features, axis=1)
        responses = self._leaving * (moved @ moved.transpose(0, 2, 1))
        p = state.p[chosen][:, :, None]
        blocks = p * responses - p * (p.transpose(0, 2, 1) @ responses)  # K v
        return moved, responses, np.eye(n_states) - blocks

    def variances(
        self, site: int, state: RowState, penalty: Penalty, *, sandwich: bool
    ) -> tuple[Array, Array]:
        """Return squared standard errors of fields (C,) and interactions (L,)."""
        inverse = np.linalg.inv(self.hessian(site, state, penalty))
        if sandwich:
            sequences = self.dataset.sequences
            scores = np.zeros((len(sequences), len(inverse)))
            for a in range(self.dataset.n_states):
                scores += self._features(a, sequences, site) * state.score[:, a, None]
            scores -= self._weights @ scores
            inverse = inverse @ (scores.T @ (scores * self._weights[:, None])) @ inverse
        if self.n_fields:  # less the shift common to all states, that no data tell
            inverse[: self.n_fields, : self.n_fields] -= inverse[
                : self.n_fields, : self.n_fields
            ].mean(axis=0)
            own = inverse[: self.n_fields, : self.n_fields]
            own -= own.mean(axis=1, keepdims=True)
        squares = np.asarray(inverse.diagonal()) / self.dataset.effective_size
        fields, interactions = squares[: self.n_fields].copy(), squares[self.n_fields :].copy()
        interactions[site] = 0.0
        return fields, interactions


class FullCurvature:
    """Curvature of rows of full blocks, K_m replaced by its mean.

    In the coordinates of `coordinates`: total fields, and zero-sum blocks that see centered states.
    """

    def __init__(
        self, dataset: SequenceDataset, *, learn_fields: bool, with_modes: bool = False
    ) -> None:
        """Solve the eigenproblem of S; `with_modes`: for variances instead of left-out losses."""
        self.dataset, self.learn_fields = dataset, learn_fields
        self.frequencies = dataset.site_frequencies()
        length, n_states = self.frequencies.shape
        self._weights = dataset.normalized_weights
        self.leaving = leaving_weight(dataset)
        self._leaving = self.leaving / dataset.effective_size
        self._drawn = _drawn(self._weights)
        modes, self._eigenvalues = _principal_modes(dataset, self.frequencies)
        if not with_modes:
            self.judged, self.shares = draw(dataset, MOST_JUDGED)
            self._modes = modes
            self._places = _one_hot(dataset.sequences[self.judged], self.frequencies)
            self._projections = self._places @ modes
            return
        blocks = modes.reshape(length, n_states, -1)  # zero-sum within each, as the couplings are
        blocks -= blocks.mean(axis=1, keepdims=True)
        self._mode_squares = np.square(modes, out=modes)

    def _response(self, state: RowState, penalty: Penalty) -> tuple[Array, Array, Array]:
        """Return d (C - 1,), the basis of states (C, C - 1), and V (C - 1,) in it."""
        p, n_states = state.p[self._drawn], self.dataset.n_states
        basis = np.linalg.qr(np.eye(n_states) - 1.0 / n_states)[0][:, : n_states - 1]
        curvatures = (basis.T * p[:, None]) @ basis  # K in the zero-sum basis
        means = p @ basis
        curvatures -= means[:, :, None] * means[:, None, :]
        single = FieldSplit.of(penalty, self.frequencies, learn_fields=self.learn_fields).fields_l2
        mean, identity = curvatures.mean(axis=0), np.eye(n_states - 1)
        for _ in range(MOST_ROUNDS):
            values, vectors = np.linalg.eigh(mean)
            whole, responses = self._consistent(values, penalty.couplings_l2, single)
            response = (vectors * responses) @ vectors.T
            updated = (curvatures @ np.linalg.inv(identity + response @ curvatures)).mean(axis=0)
            change = np.abs(updated - mean).max()
            mean = (updated + updated.T) / 2.0
            if change < ACCURACY * values[-1]:
                break
        return whole, basis @ vectors, responses

    def _consistent(
        self, wanted: Array, couplings_l2: float, fields_l2: float
    ) -> tuple[Array, Array]:
        """Return d with d (1 - d v(d)) = d', by bisection in log d, and V = v / (1 - d v)."""
        wanted = np.maximum(wanted, ROUNDING)
        low, high = np.log(wanted), np.log(wanted) + LARGEST_LOG_RATIO
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            whole = np.exp(middle)
            is_low = whole * (1.0 - whole * self._leverage(whole, couplings_l2, fields_l2)) < wanted
            low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
        whole = np.exp((low + high) / 2.0)
        leverage = self._leverage(whole, couplings_l2, fields_l2)
        return whole, leverage / np.maximum(1.0 - whole * leverage, ROUNDING)

    def _leverage(self, whole: Array, couplings_l2: float, fields_l2: float) -> Array:
        """Return v (n,) for curvatures d (n,)."""
        length = self.dataset.length
        modes = self._eigenvalues
        stiffness = np.maximum(whole[:, None] * modes + 2.0 * couplings_l2, ROUNDING)
        total = (length - 1) / length * (modes / stiffness).sum(axis=1)
        total += 1.0 / np.maximum(whole + 2.0 * fields_l2, ROUNDING)
        leverage: Array = self._leaving * total
        return leverage

    def shifts(
        self,
        site: int,
        state: RowState,
        penalty: Penalty,
        chosen: NDArray[np.intp],
        scores: Array,
    ) -> Array:
        """Return V g of the chosen sequences, shape (n, C), with g = `scores`."""
        _, vectors, responses = self._response(state, penalty)
        shift: Array = scores @ vectors * responses @ vectors.T
        return shift

    def influence(self, site: int, state: RowState, penalty: Penalty) -> Influence:
        """Return what the sequences of `judged` do to each other."""
        whole, vectors, _ = self._response(state, penalty)
        split = FieldSplit.of(penalty, self.frequencies, learn_fields=self.learn_fields)
        length, n_states = self.frequencies.shape
        block = slice(site * n_states, (site + 1) * n_states)
        others = self._projections - self._places[:, block] @ self._modes[block]
        modes = self._eigenvalues
        given = 1.0 / np.maximum(np.outer(whole, modes) + 2.0 * penalty.couplings_l2, ROUNDING)
        of_fields = 1.0 / np.maximum(whole + 2.0 * split.fields_l2, ROUNDING)
        mean = self._leverage(whole, penalty.couplings_l2, split.fields_l2)
        own = others**2 @ given.T + of_fields
        own *= mean / (self.shares @ own)
        responses = own / np.maximum(1.0 - whole * own, LEAST_LEFT)
        scores = state.score[self.judged] @ vectors
        without = state.moved((scores * responses) @ vectors.T, self.judged)
        # Mean square of x R x' over pairs, R = (d S + penalty)^-1: that over all less the diagonal.
        squares = (length - 1) / length * ((modes * given) ** 2).sum(axis=1) + of_fields**2
        squares -= (mean / self._leaving) ** 2 / self.dataset.effective_size
        strengths = np.sqrt(np.maximum(squares, 0.0)) / np.maximum(1.0 - whole * mean, LEAST_LEFT)
        pull = without.score @ vectors
        return Influence(without, self._leaving * strengths * pull, pull)

    def variances(
        self, site: int, state: RowState, penalty: Penalty, *, sandwich: bool
    ) -> tuple[Array, Array]:
        """Return squared standard errors of total fields (C,) and zero-sum blocks (L, C, C)."""
        length, n_states = self.frequencies.shape
        values, vectors, _ = self._response(state, penalty)
        split = FieldSplit.of(penalty, self.frequencies, learn_fields=self.learn_fields)
        own = np.maximum(values + 2.0 * split.fields_l2, ROUNDING)
        mode_squares, modes = self._mode_squares, self._eigenvalues
        stiffness = np.outer(modes, values) + 2.0 * penalty.couplings_l2
        stiffness = np.maximum(stiffness, ROUNDING)
        if not sandwich:
            fields = vectors**2 @ (1.0 / own)
            blocks = (mode_squares @ (1.0 / stiffness)) @ (vectors**2).T
            # what no sequence tells keeps the variance of the penalty
            unseen = (1.0 - 1.0 / n_states) - mode_squares.sum(axis=1)
            prior = np.maximum(unseen, 0.0) / max(2.0 * penalty.couplings_l2, ROUNDING)
            blocks += np.outer(prior, (vectors**2).sum(axis=1))
        else:
            scores = (state.score * self._weights[:, None]).T @ state.score
            spread = vectors.T @ scores @ vectors
            fields = ((vectors / own) @ spread * (vectors / own)).sum(axis=1)
            blocks = np.zeros((length * n_states, n_states))
            for a in range(n_states - 1):
                pulls = modes[:, None] / (stiffness * stiffness[:, a, None])
                parts = mode_squares @ (pulls * spread[a])
                blocks += parts @ (vectors * vectors[:, a, None]).T
        rows = blocks.reshape(length, n_states, n_states).transpose(0, 2, 1).copy()  # [j, a, b]
        rows[site] = 0.0
        size = self.dataset.effective_size
        return fields / size, rows / size


def draw(dataset: SequenceDataset, most: int) -> tuple[NDArray[np.intp], Array]:
    """Return sequences of positive weight and their shares: all, or `most` drawn by weight."""
    weights = dataset.normalized_weights
    chosen = np.flatnonzero(weights > 0.0)
    if len(chosen) <= most:
        return chosen, weights[chosen]
    chosen = np.sort(check_generator(0).choice(len(weights), most, p=weights))
    return chosen, np.full(most, 1.0 / most)


def _drawn(weights: Array) -> NDArray[np.intp]:
    """Return sequences drawn by their weights, always the same."""
    rng = check_generator(0)
    return rng.choice(len(weights), MOST_DRAWN, p=weights)


def modes_shape(length: int, n_states: int, n_sequences: int) -> tuple[int, int]:
    """Return the shape of the eigenvectors of S, those of no weight among them."""
    return length * n_states, min(length * n_states, n_sequences)


def solving_bytes(length: int, n_states: int, n_sequences: int) -> int:
    """Return the bytes of the eigenproblem of S: the matrix, LAPACK's, and centered sequences.

    With those goes a copy of the matrix, scaled.
    """
    size, n_modes = modes_shape(length, n_states, n_sequences)
    centered = size * n_sequences + n_modes**2 if n_sequences < size else 0
    return 8 * (2 * n_modes**2 + centered)


def _principal_modes(dataset: SequenceDataset, frequencies: Array) -> tuple[Array, Array]:
    """Return the eigenvectors (L C, n) and eigenvalues (n,) of S that are not zero."""
    is_wide = dataset.n_sequences < frequencies.size
    centered = _centered(dataset, frequencies) if is_wide else None
    matrix = _covariance(dataset, frequencies) if centered is None else centered @ centered.T
    with threadpool_limits(limits=1, user_api="blas"):
        values, modes = eigh(matrix, overwrite_a=True, check_finite=False)
    kept = values > ROUNDING * values[-1]
    values, modes = values[kept], modes[:, kept]
    if centered is not None:
        modes = centered.T @ (modes / np.sqrt(values))
    return np.ascontiguousarray(modes), np.asarray(values, np.float64)


def _centered(dataset: SequenceDataset, frequencies: Array) -> Array:
    """Return centered one-hot sequences times the roots of their weights, (M, L C)."""
    centered = _one_hot(dataset.sequences, frequencies)
    centered *= np.sqrt(dataset.normalized_weights)[:, None]
    return centered


def _one_hot(sequences: NDArray[np.uint8], frequencies: Array) -> Array:
    """Return centered one-hot sequences, (n, L C)."""
    length, n_states = frequencies.shape
    centered = np.zeros((len(sequences), frequencies.size))
    np.put_along_axis(centered, np.arange(length) * n_states + sequences, 1.0, axis=1)
    centered -= frequencies.ravel()
    return centered


def _covariance(dataset: SequenceDataset, frequencies: Array) -> Array:
    """Return S, the covariance of one-hot sequences, (L C, L C)."""
    length, n_states = frequencies.shape
    covariance = np.empty((frequencies.size, frequencies.size))
    for i in range(length):
        pairs = dataset.pair_frequencies(i)  # (L, a, b)
        pairs -= frequencies[i][None, :, None] * frequencies[:, None, :]
        rows = slice(i * n_states, (i + 1) * n_states)
        covariance[rows] = pairs.transpose(1, 0, 2).reshape(n_states, frequencies.size)
    return covariance
