"""How the optimum of a pseudo-likelihood is searched, as the user says it. Free of numba."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.validate import check_at_least, check_choice, check_positive
from pottsattn._core.verdict import TOLERANCES

if TYPE_CHECKING:
    from pottsattn.model.couplings import Couplings


@dataclass(frozen=True, eq=False)
class Solver:
    """How the optimum is searched: from where, how far, in which precision.

    Parameters
    ----------
    gap_tolerance
        A site has converged when its objective is provably within this many nats of its minimum.
    gradient_tolerance
        Stop on the largest gradient entry instead; needed when a penalty is zero (then 1e-7).
    max_steps
        L-BFGS steps per site, or of all sites that are solved together; 1000 if left out, 10000
        with learned color similarity: a bound that is seldom met.
    precision
        "mixed": full blocks are solved in single precision as far as it goes, the rest and the
        verdict in double. "double": all in double precision.
    n_starts
        With learned color similarity the objective is not convex: the best of so many starts, the
        first from the pair covariances, the others random.
    initial
        (fields (L, C), couplings) to start from, such as those of another fit; couplings of another
        form are taken as near as the method can.

    Raises
    ------
    InputError
        A value out of range.
    """

    gap_tolerance: float = TOLERANCES.gap
    gradient_tolerance: float | None = None
    max_steps: int | None = None
    precision: str = "mixed"
    n_starts: int = 1
    initial: tuple[NDArray[np.float64], Couplings] | None = None

    def __post_init__(self) -> None:
        check_positive("gap_tolerance", self.gap_tolerance)
        if self.max_steps is not None:
            check_at_least("max_steps", self.max_steps, 1)
        check_choice("precision", self.precision, ("mixed", "double"))
        check_at_least("n_starts", self.n_starts, 1)
