"""Small positive definite systems inside compiled loops, where LAPACK costs more than it does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.threads import njit

Array = NDArray[np.float64]


@njit
def eliminate(matrix: Array, right: Array, n: int, n_right: int) -> None:
    """Solve matrix X = right in place; the matrix is positive definite, so no pivoting."""
    for a in range(n):
        for b in range(a + 1, n):
            factor = matrix[b, a] / matrix[a, a]
            # What is below the diagonal stays as it was: nothing reads it again.
            for c in range(a + 1, n):
                matrix[b, c] -= factor * matrix[a, c]
            for c in range(n_right):
                right[b, c] -= factor * right[a, c]
    for a in range(n - 1, -1, -1):
        for c in range(n_right):
            for b in range(a + 1, n):
                right[a, c] -= matrix[a, b] * right[b, c]
            right[a, c] /= matrix[a, a]
