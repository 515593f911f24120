"""From M sequences `plan` predicts the held-out loss at 2 M within 3 %."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import fit_pseudolikelihood, sample
from pottsattn.analysis.comparison import compare
from pottsattn.model.ensembles import sk_potts
from pottsattn.studies.plan.run import plan

LENGTH, SIZE, N_TEST = 100, 400, 2000


@pytest.mark.parametrize("fields", ["none", "learned"])
def test_twice_the_sequences(fields):
    data = sample(sk_potts(LENGTH, 3, 1.5, 0), 3 * SIZE + N_TEST, rng=1, n_threads=1).dataset
    planned = plan(data.take(slice(0, SIZE)), fields=fields, n_threads=1)
    train, test = data.take(slice(SIZE, 3 * SIZE)), data.take(slice(3 * SIZE, None))
    for method in ("factored", "plm"):
        fit = fit_pseudolikelihood(train, method, ridge=0.2, fields=fields)
        measured = compare({method: fit}, test).fits[0].test_loss
        by_size = {point.n_sequences: point.test_loss for point in planned.method(method).points}
        assert by_size[2 * SIZE] == pytest.approx(measured, rel=0.03)
        # Without the gain from twice the sequences it would be missed.
        assert abs(by_size[SIZE] / measured - 1.0) > 0.03
        assert np.isfinite(planned.method(method).back_test)
