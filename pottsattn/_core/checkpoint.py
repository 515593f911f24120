"""FILE.partial of a training: the last state, from which a killed run goes on to the same bits.

A state is a tree of dictionaries, lists, numbers, text and arrays. It is written whole beside the
last one and takes its place; nothing is pickled.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pottsattn._core.interrupts import interrupts_wait
from pottsattn._core.partial import PartialFile
from pottsattn._core.validate import check_nonnegative

SHARE = 0.05  # of the time that may go into writing


@dataclass(frozen=True)
class CheckpointFile:
    """Where and how often the state of a training is kept, where a path does not say enough.

    Parameters
    ----------
    path
        Of the file that the result will be saved to; the state is in FILE.partial.
    seconds
        Between two writings, at least.
    keep
        Leave FILE.partial to the caller, who removes it once the result is on disk.
    """

    path: str | os.PathLike[str]
    seconds: float = 10.0
    keep: bool = False

    def __post_init__(self) -> None:
        check_nonnegative("seconds", self.seconds)

    @classmethod
    def of(cls, checkpoint: CheckpointLike | None) -> CheckpointFile | None:
        """Return what the argument `checkpoint` of a training means."""
        if checkpoint is None or isinstance(checkpoint, CheckpointFile):
            return checkpoint
        return cls(checkpoint)

    @property
    def partial(self) -> Path:
        """The file of the state."""
        return Path(f"{os.fspath(self.path)}.partial")

    def open(self, config: dict[str, Any]) -> Checkpoint:
        """Return the state on disk, of a training that `config` decides."""
        return Checkpoint(Path(self.path), config, self.seconds)


CheckpointLike = str | os.PathLike[str] | CheckpointFile


class Checkpoint:
    """The state of one training on disk, opened by `CheckpointFile.open`.

    Parameters
    ----------
    path
        Of the file that the training will write; the state is in FILE.partial.
    config
        What decides the result; a FILE.partial of another configuration is refused.
    every
        Seconds between two writings, at least.

    Raises
    ------
    InputError
        As `PartialFile`.
    """

    def __init__(self, path: Path, config: dict[str, Any], every: float) -> None:
        self.path, self._spare = Path(f"{path}.partial"), Path(f"{path}.partial.next")
        self._file = PartialFile(self.path, config)
        self._every, self._written, self._took = every, time.monotonic(), 0.0

    def load(self) -> Any:
        """Return the stored state, or None."""
        arrays = self._file.last()
        if arrays is None:
            return None
        return _grown(json.loads(arrays["tree"].tobytes()), arrays)

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        waited = time.monotonic() - self._written
        return waited >= max(self._every, self._took / SHARE)

    def save(self, state: Any) -> None:
        """Put `state` in the place of the last one. A kill on the way leaves that one."""
        started = time.monotonic()
        arrays: dict[str, Any] = {}
        tree = json.dumps(_cut(state, arrays))
        with interrupts_wait():
            self._spare.unlink(missing_ok=True)
            other = PartialFile(self._spare, self._file.config)
            try:
                other.append({"tree": np.frombuffer(tree.encode(), np.uint8), **arrays})
            except BaseException:
                other.close(remove=True)
                raise
            self._file.replace_by(other)
        self._written = time.monotonic()
        self._took = self._written - started

    def close(self, *, remove: bool = False) -> None:
        """Close the file, and remove it if told so or if it holds no state."""
        self._spare.unlink(missing_ok=True)  # of a run that was killed while it wrote
        self._file.close(remove=remove or len(self._file) == 0)


def _cut(item: Any, arrays: dict[str, Any]) -> Any:
    """Return a tree without arrays, which go into `arrays`; numbers stand for them."""
    if _is_tensor(item):
        return _kept("tensor", item.detach().cpu().numpy(), arrays)
    if isinstance(item, np.ndarray):
        return _kept("array", item, arrays)
    if isinstance(item, dict):
        return {"dict": [[_cut(key, arrays), _cut(value, arrays)] for key, value in item.items()]}
    if isinstance(item, (list, tuple)):
        return {type(item).__name__: [_cut(value, arrays) for value in item]}
    return item  # JSON writes numbers so that they are read as the same bits


def _is_tensor(item: Any) -> bool:
    """Without loading torch: what has none needs none."""
    return "torch" in sys.modules and isinstance(item, sys.modules["torch"].Tensor)


def _kept(kind: str, array: Any, arrays: dict[str, Any]) -> dict[str, str]:
    name = str(len(arrays))
    arrays[name] = array
    return {kind: name}


def _grown(tree: Any, arrays: dict[str, Any]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, item),) = tree.items()
    if kind == "tensor":
        import torch

        return torch.from_numpy(arrays[item].copy())
    if kind == "array":
        return arrays[item].copy()
    if kind == "dict":
        return {_grown(key, arrays): _grown(value, arrays) for key, value in item}
    values = [_grown(value, arrays) for value in item]
    return tuple(values) if kind == "tuple" else values
