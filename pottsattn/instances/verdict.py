"""What the training of an encoder may be called.

Rates that fall to zero and a teacher that comes to a stand end a training whether its loss still
falls or not, and the loss of a student against its teacher has no optimum to be near. An encoder
counts as converged if it took all steps of its schedule, with finite numbers, and

1. the loss is below that of the start by more than its noise,
2. the vectors of different instances differ,
3. over the second half of the steps the loss fell by at most `STILL` of its whole fall. Rates add
   up to a fifth of all there, so that a training which has only begun falls by more.

More steps may still find more: that is for the probes to tell.
"""

from __future__ import annotations

import math

import numpy as np

from pottsattn._core.verdict import (
    Verdict,
    above_the_start,
    diverged_by,
    not_below_the_start,
)
from pottsattn.instances.result import EncoderHistory

STILL = 0.15  # 0.2 is the share of a loss that falls in proportion to the rates
ERRORS = 5.0  # of the scatter of ten entries, by which the loss is below that of the start
FEWEST_ENTRIES = 10  # of a loss


def judge(history: EncoderHistory, max_steps: int, *, is_over: bool, collapsed: bool) -> Verdict:
    """Return the verdict on a training that was not interrupted."""
    done, losses = int(history.steps[-1]), history.loss[1:]
    if is_over or not np.isfinite(losses).all():
        return diverged_by(done)
    if collapsed:
        spread = history.feature_std
        reason = (
            f"collapsed: all instances have nearly the same vector (feature spread "
            f"{spread[-1]:.3f}, {spread[0]:.3f} at the start)"
        )
        return Verdict(False, reason, "use norm batch or the loss infonce")
    if len(losses) < FEWEST_ENTRIES:
        reason = f"{max_steps} steps are too few to judge, at least {FEWEST_ENTRIES} are needed"
        return Verdict(False, reason, "raise the steps")
    half = len(losses) // 2
    at_start = float(losses[0])  # of the first entry alone: it falls fast at first
    middle = float(losses[half - 1 : half + 1].mean())
    last = float(losses[-(len(losses) // 5) :].mean())
    scatter = float(np.diff(losses[half:]).std()) / math.sqrt(2.0)
    whole = at_start - last
    if whole < -ERRORS * scatter:
        return above_the_start(last, at_start)
    if not whole > ERRORS * scatter:
        return not_below_the_start(last, at_start, scatter)
    share = (middle - last) / whole
    reason = (
        f"{max_steps} steps done; over the second half the loss fell by {100 * share:.2g} % of its "
        f"whole fall (at most {100 * STILL:g} %)"
    )
    return Verdict(share <= STILL, reason, "raise the steps")
