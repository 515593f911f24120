"""Does masking alone find classes that no linear probe of the input can see? Print a table.

    python benchmarks/instances_gauge.py [PART]

PART is "main" (default: three seeds of one gauge mixture, and one seed below and one above the
temperature at which a color wins), "ablation" (one setting changed at a time, seed 0) or "spectrum"
(no training: what two halves of a sequence share). A seed decides mixture, data and training. Main
checks, for every seed at the main temperature, that the linear probe of the self-supervised
encoder exceeds those of the raw sequences and of the random encoder by the margins below.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from pottsattn.instances.encoder import Encoder, encode
from pottsattn.instances.mixtures import LabeledSequences, PottsMixture, gauge_mixture
from pottsattn.instances.probes import evaluate, nearest_neighbor_probe, raw_linear_probe
from pottsattn.instances.references import random_encoder, train_supervised
from pottsattn.instances.settings import EncoderConfig, HeadConfig, PretrainConfig, TrainingConfig
from pottsattn.instances.training import pretrain

N_CLASSES, LENGTH, N_STATES, DEGREE = 8, 40, 6, 12
BETA = 0.4
N_TRAIN, N_PROBE, N_TEST = 20_000, 4000, 2000
WIDTH = 64
ENCODER = EncoderConfig(n_tokens=LENGTH, n_states=N_STATES, width=WIDTH, layer_scale=1.0)
HEADS = HeadConfig(size=WIDTH)
TRAINING = PretrainConfig(
    max_steps=1200, loss="infonce", temperature=0.5, mask_fraction=0.5, masks=2
)
SUPERVISED = TrainingConfig(max_steps=400)
RAW_MARGIN, RANDOM_MARGIN = 0.3, 0.15


class Task:
    """One mixture with its data; every score is of the same test sequences."""

    def __init__(self, beta: float, seed: int) -> None:
        self.seed = seed
        self.mixture = gauge_mixture(
            N_CLASSES, LENGTH, N_STATES, degree=DEGREE, inverse_temperature=beta, rng=seed,
            n_threads=1,
        )  # fmt: skip
        self.train = self.mixture.draw(N_TRAIN, rng=1000 + seed, n_threads=1)
        self.judged = self.mixture.draw(N_PROBE + N_TEST, rng=2000 + seed, n_threads=1)
        self.test = LabeledSequences(self.judged.sequences[N_PROBE:], self.judged.labels[N_PROBE:])

    def raw(self) -> tuple[float, float]:
        """Return the accuracies of the linear and the neighbor probe of one-hot sequences."""
        x, y = self.judged.sequences, self.judged.labels
        linear = raw_linear_probe(x[:N_PROBE], y[:N_PROBE], x[N_PROBE:], y[N_PROBE:], N_STATES)
        z = one_hot(x)
        neighbors = nearest_neighbor_probe(z[:N_PROBE], y[:N_PROBE], z[N_PROBE:], y[N_PROBE:])
        return linear.value, neighbors.value

    def scores(self, encoder: Encoder) -> tuple[float, float, float]:
        """Return linear probe, nearest neighbors and feature spread."""
        x, _ = encode(encoder, torch.from_numpy(self.judged.sequences))
        found = evaluate(x, self.judged.labels, N_PROBE)
        return found.linear_probe, found.knn, found.feature_std

    def pretrained(
        self, encoder: EncoderConfig, heads: HeadConfig, config: PretrainConfig
    ) -> tuple[tuple[float, float, float], float, str]:
        """Return (scores, seconds, whether it converged) of a self-supervised encoder."""
        fit = pretrain(
            self.train.sequences, encoder, heads, config, rng=self.seed, device="cpu", n_threads=1
        )
        return self.scores(fit.encoder), fit.seconds, "yes" if fit.converged else "NO"


def one_hot(sequences: np.ndarray) -> np.ndarray:
    """Return (n, length * n_states), each site less its mean 1 / C."""
    return (np.eye(N_STATES)[sequences] - 1.0 / N_STATES).reshape(len(sequences), -1)


def spectrum(mixture: PottsMixture, sequences: np.ndarray) -> tuple[float, float]:
    """Return the K (C - 1)-th covariance eigenvalue of one-hot sequences, and the next one."""
    x = one_hot(sequences)
    values = np.linalg.eigvalsh(x.T @ x / len(x))[::-1]
    n_modes = mixture.n_classes * (mixture.n_states - 1)
    return float(values[n_modes - 1]), float(values[n_modes])


def leading_color(task: Task) -> float:
    """Return the mean share of the sites that have the most frequent color of the own class."""
    mixture, data = task.mixture, task.judged
    colors = mixture.relabelings[data.labels[:, None], np.arange(LENGTH), data.sequences]
    counts = [(colors == state).mean(axis=1) for state in range(N_STATES)]
    return float(np.max(counts, axis=0).mean())


def half_accuracy(task: Task) -> float:
    """Return how often the edges within a random half of the sites tell the class."""
    mixture, data = task.mixture, task.judged
    seen = np.zeros(LENGTH, bool)
    seen[np.random.default_rng(task.seed).permutation(LENGTH)[: LENGTH // 2]] = True
    edges = mixture.models[0].couplings.neighbor_lists().pairs()[0]
    i, j = edges[seen[edges].all(axis=1)].T
    agreeing = np.empty((len(data), mixture.n_classes))
    for label in range(mixture.n_classes):
        colors = mixture.relabelings[label][np.arange(LENGTH), data.sequences]
        agreeing[:, label] = (colors[:, i] == colors[:, j]).sum(axis=1)
    return float((agreeing.argmax(axis=1) == data.labels).mean())


def main_table() -> None:
    """Print the scores of all encoders, and check the margins."""
    print(
        "beta seed | raw lin  knn | random lin  knn | masked lin  knn  std converged | told lin | "
        "Bayes | s"
    )
    for beta, seed in ((BETA, 0), (BETA, 1), (BETA, 2), (0.35, 0), (0.45, 0)):
        task = Task(beta, seed)
        raw, raw_knn = task.raw()
        random = task.scores(random_encoder(ENCODER, seed))
        masked, seconds, done = task.pretrained(ENCODER, HEADS, TRAINING)
        told = train_supervised(
            task.train.sequences, task.train.labels, ENCODER, SUPERVISED, rng=seed, device="cpu",
            n_threads=1,
        )  # fmt: skip
        bayes = task.mixture.bayes_accuracy(task.test).value
        print(
            f"{beta:.2f} {seed:4} | {raw:.3f} {raw_knn:.3f} | {random[0]:.3f} {random[1]:.3f} | "
            f"{masked[0]:.3f} {masked[1]:.3f} {masked[2]:.2f} {done} | "
            f"{task.scores(told.encoder)[0]:.3f} "
            f"| {bayes:.3f} | {seconds:.0f}",
            flush=True,
        )
        if beta == BETA:
            assert masked[0] > raw + RAW_MARGIN
            assert masked[0] > random[0] + RANDOM_MARGIN


def ablation_table() -> None:
    """Print the scores with one setting changed at a time."""
    task = Task(BETA, 0)
    narrow = replace(ENCODER, width=32), replace(HEADS, size=32)
    cases = {
        "400 steps": (ENCODER, HEADS, replace(TRAINING, max_steps=400)),
        "width 32": (*narrow, TRAINING),
        "layer scale 0.1": (replace(ENCODER, layer_scale=0.1), HEADS, TRAINING),
        "nothing hidden": (ENCODER, HEADS, replace(TRAINING, mask_fraction=0.0, masks=1)),
        "byol": (ENCODER, HEADS, replace(TRAINING, loss="byol")),
    }
    print("changed | lin  knn  std | s | converged")
    for name, case in cases.items():
        scores, seconds, done = task.pretrained(*case)
        print(
            f"{name} | {scores[0]:.3f} {scores[1]:.3f} {scores[2]:.2f} | {seconds:.0f} | {done}",
            flush=True,
        )


def spectrum_table() -> None:
    """Print what decides whether two halves of a sequence share a color, by temperature."""
    print("beta | leading color | eigenvalue K(C-1), next | half of the edges | Bayes")
    for beta in (0.3, 0.35, 0.4, 0.45, 0.5):
        task = Task(beta, 0)
        inner, outer = spectrum(task.mixture, task.train.sequences)
        print(
            f"{beta:.2f} | {leading_color(task):.3f} | {inner:.3f} {outer:.3f} | "
            f"{half_accuracy(task):.3f} | {task.mixture.bayes_accuracy(task.judged).value:.3f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    started = time.perf_counter()
    parts = {"main": main_table, "ablation": ablation_table, "spectrum": spectrum_table}
    parts[sys.argv[1] if len(sys.argv) > 1 else "main"]()
    print(f"{time.perf_counter() - started:.0f} s")
