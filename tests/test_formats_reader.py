"""The reader of docs/formats.md, which uses h5py only, reads fits of every kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pottsattn.data.reading import read_dataset
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood

FORMATS = Path(__file__).parents[1] / "docs" / "formats.md"
ALIGNMENT = Path(__file__).parent / "data" / "plmc_tiny.fasta"
BLOCKS = re.findall(r"```python\n(.*?)```", FORMATS.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("method", ["plm", "factored", "mf"])
def test_reader_of_the_documentation_runs(method, tmp_path, monkeypatch):
    data = read_dataset(ALIGNMENT)
    fit = fit_mean_field(data) if method == "mf" else fit_pseudolikelihood(data, method)
    fit.save(tmp_path / "factored.h5")
    data.save(tmp_path / "test.h5")
    monkeypatch.chdir(tmp_path)
    reader = BLOCKS[0]
    assert "pottsattn" not in reader
    assert reader.count("\n") < 16
    namespace: dict[str, object] = {}
    for block in BLOCKS[:2]:  # the reader, and its comparison with the package
        exec(compile(block, str(FORMATS), "exec"), namespace)
    assert "log_p" in namespace
