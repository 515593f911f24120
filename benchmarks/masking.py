"""Masked modeling against its theory: the best mask fraction, and masks against none.

    python benchmarks/masking.py optimum              static masks: r* against r*/2 and beyond
    python benchmarks/masking.py advantage            many masks against none, each at its best
    python benchmarks/masking.py fits                 train_masked at K = 4 against theory
    python benchmarks/masking.py patterns --out DIR   K masks against theory, and two figures

Rows of SK-Potts models are fitted one by one by Newton's method in plain NumPy, without fields. All
settings of an instance see the same training, test and mask draws, so that differences between
them have small errors; errors are standard errors over instances. Losses are excesses over those
of the true model on the same test sequences. The theory is taken at the realized coupling scale of
each instance and at L / (L - 1) times alpha and ridge (a site has L - 1 neighbors).
"""

from __future__ import annotations

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from pottsattn import SequenceDataset, learning_curve, sample, train_masked
from pottsattn.figures.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    VERMILLION,
    new_figure,
    save_figure,
)
from pottsattn.fitting.masked.settings import AttentionConfig, Masking
from pottsattn.model.ensembles import sk_potts
from pottsattn.theory.closed_forms import best_static_mask_fraction
from pottsattn.theory.optimum import optimal_mask_fraction, optimal_ridge
from pottsattn.theory.result import LearningCurve
from pottsattn.training.recipe import Recipe

Array = NDArray[np.float64]

N_TEST = 4000
CASES = (  # C, J, alpha, r (None: the best), few and many masks, sites
    (3, 1.5, 2.0, None, 32, 96, 20),
    (3, 2.5, 1.0, None, 32, 96, 20),
    (2, 1.0, 4.0, None, 32, 96, 20),
    (3, 1.5, 4.0, 0.8, 8, 24, 10),
)


@dataclass(frozen=True)
class Setting:
    """One way to fit: `n_masks` patterns that hide sites with `mask_fraction`; 0 is no masks."""

    ridge: float
    mask_fraction: float = math.nan
    n_masks: int = 0

    @property
    def copy_weight(self) -> float:
        """The weight of a hidden copy: ridge = 2 alpha (1 - (1 - r)^K) couplings_l2."""
        share = 1.0 - (1.0 - self.mask_fraction) ** self.n_masks
        return share / (self.n_masks * self.mask_fraction)


def fit_row(inputs: Array, targets: NDArray[np.int64], weight: float, penalty: float) -> Array:
    """Minimize weight sum loss + penalty |w|^2 / 2; `inputs` (n, C, L - 1) are one-hot columns."""
    n_rows, n_states, n_sites = inputs.shape
    flat = inputs.reshape(-1, n_sites)
    truth = np.eye(n_states)[targets]

    def evaluate(row: Array) -> tuple[float, Array]:
        u = (flat @ row).reshape(n_rows, n_states)
        u -= u.max(axis=1, keepdims=True)
        p = np.exp(u)
        total = p.sum(axis=1, keepdims=True)
        loss = float((np.log(total[:, 0]) - u[np.arange(n_rows), targets]).sum())
        return weight * loss + 0.5 * penalty * float(row @ row), p / total

    row = np.zeros(n_sites)
    value, p = evaluate(row)
    for _ in range(100):
        gradient = weight * ((p - truth).reshape(-1) @ flat) + penalty * row
        if float(gradient @ gradient) < 1e-14 * penalty * max(value, 1.0):
            break
        scaled = np.sqrt(p).reshape(-1, 1) * flat
        mean = np.einsum("nc,ncj->nj", p, inputs)
        curvature = weight * (scaled.T @ scaled - mean.T @ mean)
        curvature[np.diag_indices(n_sites)] += penalty
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while True:
            trial, trial_p = evaluate(row - size * step)
            if trial <= value + 1e-12 * abs(value) or size < 1e-6:
                break
            size *= 0.5
        row, value, p = row - size * step, trial, trial_p
    else:
        raise SystemExit("a row did not converge in 100 Newton steps")
    return row


