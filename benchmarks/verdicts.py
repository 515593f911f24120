"""Is what is called converged what it is said to be: 200 fits, judged by other means.

    python benchmarks/verdicts.py            # some minutes on one core
    python benchmarks/verdicts.py --quick    # one seed of each

- convex: pseudo-likelihood and attention with U = I (all one-site masks, mini-batches of random
  ones, masks of a fraction, drawn or kept), over ridges and learning rates. The optimum is found
  independently: the objective written out here in float64, masks that are drawn averaged over all
  their patterns, minimized by SciPy. A fit that is called converged must be within the distance
  that it states.
- infinity: sequences that are separable, states that never occur. None may be called converged, and
  each must be named.
- others: learned color similarity, softmax, transformers. Made once more with twice the steps,
  which must not gain more than stated in 95 % of them.

Fits that did not converge are counted and listed. Exit status 1 if anything is not as stated.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from pottsattn import ConvergenceWarning, SequenceDataset, fit_pseudolikelihood, sample
from pottsattn._core.verdict import TOLERANCES
from pottsattn.data.resampling import split
from pottsattn.fitting.losses import sequence_losses
from pottsattn.fitting.masked.averaging import Doubling
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.masked.masking import BoundMasking
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.penalty import Penalty, Ridge
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.settling import Settling
from pottsattn.model.ensembles import sk_potts
from pottsattn.training.recipe import Recipe

LENGTH, N_STATES, N_SEQUENCES = 5, 3, 150
RIDGES = (0.01, 0.2, 3.0)
FRACTION = 0.3
ROUNDING = 1e-8  # nats per site: of single precision, in which random trainings end
WANTED = 0.95
MASKINGS = {
    "attention": Masking(),
    "attention, Adam": Masking(),
    "attention, mini-batches": Masking(2),
    "attention, masks drawn": Masking(4, FRACTION),
    "attention, masks kept": Masking(2, FRACTION, "static"),
}
RECIPES = {
    "attention, Adam": Recipe("adam"),
    "attention, mini-batches": Recipe("adam", batch_size=50),
    "attention, masks drawn": Recipe("adam"),
}


@dataclass
class Count:
    """Fits of one kind."""

    n_fits: int = 0
    n_converged: int = 0
    n_wrong: int = 0
    worst: float = 0.0
    seconds: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed of each")
    seeds = range(1 if parser.parse_args().quick else 6)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # every verdict is in the table
    print(f"seeds {seeds.start} to {seeds.stop - 1}; L {LENGTH}, C {N_STATES}, M {N_SEQUENCES}")
    counts: dict[str, Count] = {}
    for kind, name, judge in itertools.chain(convex(seeds), infinite(seeds), others(seeds[:2])):
        started = time.perf_counter()
        count = counts.setdefault(f"{kind}: {name}", Count())
        converged, is_wrong, share, text = judge()
        count.n_fits += 1
        count.n_converged += converged
        count.n_wrong += is_wrong
        count.worst = max(count.worst, share)
        count.seconds += time.perf_counter() - started
        if is_wrong or (kind != "infinity" and not converged):
            print(f"  {'WRONG' if is_wrong else 'not converged'}: {kind}, {name}: {text}")
    print(f"\n{'kind':44}{'fits':>6}{'converged':>11}{'wrong':>7}{'of stated':>11}{'seconds':>9}")
    for name, count in counts.items():
        print(
            f"{name:44}{count.n_fits:6}{count.n_converged:11}{count.n_wrong:7}{count.worst:11.2g}"
            f"{count.seconds:9.1f}"
        )
    total = sum(count.n_fits for count in counts.values())
    exact = sum(c.n_wrong for name, c in counts.items() if not name.startswith("others"))
    rest = [c for name, c in counts.items() if name.startswith("others")]
    n_others, n_wrong = sum(c.n_converged for c in rest), sum(c.n_wrong for c in rest)
    print(f"{total} fits; of stated: the largest distance or gain, as a share of what was stated")
    print(f"convex and infinity: {exact} wrong; others: {n_wrong} of {n_others} converged ones")
    return int(exact > 0 or n_wrong > (1.0 - WANTED) * n_others)


Judged = tuple[bool, bool, float, str]  # converged, wrong, share of what is stated, text
Case = tuple[str, str, Callable[[], Judged]]


def convex(seeds: range) -> Iterator[Case]:
    """Yield fits with an optimum that can be found otherwise."""
    for seed, ridge in itertools.product(seeds, RIDGES):
        data = drawn(seed)
        for name in ("plm", "factored", *MASKINGS):
            yield (
                "convex",
                name,
                lambda d=data, n=name, r=ridge, s=seed: against_optimum(d, n, r, s),
            )
    for seed, rate in itertools.product(seeds[:2], (1e-8, 1e-4, 1e-2, 1.0)):
        for name in ("attention, Adam", "attention, masks drawn"):
            data, recipe = drawn(seed), Recipe("adam", 3000, learning_rate=rate)
            yield (
                "convex",
                f"{name}, rate {rate:g}",
                lambda d=data, n=name, s=seed, r=recipe: against_optimum(d, n, 0.2, s, r),
            )


def against_optimum(
    data: SequenceDataset, name: str, ridge: float, seed: int, recipe: Recipe | None = None
) -> Judged:
    """Fit, and judge the objective by that of the optimum."""
    if name in ("plm", "factored"):
        fit = fit_pseudolikelihood(data, name, ridge=ridge, n_threads=1)
    else:
        fit = train_masked(
            data,
            ridge=ridge,
            masking=MASKINGS[name],
            recipe=recipe or RECIPES.get(name),
            rng=seed,
            n_threads=1,
        )
    objective = Reference(data, fit, MASKINGS.get(name, Masking()), seed)
    above = (objective.value_of(fit) - objective.minimum()) / LENGTH
    stated = fit.optimality_gap + ROUNDING
    is_wrong = fit.converged and not above <= stated
    text = f"{above:.1e} above the optimum, stated {stated:.1e}; ridge {ridge:g}: {fit.message}"
    return fit.converged, is_wrong, above / stated if fit.converged else 0.0, text


class Reference:
    """The objective of a fit in float64, in all parameters as one vector."""

    def __init__(self, data: SequenceDataset, fit: FitResult, masking: Masking, seed: int) -> None:
        self.penalty, self.is_full = fit.penalty, fit.method == "plm"
        self.sequences = torch.from_numpy(data.sequences.astype(np.int64))
        one_hot = torch.nn.functional.one_hot(self.sequences, N_STATES).double()
        every = torch.eye(LENGTH, dtype=torch.bool)[:, None].expand(-1, data.n_sequences, -1)
        if masking.mask_fraction is None:
            self.hidden, self.weights = every, torch.full((LENGTH,), 1.0 / LENGTH).double()
        elif masking.mask_mode == "fresh":
            patterns = np.array(list(itertools.product((False, True), repeat=LENGTH)))
            n_hidden = patterns.sum(axis=1)
            shares = FRACTION**n_hidden * (1.0 - FRACTION) ** (LENGTH - n_hidden)
            self.hidden = torch.from_numpy(patterns)[:, None].expand(-1, data.n_sequences, -1)
            self.weights = torch.from_numpy(shares) / (FRACTION * LENGTH)
        else:  # the very masks of the training
            bound = BoundMasking(
                **vars(masking),
                length=LENGTH,
                n_states=N_STATES,
                seed=int(np.random.default_rng(seed).integers(2**63)),
            )
            numbers = np.arange(data.n_sequences)
            batch = bound.batch(numbers, data.sequences, torch.ones(data.n_sequences), 0)
            assert batch.predicted is not None
            hidden = batch.predicted.reshape(data.n_sequences, -1, LENGTH).transpose(0, 1)
            self.hidden = hidden
            n_patterns = len(hidden)
            share = data.n_sequences / float(hidden.sum())
            self.weights = torch.full((n_patterns,), share).double()
        self.visible = ~self.hidden
        self.one_hot = one_hot
        self.off_diagonal = ~torch.eye(LENGTH, dtype=torch.bool)
        self.n_couplings = LENGTH**2 * (N_STATES**2 if self.is_full else 1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the objective, summed over sites."""
        fields = x[: LENGTH * N_STATES].reshape(LENGTH, N_STATES)
        rest = x[LENGTH * N_STATES :]
        if self.is_full:
            blocks = rest.reshape(LENGTH, LENGTH, N_STATES, N_STATES)
            blocks = blocks * self.off_diagonal[:, :, None, None]
            penalty = self.penalty.couplings_l2 * (blocks**2).sum()
        else:
            rows = rest.reshape(LENGTH, LENGTH) * self.off_diagonal
            blocks = rows[:, :, None, None] * torch.eye(N_STATES, dtype=torch.float64)
            penalty = self.penalty.couplings_l2 * (rows**2).sum()
        seen = self.visible[..., None] * self.one_hot  # (patterns, M, L, C)
        logits = fields + torch.einsum("ijab,kmjb->kmia", blocks, seen)
        log_z = torch.logsumexp(logits, dim=-1)
        losses = log_z - (logits * self.one_hot).sum(dim=-1)
        of_patterns = (losses * self.hidden).sum(dim=2).mean(dim=1)
        loss = LENGTH * (self.weights * of_patterns).sum()
        return loss + penalty + self.penalty.fields_l2 * (fields**2).sum()

    def value_of(self, fit: FitResult) -> float:
        """Return the objective of a fit."""
        couplings = fit.couplings.to_dense() if self.is_full else fit.couplings.factors()[0][0]
        x = np.concatenate([fit.fields.ravel(), np.asarray(couplings).ravel()])
        return float(self(torch.from_numpy(x)))

    def minimum(self) -> float:
        """Return the least objective."""

        def evaluate(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            point = torch.from_numpy(x.copy()).requires_grad_()
            value = self(point)
            value.backward()  # type: ignore[no-untyped-call]
            assert point.grad is not None
            return float(value.detach()), point.grad.numpy()

        start = np.zeros(LENGTH * N_STATES + self.n_couplings)
        limits = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 0.0, "gtol": 1e-9, "maxcor": 40}
        found = minimize(evaluate, start, jac=True, method="L-BFGS-B", options=limits)
        strength = min(self.penalty.couplings_l2, self.penalty.fields_l2)
        assert float(found.jac @ found.jac) / (4.0 * strength) < 1e-9 * LENGTH, found.message
        return float(found.fun)


