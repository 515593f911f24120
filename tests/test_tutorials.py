"""The tutorial notebook runs, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import json
import re
import warnings
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
from numpy.testing import assert_allclose

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorials" / "how_many_sequences.ipynb"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def numbers(text: str) -> list[float]:
    return [float(found) for found in NUMBER.findall(text)]


@pytest.mark.slow
def test_the_notebook_prints_what_it_says(monkeypatch):
    """Recorded numbers come back; fits on another machine may move the last digit of four."""
    backend = matplotlib.get_backend()
    plt.switch_backend("Agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    namespace: dict[str, object] = {}
    n_compared = 0
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        recorded = "".join(
            "".join(output["text"])
            for output in cell["outputs"]
            if output["output_type"] == "stream"
        )
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), namespace)
        found = numbers(printed.getvalue())
        assert_allclose(found, numbers(recorded), rtol=5e-3, atol=6e-3)
        n_compared += len(found)
    plt.close("all")
    plt.switch_backend(backend)
    assert n_compared > 40
