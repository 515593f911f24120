"""Compare the theory of H heads with fits to sampled sequences, and print a table.

    python benchmarks/heads.py [CASES] [INSTANCES]

CASES is "spans" (fixed color matrices, U = I), "learned" (learned ones), "lengths" (learned ones at
several sizes), "teachers" (other U) or "all". Losses are less those of the true model on the same
sequences, so that their noise drops out; theory is at the realized coupling scale, alpha L /
(L - 1) and ridge L / (L - 1). Differences are simulation - theory, mean and standard error over
instances. Fits of fixed color matrices are those of the replica setting: no fields, centered
inputs, every row on its own, by L-BFGS; learned color matrices are shared by all rows.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.optimize import minimize

from pottsattn import PottsModel, sample
from pottsattn.model.couplings import Couplings
from pottsattn.theory.colors.curve import heads_curve
from pottsattn.theory.colors.fields import mean_color_loss, zero_sum_directions
from pottsattn.theory.colors.solver import ColorSolver
from pottsattn.theory.colors.spans import orthogonal_basis, span_anisotropy
from pottsattn.theory.colors.student import ColorStudent
from pottsattn.theory.colors.teacher import color_spectrum
from pottsattn.theory.curve import learning_curve

LENGTH = 80
N_TEST = 3000
ALPHA = 2.0  # per head
RIDGE = 0.3  # per head
Z_LIMIT = 5.0  # standard errors that theory may miss the simulation by, beside 1 / L effects
SIZE_EFFECT = 0.01  # nats: what finite size may add to a loss difference (measured 0.002 to 0.005)
ENDED: list[bool] = []  # of the fits since the last row: whether the minimizer converged


def matrices(n_states: int) -> dict[str, np.ndarray]:
    """Return spans by name, as matrices (H, C, C)."""
    rng = np.random.default_rng(7)
    E = zero_sum_directions(n_states)
    n = n_states - 1
    P = E @ E.T
    units = np.einsum("ai,bj->ijab", E, E)
    shift = np.roll(np.eye(n_states), 1, axis=0)
    powers = np.array([np.linalg.matrix_power(shift, k) for k in range(n_states)])
    extra = rng.normal(size=(8, n_states, n_states))
    skew = np.array([units[i, j] - units[j, i] for i in range(n) for j in range(i)])
    spans = {f"random with P, H = {h}": np.concatenate([P[None], extra[: h - 1]]) for h in (3, 5)}
    return {
        "P": P[None],
        **spans,
        "all": units.reshape(-1, n_states, n_states),
        "symmetric": np.array([units[i, j] + units[j, i] for i in range(n) for j in range(i + 1)]),
        "diagonal in one basis": np.array([units[i, i] for i in range(n)]),
        "circulant": powers,
        "symmetric circulant": powers + powers.transpose(0, 2, 1),
        "P and one target direction": np.concatenate([P[None], units[0]]),
        "one direction": units[0, :1],
        "P + 0.3 noise": P[None] + 0.3 * extra[:1],
        "random without P, H = 3": extra[4:7],
        "antisymmetric": skew,
    }


def clock(n_states: int, amplitudes: tuple[float, ...]) -> np.ndarray:
    """Return U_ab = sum_k f_k cos(2 pi k (a - b) / C), scaled to |U|^2 = C - 1."""
    steps = np.subtract.outer(np.arange(n_states), np.arange(n_states)) * (2.0 * np.pi / n_states)
    U = sum(f * np.cos((k + 1) * steps) for k, f in enumerate(amplitudes))
    return U * np.sqrt((n_states - 1) / (U**2).sum())


def random_similarity(n_states: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random symmetric zero-sum U with |U|^2 = C - 1."""
    P = np.eye(n_states) - 1.0 / n_states
    U = rng.normal(size=(n_states, n_states))
    U = P @ (U + U.T) @ P
    return U * np.sqrt((n_states - 1) / (U**2).sum())


