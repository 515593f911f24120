"""The loop of every training, whatever is trained: steps, checkpoints, progress, Ctrl-C."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pottsattn._core.checkpoint import CheckpointFile, CheckpointLike
from pottsattn._core.display import Progress
from pottsattn._core.interrupts import came_too_late, interrupts_wait, understood
from pottsattn._core.stopwatch import Stopwatch

if TYPE_CHECKING:
    from pottsattn.training.workers import Workers


ELAPSED = "elapsed"  # key beside the state of a training: its seconds so far


class Steps(Protocol):
    """A training that can be stopped after any step and taken up again."""

    @property
    def done(self) -> int:
        """Steps taken."""

    @property
    def max_steps(self) -> int:
        """Steps after which it ends."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended before its last step."""

    def advance(self) -> None:
        """Take a step and record what is to be recorded of it."""

    def finish(self) -> None:
        """Record the end and judge it. A kill on the way goes on from the state of the end."""

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take the training up where `state` left it."""


@dataclass(frozen=True)
class Ended:
    """How the steps ended.

    Attributes
    ----------
    interrupted : bool
        Ctrl-C has left steps to be taken.
    message : str
        That in words, or "".
    resumed_from : int or None
        The step that an earlier, killed run had reached.
    earlier_seconds : float
        Wall time that this run and those before it took up to there, without compilation.
    """

    interrupted: bool
    message: str
    resumed_from: int | None
    earlier_seconds: float = field(default=0.0, compare=False)


def take_steps(
    training: Steps,
    checkpoint: CheckpointLike | None = None,
    facts: dict[str, Any] | None = None,
    *,
    progress: Progress | None = None,
    workers: Workers | None = None,
) -> Ended:
    """Take all steps that are left; Ctrl-C ends them and keeps what was learned.

    Parameters
    ----------
    training
        At its start; where there is a state in FILE.partial, it goes on from that.
    checkpoint
        The file that the result will be saved to. FILE.partial is removed once the training has
        finished, unless it was interrupted or is to be kept.
    facts
        What decides the result; a FILE.partial with other facts is refused.
    progress
        Called with (steps done, steps).
    workers
        The processes that train together, of which the leading one keeps the state.

    Raises
    ------
    KeyboardInterrupt
        Raised within a step, whose parameters and records no longer fit each other; or Ctrl-C has
        ended one of several processes. What counts is the last state on disk.
    InputError
        FILE.partial cannot be written or belongs to another training.
    """
    file = CheckpointFile.of(checkpoint) if workers is None or workers.leads else None
    stored = None if file is None else file.open(facts or {})
    is_finished, watch, earlier = False, Stopwatch(), 0.0

    def kept() -> dict[str, Any]:
        return {**training.state(), ELAPSED: earlier + watch.seconds}

    try:
        state = None if stored is None else stored.load()
        if workers is not None:
            state = workers.from_leader(state)
        if state is not None:
            earlier = state.pop(ELAPSED, 0.0)  # not in those of version 0.1.0
            training.restore(state)
        resumed_from = None if state is None else training.done
        is_whole, was_caught = True, False
        try:
            with interrupts_wait() as check_interrupt:
                while _has_steps(training):
                    is_whole = False
                    training.advance()
                    is_whole = True
                    if progress is not None:
                        progress(training.done, training.max_steps)
                    if stored is not None and stored.is_due:
                        stored.save(kept())
                    check_interrupt()
        except KeyboardInterrupt:
            if not is_whole or (workers is not None and workers.count > 1):
                raise
            understood()
            was_caught = True
        if stored is not None:
            stored.save(kept())  # what follows may be killed too
        training.finish()
        is_finished = not _has_steps(training)
    finally:
        if stored is not None and file is not None:
            stored.close(remove=is_finished and not file.keep)
    if is_finished and was_caught:
        came_too_late()
    if is_finished:
        return Ended(False, "", resumed_from, earlier)
    message = f"interrupted at step {training.done} of {training.max_steps}"
    remedy = "" if checkpoint is None else "; repeat the command to continue"
    return Ended(True, message + remedy, resumed_from, earlier)


def _has_steps(training: Steps) -> bool:
    return training.done < training.max_steps and not training.is_over