def mean_log_loss(inputs: Array, targets: NDArray[np.int64], row: Array) -> float:
    """Return the mean cross-entropy, in nats."""
    u = inputs @ row
    u -= u.max(axis=1, keepdims=True)
    return float((np.log(np.exp(u).sum(axis=1)) - u[np.arange(len(u)), targets]).mean())


def simulate(
    n_states: int,
    scale: float,
    length: int,
    alpha: float,
    settings: list[Setting],
    n_instances: int,
    n_sites: int,
) -> tuple[Array, Array]:
    """Return realized J, shape (n_instances,), and results, shape (n_instances, n_settings, 2).

    Results are the excess test loss and the coupling error, means over sites.
    """
    n_train = round(alpha * length)
    scales, results = np.empty(n_instances), np.zeros((n_instances, len(settings), 2))
    for instance in range(n_instances):
        rng = np.random.default_rng(instance)
        model = sk_potts(length, n_states, scale, rng)
        couplings = model.couplings.factors()[0][0]
        scales[instance] = math.sqrt((couplings**2).sum() / length)
        sequences = sample(model, n_train + N_TEST, rng=rng).dataset.sequences.astype(np.int64)
        train, test = np.split(sequences, [n_train])
        one_hot = np.eye(n_states)[train].transpose(0, 2, 1)  # (M, C, L)
        one_hot_test = np.eye(n_states)[test].transpose(0, 2, 1)
        most = max(setting.n_masks for setting in settings)
        draws = rng.random((most, n_train, length), dtype=np.float32)
        for site in rng.choice(length, n_sites, replace=False):
            others = np.delete(np.arange(length), site)
            inputs, inputs_test = one_hot[:, :, others], one_hot_test[:, :, others]
            teacher = couplings[site, others]
            bayes = mean_log_loss(inputs_test, test[:, site], teacher)
            for s, setting in enumerate(settings):
                penalty = setting.ridge * length
                if setting.n_masks == 0:
                    row = fit_row(inputs, train[:, site], 1.0, penalty)
                else:
                    hidden = draws[: setting.n_masks] < setting.mask_fraction
                    pattern, sequence = np.nonzero(hidden[:, :, site])
                    shown = ~hidden[pattern, sequence][:, None, others]
                    targets = train[sequence, site]
                    row = fit_row(inputs[sequence] * shown, targets, setting.copy_weight, penalty)
                results[instance, s, 0] += mean_log_loss(inputs_test, test[:, site], row) - bayes
                results[instance, s, 1] += ((row - teacher) ** 2).sum() / (teacher**2).sum()
    return scales, results / n_sites


def predict(n_states: int, scale: float, length: int, alpha: float, setting: Setting) -> Array:
    """Return the excess test loss and the coupling error, at the matched finite size."""
    finite = length / (length - 1)
    masks = {}
    if setting.n_masks > 0:
        masks = {"mask_fraction": setting.mask_fraction, "mask_mode": "static"}
        masks["masks"] = setting.n_masks
    curve = solved(
        learning_curve(n_states, scale, [alpha * finite], setting.ridge * finite, **masks)
    )
    return np.array([curve.test_loss[0] - curve.bayes_loss[0], curve.coupling_error[0]])


def solved(curve: LearningCurve) -> LearningCurve:
    """Return a curve; stop where it is not solved."""
    if not curve.converged.all():
        raise SystemExit(f"theory: {curve.message}")
    return curve


