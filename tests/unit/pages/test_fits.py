"""The page of fits to an alignment."""

from __future__ import annotations

import numpy as np
import pytest

from pottsattn import SequenceDataset, fit_pseudolikelihood
from pottsattn.cli.main import main


@pytest.fixture
def fits(tmp_path, rng):
    data = SequenceDataset(rng.integers(3, size=(200, 12)).astype(np.uint8), 3)
    paths = []
    for method in ("plm", "factored"):
        path = tmp_path / f"{method}.h5"
        fit_pseudolikelihood(data, method, ridge=1.0).save(path)
        paths.append(str(path))
    return paths


def test_a_page_of_fits_has_their_ends_and_maps(fits, tmp_path):
    out = tmp_path / "page.html"
    assert main(["report", *fits, "--out", str(out)]) == 0
    page = out.read_text()
    assert page.count("data:image/png") == 2
    assert page.count("<td>converged</td>") == 2
    for path in fits:
        assert page.count(path) >= 2


def test_with_distances_it_has_precisions(fits, tmp_path, capsys):
    distances = tmp_path / "distances.dat"
    rows = [(i, j, 5.0 if j - i == 7 else 20.0) for i in range(1, 13) for j in range(i + 1, 13)]
    np.savetxt(distances, rows, fmt="%g")
    out = tmp_path / "page.html"
    assert main(["report", *fits, "--distances", str(distances), "--out", str(out)]) == 0
    page = out.read_text()
    assert page.count("data:image/png") == 3  # precision by rank, two maps
    assert "<th>2L</th>" in page
    assert main(["report", fits[0], "--distances", "none.dat", "--out", str(out)]) == 1
    assert "none.dat" in capsys.readouterr().err