class Instance:
    """One true model A_ij U, its training sequences and its test sequences."""

    def __init__(
        self, U: np.ndarray, scale: float, n_train: int, seed: int, length: int = LENGTH
    ) -> None:
        rng = np.random.default_rng(seed)
        upper = np.triu(rng.normal(scale=scale / np.sqrt(length), size=(length, length)), 1)
        self.A, self.U = upper + upper.T, U
        model = PottsModel(np.zeros((length, len(U))), Couplings(self.A[None], U[None]))
        drawn = sample(model, n_train + N_TEST, rng=rng, n_threads=1).dataset.sequences
        drawn = rng.permutation(np.asarray(drawn))
        self.train, self.test = drawn[:n_train], drawn[n_train:]
        self.scale = float(np.sqrt((self.A**2).sum() / length))  # realized

    def truth_losses(self, n_train: int) -> tuple[float, float]:
        """Return the losses of the true model on the training and the test sequences."""
        J = np.einsum("ij,ab->jbia", self.A, self.U)
        return loss(J, self.train[:n_train]), loss(J, self.test)


def inputs(sequences: np.ndarray, n_states: int) -> np.ndarray:
    """Return centered one-hot inputs (M, L C)."""
    x = np.eye(n_states)[sequences] - 1.0 / n_states
    return x.reshape(len(sequences), -1)


