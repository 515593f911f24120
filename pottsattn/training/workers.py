"""Several processes that train one network: who this one is, and what they tell each other.

Under `torchrun` every process draws the same batches and masks, works on its share of each batch,
and DistributedDataParallel averages the gradients, so that the result is that of one process but
for rounding. Without torchrun there is one worker, and nothing is sent.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits
from torch import distributed, nn

from pottsattn._core.machine import worker_rank
from pottsattn._core.validate import InputError, check_at_least

Anything = TypeVar("Anything")


@dataclass(frozen=True)
class Workers:
    """The processes of a training; `rank` is this one, 0 leads."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def share(self, items: Any) -> Any:
        """Return every `count`-th item of a sequence or array, from `rank` on."""
        return items[self.rank :: self.count]

    def add(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums over all processes."""
        if self.count == 1:
            return list(numbers)
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        total = torch.tensor(numbers, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return list(total.tolist())

    def add_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, tensor: torch.Tensor, dim: int = 0) -> torch.Tensor:
        """Return the tensors of all processes, of one shape, joined along `dim`.

        For losses of all of them that every process computes in full: the gradient of its own part
        is multiplied by the number of processes, over which `wrap` takes the mean.
        """
        if self.count == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        distributed.all_gather(parts, tensor.detach().contiguous())
        scaled = self.count * tensor
        parts[self.rank] = scaled - (scaled - tensor).detach()
        return torch.cat(parts, dim=dim)

    def from_leader(self, item: Anything) -> Anything:
        """Return what the leading process passed."""
        if self.count == 1:
            return item
        box = [item]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are averaged over the processes.

        Let go of it when the steps are over, while the processes are still joined: the last to hold
        their group waits in a destructor for threads of the group, which may wait for Python.
        """
        if self.count == 1:
            return module
        with warnings.catch_warnings():  # newer versions of torch have another name for it
            warnings.filterwarnings("ignore", ".*broadcast_buffers")
            return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


@contextmanager
def join_workers(device: torch.device) -> Iterator[Workers]:
    """Give the workers of this training; joined for its time if torchrun started them."""
    started_here = worker_rank() is not None and not distributed.is_initialized()
    if started_here:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # what the processes send each other is made on it
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        if distributed.is_available() and distributed.is_initialized():
            yield Workers(distributed.get_rank(), distributed.get_world_size())
        else:
            yield Workers()
    finally:
        if started_here:
            distributed.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """Return the torch device for "auto", "cpu" or "cuda"; InputError if there is no such one.

    Each process of torchrun gets a CUDA device of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device must be auto, cpu or cuda, got {name!r}")
    if device.type == "cpu":
        return device
    n_devices = torch.cuda.device_count()
    index = (worker_rank(local=True) or 0) if device.index is None else device.index
    if index >= n_devices:
        raise InputError(f"device is {name}, torch finds {n_devices or 'no'} CUDA devices; use cpu")
    return torch.device("cuda", index)


@contextmanager
def limit_threads(n_threads: int | None, n_workers: int) -> Iterator[None]:
    """Set the threads of torch; the kernels see to theirs, and BLAS keeps to one meanwhile."""
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(check_at_least("threads", n_threads, 1))
    elif n_workers > 1:
        torch.set_num_threads(max(1, before // n_workers))
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