def mean_and_error(values: Array) -> tuple[float, float]:
    """Return mean and standard error over instances."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def check_optimum(n_states: int = 3, scale: float = 1.5, length: int = 100) -> bool:
    """Compare the loss at the predicted r* with those at r*/2 and min(3 r*/2, (1 + r*)/2)."""
    print(f"static masks, C = {n_states}, J = {scale}, L = {length}, 8 instances of 25 sites")
    print("excess test losses in nats, simulation (theory); differences to r*")
    found_all = True
    for alpha, ridge in [(8.0, 0.3), (16.0, 0.1), (32.0, 0.3)]:
        best = solved(optimal_mask_fraction(n_states, scale, [alpha], ridge, mask_mode="static"))
        r = round(float(best.mask_fraction[0]), 3)
        fractions = [r, 0.5 * r, min(1.5 * r, 0.5 * (1.0 + r))]
        settings = [Setting(ridge, fraction, 1) for fraction in fractions]
        scales, results = simulate(n_states, scale, length, alpha, settings, 8, 25)
        losses = results[:, :, 0]
        theory = np.array(
            [[predict(n_states, J, length, alpha, each)[0] for each in settings] for J in scales]
        )
        print(f"alpha {alpha:g}, ridge {ridge:g}:")
        for k, fraction in enumerate(fractions):
            mean, error = mean_and_error(losses[:, k])
            line = f"  r = {fraction:.3f}  {mean:.4f} +- {error:.4f} ({theory[:, k].mean():.4f})"
            if k > 0:
                mean, error = mean_and_error(losses[:, k] - losses[:, 0])
                predicted = (theory[:, k] - theory[:, 0]).mean()
                line += f"   r* + {mean:.4f} +- {error:.4f} ({predicted:.4f})"
                found_all &= mean > 3.0 * error
            print(line, flush=True)
    return found_all


def check_advantage(length: int = 80) -> bool:
    """Compare many masks with none, each at its best ridge in theory."""
    print(f"no masks less K masks, excess test loss in millinats, L = {length}, 12 instances;")
    print("simulation (theory); the limit is extrapolated in 1 / K from both K")
    holds = True
    for n_states, scale, alpha, fraction, few, many, n_sites in CASES:
        plain = solved(optimal_ridge(n_states, scale, [alpha]))
        if fraction is None:
            best = solved(optimal_mask_fraction(n_states, scale, [alpha]))
            fraction = float(best.mask_fraction[0])
        else:
            best = solved(optimal_ridge(n_states, scale, [alpha], mask_fraction=fraction))
        ridge = float(best.ridge[0])
        settings = [Setting(float(plain.ridge[0]))]
        settings += [Setting(ridge, fraction, n_masks) for n_masks in (few, many)]
        scales, results = simulate(n_states, scale, length, alpha, settings, 12, n_sites)
        losses = 1e3 * results[:, :, 0]
        theory = 1e3 * np.array(
            [[predict(n_states, J, length, alpha, each)[0] for each in settings] for J in scales]
        )
        print(
            f"C = {n_states}, J = {scale:g}, alpha = {alpha:g}: no masks at ridge "
            f"{settings[0].ridge:.3f}, {losses[:, 0].mean():.1f} ({theory[:, 0].mean():.1f}); "
            f"masks at r = {fraction:.3f}, ridge {ridge:.3f}"
        )
        found = {}
        for name, values in (("simulation", losses), ("theory", theory)):
            gains = values[:, :1] - values[:, 1:]
            limit = (many * gains[:, 1] - few * gains[:, 0]) / (many - few)
            found[name] = np.column_stack([gains, limit])
        for k, label in enumerate((f"K = {few}", f"K = {many}", "limit")):
            mean, error = mean_and_error(found["simulation"][:, k])
            predicted = found["theory"][:, k].mean()
            print(f"  {label:7} {mean:6.2f} +- {error:.2f} ({predicted:6.2f})", flush=True)
            holds &= abs(mean - predicted) < 5.0 * error
        infinite = 1e3 * float(plain.test_loss[0] - best.test_loss[0])
        print(f"  theory without extrapolation, at J: {infinite:.2f}")
    return holds


def check_fits(length: int = 80) -> bool:
    """Compare `train_masked` with 4 static masks per sequence with theory, all rows of 6 models."""
    n_states, scale, alpha, setting = 3, 1.5, 4, Setting(0.1, 0.3, 4)
    found, n_converged = [], 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        model = sk_potts(length, n_states, scale, rng)
        couplings = model.couplings.factors()[0][0]
        sequences = sample(model, alpha * length + N_TEST, rng=rng).dataset.sequences
        train, test = np.split(sequences, [alpha * length])
        fit = train_masked(
            SequenceDataset(train, n_states=n_states),
            AttentionConfig(fields="none"),
            ridge=setting.ridge,
            masking=Masking(
                masks=setting.n_masks, mask_fraction=setting.mask_fraction, mask_mode="static"
            ),
            recipe=Recipe(optimizer="lbfgs"),
            rng=seed,
            n_threads=1,
        )
        n_converged += fit.converged
        fitted = fit.couplings.factors()[0][0]
        inputs = np.eye(n_states)[test].transpose(0, 2, 1)
        targets = test.astype(np.int64)
        losses = [
            np.mean([mean_log_loss(inputs, targets[:, i], rows[i]) for i in range(length)])
            for rows in (fitted, couplings)
        ]
        error = ((fitted - couplings) ** 2).sum() / (couplings**2).sum()
        realized = math.sqrt((couplings**2).sum() / length)
        theory = predict(n_states, realized, length, alpha, setting)
        found.append((losses[0] - losses[1], theory[0], error, theory[1]))
    print(
        f"train_masked, 4 static masks, C = {n_states}, J = {scale}, alpha = {alpha}, L = {length}"
        f"; converged: {n_converged} of 6"
    )
    holds = n_converged == 6
    columns = np.array(found).T
    for name, observed, predicted in (
        ("excess test loss", *columns[:2]),
        ("coupling error", *columns[2:]),
    ):
        mean, error = mean_and_error(observed - predicted)
        print(
            f"{name}: {observed.mean():.4f} ({predicted.mean():.4f}), difference "
            f"{mean:+.4f} +- {error:.4f}"
        )
        holds &= abs(mean) < 5.0 * error
    return holds


def check_patterns(out: Path, length: int = 80) -> bool:
    """Compare K masks per sequence with theory over the mask fraction, and draw it."""
    n_states, scale, alpha, ridge = 3, 1.5, 4.0, 0.1
    fractions = (0.1, 0.3, 0.5, 0.7, 0.9)
    settings = [Setting(ridge)]
    settings += [Setting(ridge, r, n_masks) for n_masks in (1, 4, 16) for r in fractions]
    scales, results = simulate(n_states, scale, length, alpha, settings, 6, 15)
    theory = np.array(
        [[predict(n_states, J, length, alpha, each) for each in settings] for J in scales]
    )
    print(
        f"C = {n_states}, J = {scale}, alpha = {alpha:g}, ridge {ridge}, L = {length}, 6 x 15 sites"
    )
    print("   K    r  excess test loss (theory)        coupling error (theory)")
    losses, holds = [], True
    for s, setting in enumerate(settings):
        line = f"{setting.n_masks:4d} {setting.mask_fraction:4.1f}"
        for kind in (0, 1):
            mean, error = mean_and_error(results[:, s, kind])
            deviation, deviation_error = mean_and_error(results[:, s, kind] - theory[:, s, kind])
            line += f"  {mean:.4f} +- {deviation_error:.4f} ({theory[:, s, kind].mean():.4f})"
            holds &= abs(deviation) < 5.0 * deviation_error
            if kind == 0:
                losses.append((mean, error))
        print(line, flush=True)
    draw_patterns(settings, losses, n_states, scale, alpha, out / "patterns.png")
    draw_optima(n_states, scale, out / "optima.png")
    return holds


def draw_patterns(
    settings: list[Setting],
    losses: list[tuple[float, float]],
    n_states: int,
    scale: float,
    alpha: float,
    path: Path,
) -> None:
    """Draw excess test losses against the mask fraction: theory as lines, simulation as points."""
    (ax,) = new_figure()
    fractions = np.concatenate([np.linspace(0.04, 0.88, 15), np.linspace(0.9, 0.98, 9)])
    ridge = settings[0].ridge
    same = [alpha] * len(fractions)
    colors = {1: VERMILLION, 4: ORANGE, 16: GREEN, 0: BLUE}
    for n_masks, color in colors.items():
        masks = {"mask_mode": "static", "masks": n_masks} if n_masks else {}
        curve = solved(
            learning_curve(n_states, scale, same, ridge, mask_fraction=fractions, **masks)
        )
        label = f"K = {n_masks}" if n_masks else "fresh (K to infinity)"
        ax.plot(fractions, curve.test_loss - curve.bayes_loss, color=color, label=label)
    plain = solved(learning_curve(n_states, scale, [alpha], ridge))
    level = float(plain.test_loss[0] - plain.bayes_loss[0])
    ax.axhline(level, color=GRAY, linestyle="--", label="no masks")
    for setting, (mean, error) in zip(settings, losses, strict=True):
        if setting.n_masks:
            color = colors[setting.n_masks]
            ax.errorbar(setting.mask_fraction, mean, error, fmt="o", color=color, markersize=4)
    ax.set_xlabel("mask fraction r")
    ax.set_ylabel("excess test loss over the Bayes loss (nats per site)")
    ax.set_title(f"C = {n_states}, J = {scale}, alpha = {alpha:g}, ridge {ridge}", fontsize=10)
    ax.set_xlim(0.0, 1.0)
    ax.set_ylim(bottom=0.0)
    ax.legend(frameon=False, fontsize=9)
    save_figure(ax, path)


def draw_optima(n_states: int, scale: float, path: Path) -> None:
    """Draw the best mask fraction, the best ridge, and what masks save, against alpha."""
    axes = new_figure(3, width=4.2, height=3.8)
    alphas = np.logspace(0.0, 3.0, 13)
    curves = {
        "no": optimal_ridge(n_states, scale, alphas),
        "fresh": optimal_mask_fraction(n_states, scale, alphas),
        "static": optimal_mask_fraction(n_states, scale, alphas, mask_mode="static"),
    }
    colors = {"no": BLUE, "fresh": GREEN, "static": VERMILLION}
    excess = {label: curve.test_loss - curve.bayes_loss for label, curve in curves.items()}
    print("masks    alpha        r    ridge  test loss   excess converged")
    for label, curve in curves.items():
        if label != "no":
            axes[0].loglog(alphas, curve.mask_fraction, color=colors[label], label=f"{label} masks")
        axes[1].loglog(alphas, curve.ridge, color=colors[label], label=f"{label} masks")
        columns = (alphas, curve.mask_fraction, curve.ridge, curve.test_loss, excess[label])
        marks = np.where(curve.converged, "yes", "NO")
        for row in zip(*columns, marks, strict=True):
            print(f"{label:6} " + "{:7.1f} {:8.4f} {:8.4f} {:10.5f} {:8.5f} {:>9}".format(*row))
    law = best_static_mask_fraction(n_states, scale, alphas)
    axes[0].loglog(alphas[law < 1.0], law[law < 1.0], "--", color=GRAY, label="static, large alpha")
    saved = 100.0 * (1.0 - excess["fresh"] / excess["no"])
    axes[2].semilogx(alphas, saved, color=GREEN)
    axes[2].set_ylim(bottom=0.0)
    labels = ("best mask fraction r", "best ridge", "excess loss that fresh masks save (%)")
    for ax, label in zip(axes, labels, strict=True):
        ax.set_xlabel("alpha")
        ax.set_ylabel(label)
    axes[0].legend(frameon=False, fontsize=9)
    axes[1].legend(frameon=False, fontsize=9)
    save_figure(axes[0], path)


def main() -> None:
    """Run one check; exit with 1 where it fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("check", choices=("optimum", "advantage", "fits", "patterns"))
    parser.add_argument("--out", type=Path, default=Path("."), help="directory of the figures")
    arguments = parser.parse_args()
    start = time.perf_counter()
    if arguments.check == "optimum":
        holds = check_optimum()
    elif arguments.check == "advantage":
        holds = check_advantage()
    elif arguments.check == "fits":
        holds = check_fits()
    else:
        holds = check_patterns(arguments.out)
    verdict = "holds" if holds else "FAILS"
    print(f"{arguments.check}: {verdict} ({time.perf_counter() - start:.0f} s)")
    if not holds:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