def log_losses(J: np.ndarray, sequences: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean loss per site and its gradient in the logits; J is indexed [j, b, i, a]."""
    length, n_states = J.shape[:2]
    logits = inputs(sequences, n_states) @ J.reshape(length * n_states, -1)
    logits = logits.reshape(-1, length, n_states)
    logits -= logits.max(axis=2, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    hit = np.eye(n_states)[sequences]
    return -float((hit * log_p).sum()) / sequences.size, np.exp(log_p) - hit


def loss(J: np.ndarray, sequences: np.ndarray) -> float:
    """Return the mean loss per site, in nats."""
    return log_losses(J, sequences)[0]


def fit_fixed(B: np.ndarray, sequences: np.ndarray, ridge: float) -> np.ndarray:
    """Return couplings [j, b, i, a] of the fit with orthogonal color matrices B, |B_h|^2 = C - 1.

    The objective, summed over sequences and rows, has the penalty (ridge L / 2) sum |A^h_i|^2.
    """
    n_sequences, length = sequences.shape
    n_states = B.shape[1]
    x = inputs(sequences, n_states)
    strength = ridge * length / n_sequences
    others = ~np.eye(length, dtype=bool)[:, None, :]

    def couplings(parameters: np.ndarray) -> np.ndarray:
        A = parameters.reshape(length, len(B), length) * others
        return np.einsum("ihj,hab->jbia", A, B, optimize=True)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, miss = log_losses(couplings(parameters), sequences)
        G = (x.T @ miss.reshape(n_sequences, -1)).reshape(length, n_states, length, n_states)
        slope = np.einsum("jbia,hab->ihj", G, B, optimize=True) * others / n_sequences
        value = length * value + 0.5 * strength * float(parameters @ parameters)
        return value, slope.ravel() + strength * parameters

    start = np.zeros(length * len(B) * length)
    options = {"maxiter": 2000, "maxfun": 4000, "gtol": 1e-6, "ftol": 1e-12}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    ENDED.append(found.success)
    return couplings(found.x)


def fit_learned(start: np.ndarray, sequences: np.ndarray, ridge: float) -> tuple:
    """Return couplings, color matrices and objective of a fit that also learns B, from `start`.

    The penalty, summed over sequences, is (ridge L / 2) sum_ij |J_ij|^2 / (C - 1): the same.
    """
    n_sequences, length = sequences.shape
    n_heads, n_states, _ = start.shape
    x = inputs(sequences, n_states)
    strength = ridge * length / n_sequences / (n_states - 1)
    others = ~np.eye(length, dtype=bool)[:, None, :]
    E = zero_sum_directions(n_states)
    shape = (n_heads, n_states - 1, n_states - 1)

    def factors(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        A, b = np.split(parameters, [length * n_heads * length])
        return A.reshape(length, n_heads, length) * others, E @ b.reshape(shape) @ E.T

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        A, B = factors(parameters)
        J = np.einsum("ihj,hab->jbia", A, B, optimize=True)
        value, miss = log_losses(J, sequences)
        G = (x.T @ miss.reshape(n_sequences, -1)).reshape(J.shape) / n_sequences + strength * J
        slope_A = np.einsum("jbia,hab->ihj", G, B, optimize=True) * others
        slope_B = E.T @ np.einsum("jbia,ihj->hab", G, A, optimize=True) @ E
        value = length * value + 0.5 * strength * float((J**2).sum())
        return value, np.concatenate([slope_A.ravel(), slope_B.ravel()])

    J = fit_fixed(orthogonal(start), sequences, ridge)
    A = np.einsum("jbia,hab->ihj", J, orthogonal(start)) / (n_states - 1)
    first = np.concatenate([A.ravel(), (E.T @ orthogonal(start) @ E).ravel()])
    options = {"maxiter": 400, "maxfun": 800, "maxcor": 20, "gtol": 1e-5, "ftol": 1e-11}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    ENDED.append(found.success)
    A, B = factors(found.x)
    return np.einsum("ihj,hab->jbia", A, B, optimize=True), B, float(found.fun) / length


def measured(instance: Instance, J: np.ndarray, n_train: int) -> np.ndarray:
    """Return test loss and training loss less those of the truth, and the coupling error."""
    train_truth, test_truth = instance.truth_losses(n_train)
    truth = np.einsum("ij,ab->jbia", instance.A, zero_sum(instance.U))
    error = float(((J - truth) ** 2).sum() / (truth**2).sum())
    test, train = loss(J, instance.test), loss(J, instance.train[:n_train])
    return np.array([test - test_truth, train - train_truth, error])


def zero_sum(matrix: np.ndarray) -> np.ndarray:
    """Return P matrix P."""
    E = zero_sum_directions(len(matrix))
    return E @ E.T @ matrix @ E @ E.T


def predicted(B: np.ndarray, U: np.ndarray, scale: float, alpha: float, ridge: float) -> np.ndarray:
    """Return what `measured` does by theory."""
    curve = heads_curve(B, scale, [alpha], ridge, teacher_similarity=U)
    if not curve.converged.all():
        raise SystemExit(f"theory: {curve.message}")
    bayes = curve.bayes_loss
    return np.array([curve.test_loss - bayes, curve.train_loss - bayes, curve.coupling_error])[:, 0]


def predicted_anyway(
    B: np.ndarray, U: np.ndarray, scale: float, alpha: float, ridge: float
) -> np.ndarray:
    """Return the same for any symmetric U, also where `heads_curve` refuses it."""
    E = zero_sum_directions(len(U))
    spectrum = color_spectrum(zero_sum(U), scale)
    student = ColorStudent(
        alpha=alpha,
        ridge=ridge,
        color_matrices=orthogonal_basis(B),
        similarity=E.T @ U @ E,
        trace_weights=spectrum.weights,
        teacher=scale * np.sqrt(spectrum.weights),
        covariances=spectrum.covariances,
    )
    point = ColorSolver(student).solve(alpha, ridge)
    if point.problem:
        raise SystemExit(f"theory: {point.problem}")
    bayes = mean_color_loss(student.bayes_overlap, student.bayes_overlap)
    test = mean_color_loss(point.overlaps[0], point.overlaps[1])
    return np.array([test - bayes, point.train_loss - bayes, point.coupling_error])


def law(n_heads: int, n_states: int, scale: float, alpha: float, ridge: float) -> np.ndarray:
    """Return what `measured` does by the capacity law."""
    curve = learning_curve(n_states, scale, [alpha / n_heads], ridge / n_heads)
    if not curve.converged.all():
        raise SystemExit(f"theory: {curve.message}")
    bayes = curve.bayes_loss
    return np.array([curve.test_loss - bayes, curve.train_loss - bayes, curve.coupling_error])[:, 0]


def report(name: str, n_heads: int, simulation: list, theory: list, extra: str = "") -> bool:
    """Print one row; return whether theory and simulation agree."""
    found, expected = np.array(simulation), np.array(theory)
    difference = found - expected
    error = difference.std(axis=0, ddof=1) / np.sqrt(len(found))
    cells = [
        f"{found.mean(axis=0)[k]:8.4f} / {expected.mean(axis=0)[k]:7.4f} "
        f"({difference.mean(axis=0)[k]:+.4f} +- {error[k]:.4f})"
        for k in range(3)
    ]
    print(f"{name:28s} H = {n_heads}  " + "  ".join(cells) + extra + ended(), flush=True)
    return bool((np.abs(difference.mean(axis=0)[:2]) < Z_LIMIT * error[:2] + SIZE_EFFECT).all())


def ended() -> str:
    """Return how many of the fits since the last row converged."""
    text = f"  converged {sum(ENDED)} of {len(ENDED)}"
    ENDED.clear()
    return text


def realized(instance: Instance, alpha: float, ridge: float) -> tuple[float, float, float]:
    """Return the scale, alpha and ridge that the theory has at this size."""
    neighbors = LENGTH / (LENGTH - 1)
    return instance.scale, alpha * neighbors, ridge * neighbors


def compare_spans(n_instances: int) -> bool:
    """Fixed color matrices, U = I, C = 4, J = 2."""
    n_states, scale = 4, 2.0
    spans = {name: orthogonal(B) for name, B in matrices(n_states).items()}
    largest = round(max(len(B) for B in spans.values()) * ALPHA * LENGTH)
    U = np.eye(n_states)
    instances = [Instance(U, scale, largest, seed) for seed in range(n_instances)]
    print(f"spans: C = {n_states}, J = {scale}, alpha = {ALPHA} H, ridge = {RIDGE} H, L = {LENGTH}")
    good = True
    for name, B in spans.items():
        H = len(B)
        alpha, ridge = ALPHA * H, RIDGE * H
        n_train = round(alpha * LENGTH)
        simulation = [
            measured(one, fit_fixed(B, one.train[:n_train], ridge), n_train) for one in instances
        ]
        at = [realized(one, alpha, ridge) for one in instances]
        theory = [predicted(B, U, *values) for values in at]
        by_law = np.mean([law(H, n_states, *values) for values in at], axis=0)
        held = float((np.einsum("haa->h", B) ** 2).sum()) / (n_states - 1) ** 2
        defect = float(np.linalg.norm(span_anisotropy(B)))
        extra = f"  law {by_law[0]:.4f}  P held {held:.3f}  |Delta| {defect:.3f}"
        good &= report(name, H, simulation, theory, extra)
    return good


def compare_learned(n_instances: int) -> bool:
    """Learned color matrices, U = I, C = 4, J = 2; theory is the capacity law at H heads."""
    n_states, scale = 4, 2.0
    U = np.eye(n_states)
    cases = [(1, 2.0), (1, 8.0), (2, 2.0), (2, 8.0), (3, 2.0)]
    largest = round(max(H * alpha for H, alpha in cases) * LENGTH)
    instances = [Instance(U, scale, largest, seed) for seed in range(n_instances)]
    print(f"learned: C = {n_states}, J = {scale}, ridge = {RIDGE} H, L = {LENGTH}; theory: the law")
    good = True
    for H, per_head in cases:
        alpha, ridge = H * per_head, H * RIDGE
        n_train = round(alpha * LENGTH)
        simulation, theory, held, spreads, rival = [], [], [], [], []
        for seed, one in enumerate(instances):
            train = one.train[:n_train]
            rng = np.random.default_rng([seed, H])
            starts = rng.normal(size=(2, H, n_states, n_states))
            starts[0, 0] = U  # one start has the teacher, one is random
            fits = [fit_learned(start, train, ridge) for start in starts]
            J, B, _ = min(fits, key=lambda fit: fit[2])
            simulation.append(measured(one, J, n_train))
            theory.append(law(H, n_states, *realized(one, alpha, ridge)))
            projections = np.einsum("haa->h", orthogonal(B))
            held.append(float((projections**2).sum()) / (n_states - 1) ** 2)
            spreads.append(abs(fits[0][2] - fits[1][2]))
            fixed = fit_fixed(orthogonal(starts[0]), train, ridge)
            rival.append(measured(one, fixed, n_train))
        fixed_test, fixed_train, _ = np.mean(rival, axis=0)
        extra = (
            f"  P held {np.mean(held):.4f}  starts differ by {max(spreads):.0e}"
            f"  start kept fixed {fixed_test:.4f} {fixed_train:.4f}"
        )
        good &= report(f"alpha / H = {per_head:g}", H, simulation, theory, extra)
    return good


def compare_lengths(n_instances: int) -> bool:
    """What learning two color matrices changes at several sizes, from the span it starts at."""
    print(
        f"lengths: C = 4, J = 2, H = 2, alpha = {2 * ALPHA}, ridge = {2 * RIDGE}; learned - fixed"
    )
    U = np.eye(4)
    for length in (20, 40, 80):
        changes = []
        n_train = round(2 * ALPHA * length)
        for seed in range(n_instances):
            one = Instance(U, 2.0, n_train, seed, length)
            start = np.random.default_rng([seed, 2]).normal(size=(2, 4, 4))
            start[0] = U
            J, *_ = fit_learned(start, one.train, 2 * RIDGE)
            fixed = fit_fixed(orthogonal(start), one.train, 2 * RIDGE)
            changes.append(measured(one, J, n_train) - measured(one, fixed, n_train))
        mean = np.mean(changes, axis=0)
        error = np.std(changes, axis=0, ddof=1) / np.sqrt(n_instances)
        cells = [f"{mean[k]:+.4f} +- {error[k]:.4f}" for k in range(3)]
        print(f"L = {length:3d}  " + "  ".join(cells) + ended(), flush=True)
    return True


def compare_teachers(n_instances: int) -> bool:
    """Other teachers: clock-like ones, and a random U to which the theory does not apply."""
    print(f"teachers: C = 4, alpha = {ALPHA} H, ridge = {RIDGE} H, L = {LENGTH}")
    good = True
    identity = np.eye(4)
    for name, U in {
        "clock (1, 0)": clock(4, (1.0, 0.0)),
        "clock (1, 1)": clock(4, (1.0, 1.0)),
        "clock (1, -0.5)": clock(4, (1.0, -0.5)),
    }.items():
        instances = [Instance(U, 1.5, round(9 * ALPHA * LENGTH), s) for s in range(n_instances)]
        everything = matrices(4)["all"]
        for student, B in {
            "U": U[None],
            "U, I": np.array([U, identity]),
            "all": everything,
        }.items():
            basis = orthogonal(B)
            alpha, ridge = ALPHA * len(basis), RIDGE * len(basis)
            n_train = round(alpha * LENGTH)
            simulation = [
                measured(one, fit_fixed(basis, one.train[:n_train], ridge), n_train)
                for one in instances
            ]
            theory = [predicted(B, U, *realized(one, alpha, ridge)) for one in instances]
            good &= report(f"{name}: {student}", len(basis), simulation, theory)
    print("random symmetric U, student B = U: the theory does not apply (not checked)")
    for scale in (0.5, 1.0, 1.5, 2.0):
        simulation, theory, spread = [], [], []
        for seed in range(n_instances):
            U = random_similarity(4, np.random.default_rng([9, seed]))
            one = Instance(U, scale, round(ALPHA * LENGTH), seed)
            basis = orthogonal(U[None])
            n_train = len(one.train)
            simulation.append(measured(one, fit_fixed(basis, one.train, RIDGE), n_train))
            theory.append(predicted_anyway(U[None], U, *realized(one, ALPHA, RIDGE)))
            frequencies = np.array([(one.test == a).mean(axis=0) for a in range(4)])
            noise = 0.1875 / len(one.test)
            spread.append(frequencies.var(axis=1).mean() + frequencies.mean(axis=1).var() - noise)
        report(
            f"J = {scale:g}",
            1,
            simulation,
            theory,
            f"  marginals +- {np.sqrt(max(np.mean(spread), 0)):.4f}",
        )
    return good


def orthogonal(B: np.ndarray) -> np.ndarray:
    """Return an orthogonal basis, |B_h|^2 = C - 1, of the zero-sum parts, shape (H, C, C)."""
    E = zero_sum_directions(B.shape[-1])
    return E @ orthogonal_basis(B) @ E.T


CASES: dict[str, Callable[[int], bool]] = {
    "spans": compare_spans,
    "learned": compare_learned,
    "lengths": compare_lengths,
    "teachers": compare_teachers,
}


def main() -> None:
    """Run the cases named on the command line."""
    name = sys.argv[1] if len(sys.argv) > 1 else "all"
    n_instances = int(sys.argv[2]) if len(sys.argv) > 2 else 6
    print("simulation / theory (difference): test loss, training loss, coupling error")
    good = True
    for case in CASES if name == "all" else [name]:
        start = time.perf_counter()
        good &= CASES[case](n_instances)
        print(f"{case}: {time.perf_counter() - start:.0f} s")
    if not good:
        raise SystemExit("theory and simulation disagree")


if __name__ == "__main__":
    main()
