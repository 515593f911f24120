"""When a training is looked at, so that looking takes a fifth of its work at most.

Work is counted in sequences that pass the network; a step forward and back is three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

ENTRIES = 50  # of the history, evenly spaced in the logarithm of the step
EVALUATION_SHARE = 0.2  # of the work of the steps
SHORTEST_PERIOD = 50  # steps
SAMPLED = 2000  # training sequences on which a transformer is judged
FEWEST_PATTERNS, MOST_PATTERNS = 8, 1000  # of masks, by which an average over masks is judged


@dataclass(frozen=True)
class EvaluationCosts:
    """What a step, an entry of the history and a comparison of two networks cost.

    Attributes
    ----------
    step, entry, comparison : float
        Work; that of a comparison with the fewest patterns.
    pattern : float
        Of comparing on one pattern of masks more; 0 where none are drawn.
    """

    step: float
    entry: float
    comparison: float
    pattern: float = 0.0

    @property
    def first_period(self) -> int:
        """Steps before the first comparison."""
        fewest = self.comparison / (EVALUATION_SHARE * self.step)
        doublings = max(0, math.ceil(math.log2(max(1.0, fewest / SHORTEST_PERIOD))))
        return SHORTEST_PERIOD * 2**doublings

    def n_patterns(self, n_steps: int) -> int:
        """Return the patterns by which what `n_steps` have gained is judged."""
        wanted = EVALUATION_SHARE * self.step * n_steps / self.pattern if self.pattern else 1.0
        return int(min(MOST_PATTERNS, max(FEWEST_PATTERNS, wanted)))

    def entry_steps(self, max_steps: int, *, has_early_stop: bool) -> set[int]:
        """Return the steps after which the history gets an entry."""
        wanted = np.geomspace(1, max_steps, ENTRIES)
        if has_early_stop:  # half of them evenly spaced in the step
            wanted = np.append(wanted[::2], np.linspace(1, max_steps, ENTRIES // 2))
        apart = self.entry / (EVALUATION_SHARE * self.step)
        found, last = set(), 0
        for step in np.unique(wanted.round().astype(int)).tolist():
            if step - last >= apart:
                found.add(step)
                last = step
        return found