def infinite(seeds: range) -> Iterator[Case]:
    """Yield fits whose optimum is at infinity."""
    for seed, fields in itertools.product(seeds[:3], ("none", "learned")):
        rng = np.random.default_rng(seed)
        sequences = rng.integers(N_STATES, size=(N_SEQUENCES, LENGTH), dtype=np.uint8)
        sequences[:, 0] = sequences[:, 1]
        data, free = SequenceDataset(sequences, N_STATES), Penalty(0.0, 0.0)
        for name, fit in unpenalized(data, free, seed, fields):
            yield "infinity", f"separable, {name}", lambda fit=fit: is_named(fit())
    for seed in seeds[:3]:
        data = SequenceDataset(drawn(seed).sequences, N_STATES + 1)
        for name, fit in unpenalized(data, Penalty(0.01, 0.0), seed, "learned"):
            yield "infinity", f"a state is missing, {name}", lambda fit=fit: is_named(fit())


def unpenalized(
    data: SequenceDataset, penalty: Penalty, seed: int, fields: str
) -> Iterator[tuple[str, Callable[[], FitResult]]]:
    """Yield the ways to fit data under a penalty that is too little."""
    shared: dict[str, Any] = {"penalty": penalty, "n_threads": 1}
    for method in ("plm", "factored"):
        yield method, lambda m=method: fit_pseudolikelihood(data, m, fields=fields, **shared)
    config = AttentionConfig(fields=fields)
    recipes = {"attention": None, "attention, Adam": Recipe("adam", 2000)}
    for name, recipe in recipes.items():
        yield name, lambda r=recipe: train_masked(data, config, recipe=r, rng=seed, **shared)


