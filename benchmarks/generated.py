"""Do sequences sampled from fits to PF00014 have the statistics of the family?

Prints a table: one- and two-site agreement with the family, pair correlations without the gap,
and how many sequences have more than 15 gaps. Checks that two samples of one model agree as chance
says. Skipped where POTTSATTN_TEST_DATA is not set. Two minutes.

    POTTSATTN_TEST_DATA=... python benchmarks/generated.py
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pottsattn import Schedule, SequenceDataset, fit_pseudolikelihood, sample
from pottsattn.analysis.moments import compare_moments
from pottsattn.data.reading import read_dataset

N_SEQUENCES, MANY_GAPS = 6400, 15
FITS = (
    ("site by site", {"ridge": 0.2}),
    ("site by site", {"ridge": 0.02}),
    ("joint", {"ridge": 0.2, "symmetric": True}),
    ("joint", {"ridge": 0.02, "symmetric": True}),
)


def generated(fit, family: SequenceDataset, seed: int) -> tuple[SequenceDataset, float]:
    """Return sequences of the model of a fit, labeled as the family, and their split-R-hat."""
    result = sample(
        fit.to_model(), N_SEQUENCES, schedule=Schedule(thin_by=20), rng=seed, n_threads=1
    )
    sequences = SequenceDataset(
        result.dataset.sequences, family.n_states, alphabet=family.alphabet, columns=family.columns
    )
    return sequences, result.split_r_hat


def letters_only(family: SequenceDataset, other: SequenceDataset) -> tuple[float, float]:
    """Return Pearson and slope of the connected correlations between letters."""
    x, y = [], []
    for i in range(family.length - 1):
        for data, found in ((family, x), (other, y)):
            f = data.site_frequencies()
            c = data.pair_frequencies(i, first=i + 1) - f[i][None, :, None] * f[i + 1 :, None, :]
            found.append(c[:, 1:, 1:].ravel())
    first, second = np.concatenate(x), np.concatenate(y)
    return float(np.corrcoef(first, second)[0, 1]), float(np.polyfit(first, second, 1)[0])


def share_with_many_gaps(data: SequenceDataset) -> float:
    many = (data.sequences == 0).sum(axis=1) > MANY_GAPS
    return float(data.normalized_weights[many].sum())


def main() -> None:
    folder = os.environ.get("POTTSATTN_TEST_DATA")
    if not folder:
        print("PF00014: skipped, POTTSATTN_TEST_DATA is not set")
        return
    family = read_dataset(Path(folder) / "PF00014.fasta.gz", n_threads=1)
    print(f"family: {share_with_many_gaps(family):.3f} with more than {MANY_GAPS} gaps")
    head = f"{'fit':13} {'ridge':>6} {'R-hat':>6} {'f Pearson':>9} {'c Pearson':>9} {'c slope':>8}"
    print("every fit below converged, and its chains agree: else this stops")
    print(f"{head} {'no gap: Pearson':>15} {'slope':>6} {'many gaps':>9}")
    for number, (name, options) in enumerate(FITS):
        fit = fit_pseudolikelihood(family, "plm", n_threads=1, **options)
        assert fit.converged
        sequences, r_hat = generated(fit, family, seed=0)
        assert r_hat < 1.1
        if number == 0:
            again = compare_moments(sequences, generated(fit, family, seed=1)[0])
            for kind in (again.site, again.pair):
                ratio = kind.rms_difference / kind.expected_difference
                print(f"two samples: difference / expected {ratio:.3f}, Pearson {kind.pearson:.4f}")
                assert 0.8 < ratio < 1.25
        found = compare_moments(family, sequences)
        pearson, slope = letters_only(family, sequences)
        print(
            f"{name:13} {options['ridge']:6g} {r_hat:6.3f} {found.site.pearson:9.4f} "
            f"{found.pair.pearson:9.4f} {found.pair.slope:8.3f} {pearson:15.4f} {slope:6.3f} "
            f"{share_with_many_gaps(sequences):9.4f}"
        )


if __name__ == "__main__":
    main()