def is_named(fit: FitResult) -> Judged:
    """Judge a fit whose optimum is at infinity."""
    is_wrong = fit.converged or "at infinity" not in fit.message
    return fit.converged, is_wrong, 0.0, fit.message


def others(seeds: range) -> Iterator[Case]:
    """Yield fits where no optimum is known."""
    for seed, ridge in itertools.product(seeds, (0.2, 3.0)):
        data = drawn(seed)
        for n_heads in (1, 3):
            for attention in ("free", "softmax"):
                config = AttentionConfig(n_heads, attention, color_similarity="learned")
                yield (
                    "others",
                    f"{attention} attention, {n_heads} heads",
                    lambda d=data, c=config, r=ridge, s=seed: twice_full(
                        lambda: train_masked(d, c, ridge=r, rng=s, n_threads=1)
                    ),
                )
            yield (
                "others",
                f"factored, {n_heads} heads",
                lambda d=data, n=n_heads, r=ridge: twice_full(
                    lambda: fit_pseudolikelihood(
                        d, "factored", n_heads=n, color_similarity="learned", ridge=r, n_threads=1
                    )
                ),
            )
        two = AttentionConfig(2, color_similarity="learned")
        yield (
            "others",
            "free attention, 2 heads, masks drawn",
            lambda d=data, r=ridge, s=seed, c=two: twice_random(
                d, lambda: c, s, Masking(4, FRACTION), r
            ),
        )
    for seed in seeds:
        for name, masking in {"": Masking(1), ", masks drawn": Masking(1, FRACTION)}.items():
            yield (
                "others",
                f"transformer{name}",
                lambda s=seed, m=masking: twice_held_out(drawn(s, 1000), s, m),
            )
    for seed in seeds[:2]:
        yield (
            "others",
            "transformer, nothing held out",
            lambda s=seed: twice_random(
                drawn(s, 1000), lambda: transformer(s), s, Masking(1), None
            ),
        )


def twice_full(fit: Callable[[], FitResult]) -> Judged:
    """Fit by steps on all data, and once more with twice the steps."""
    rule = Settling.is_met.fget
    assert rule is not None
    taken: list[int] = [0]

    def counted(settling: Settling) -> bool:
        taken[0] = len(settling.state()) - 3
        return bool(rule(settling))

    with mock.patch.object(Settling, "is_met", property(counted)):
        first = fit()
    end = 2 * taken[0]

    def later(settling: Settling) -> bool:
        n_steps = len(settling.state()) - 3
        return n_steps >= end or (n_steps < end // 2 and bool(rule(settling)))

    if not first.converged:
        return False, False, 0.0, first.message
    with mock.patch.object(Settling, "is_met", property(later)):
        gain = (first.objective - fit().objective) / LENGTH
    return True, gain > 1e-5, gain / 1e-5, f"twice the steps gain {gain:.1e}; {first.message}"


def twice_random(
    data: SequenceDataset,
    network: Callable[[], Any],
    seed: int,
    masking: Masking,
    ridge: float | None,
) -> Judged:
    """Train by random steps, and once more with twice the steps: what is told then has happened."""

    def train(recipe: Recipe) -> Any:
        penalty = None if ridge is None else Ridge(ridge)
        return train_masked(
            data,
            network(),
            penalty=penalty,
            masking=masking,
            recipe=recipe,
            rng=seed,
            n_threads=1,
        )

    first = train(Recipe("adam", stop_early=False))
    if not first.converged:
        return False, False, 0.0, first.message
    errors = re.findall(r"± (\S+) nats|standard error of the loss is ([^\s;]+)", first.message)
    most = max([1e-5, *(float(of_gain or of_loss) for of_gain, of_loss in errors)])
    with mock.patch.object(Doubling, "is_still", property(lambda _: False)):
        longer = train(Recipe("adam", 2 * first.n_evaluations, stop_early=False))
    found = re.search(r"steps would gain about (\S+)", longer.message)
    assert found is not None
    gain = float(found.group(1))
    return True, gain > most, gain / most, f"twice the steps gain {gain:.1e}; {first.message}"


def twice_held_out(data: SequenceDataset, seed: int, masking: Masking) -> Judged:
    """Train a transformer until held-out sequences end it, and once more with twice the steps."""
    kept, held_out = split(data, 0.1, rng=seed)

    def train(recipe: Recipe) -> Any:
        shared: dict[str, Any] = {"masking": masking, "validation": held_out, "n_threads": 1}
        return train_masked(kept, transformer(seed), recipe=recipe, rng=seed, **shared)

    first = train(Recipe(stop_early=True))
    if not first.converged:
        return False, False, 0.0, first.message
    losses = sequence_losses(first, held_out)
    error = losses.std(ddof=1) / np.sqrt(len(losses))
    most = min(0.5 * error, TOLERANCES.network_fall)
    with mock.patch.object(Doubling, "is_still", property(lambda _: False)):
        longer = train(Recipe("adam", 2 * first.n_evaluations, stop_early=False))
    least = [np.nanmin(fit.history.validation_loss) for fit in (first, longer)]
    gain = float(least[0] - least[1])
    return True, gain > most, gain / most, f"twice the steps gain {gain:.1e}; {first.message}"


def drawn(seed: int, n_sequences: int = N_SEQUENCES) -> SequenceDataset:
    """Return equilibrium sequences of a random model."""
    return sample(sk_potts(LENGTH, N_STATES, 1.0, rng=seed), n_sequences, rng=seed).dataset


def transformer(seed: int) -> MaskedTransformer:
    generator = torch.Generator().manual_seed(seed)
    return MaskedTransformer(LENGTH, N_STATES, width=16, generator=generator)


if __name__ == "__main__":
    sys.exit(main())
