"""The masked loss of a network on a batch, on its own and with the penalty.

Losses are sums of weight times -log P over the predicted sites of a batch; the weights make them
means over masked sites, nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.gathered_loss import (
    gathered_loss,
    gathering_bytes,
    gathers,
    is_faster,
)
from pottsattn.fitting.masked.masking import MaskedBatch
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.penalty import Penalty
from pottsattn.training.workers import Workers

Network = FactoredAttention | MaskedTransformer
EVALUATION_BATCH = 4096  # sequences


def masked_losses(network: nn.Module, sequences: Tensor) -> Tensor:
    """Return -log P(s_i | s_-i) for every one-site mask, nats, shape (n_sequences, length).

    The mean over sites is the exact masked-modeling loss, equal to the pseudo-likelihood per site
    for every value of the parameters (docs/theory.md).
    """
    return _losses(network(sequences), sequences)


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    chosen = logits.gather(-1, targets.long()[..., None])[..., 0]
    return torch.logsumexp(logits, dim=-1) - chosen


class Objective(nn.Module):
    """L times the masked loss plus the penalty, and the loss alone, of one batch.

    A module, so that DistributedDataParallel can wrap it.

    Parameters
    ----------
    network
        What is trained.
    penalty
        That of factored attention; a transformer has none.
    n_threads
        Threads of the kernels on the CPU.
    in_half
        Whether products are in bfloat16 (autocast).
    """

    def __init__(
        self, network: Network, penalty: Penalty, n_threads: int, *, in_half: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.penalty, self.n_threads, self.in_half = penalty, n_threads, in_half

    def forward(self, batch: MaskedBatch, share: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return (objective, loss), with `share` of the penalty: its other parts are elsewhere."""
        device = batch.context.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.in_half):
            loss = self.loss(batch)
        objective = batch.context.shape[1] * loss
        return objective + share * self.penalty_term(), loss.detach()

    def loss(self, batch: MaskedBatch) -> Tensor:
        """Return the sum over rows and predicted sites of weight times -log P."""
        network = self.network
        if isinstance(network, MaskedTransformer):
            if batch.one_site:
                return _one_by_one(network, batch)
        elif gathers(network, batch):
            return gathered_loss(network, batch, self.n_threads)
        mask = None if batch.one_site else batch.context == network.n_states
        losses = _losses(network(batch.context, mask), batch.targets)
        if batch.predicted is not None:
            losses = losses * batch.predicted
        return (batch.weights[:, None] * losses).sum()

    def penalty_term(self) -> Tensor:
        """Return the penalty, summed over sites."""
        network = self.network
        if isinstance(network, MaskedTransformer):
            return torch.zeros((), device=network.readout.weight.device)
        total = self.penalty.couplings_l2 * network.penalty()
        if network.learns_fields:
            total = total + self.penalty.fields_l2 * (network.fields**2).sum()
        return total


def training_bytes(network: Network, n_sequences: int, batch_size: int, n_threads: int) -> int:
    """Return the bytes of steps and evaluations on a CPU, in single precision, one site masked."""
    if isinstance(network, MaskedTransformer):
        return network.activation_bytes(min(n_sequences, batch_size))

    def of_batch(n_rows: int) -> int:
        if is_faster(network, n_rows, n_rows * network.length):
            return gathering_bytes(network, n_rows, n_threads)
        return network.activation_bytes(n_rows)

    step = math.ceil(n_sequences / math.ceil(n_sequences / batch_size))
    return max(of_batch(n_rows) for n_rows in (step, min(n_sequences, EVALUATION_BATCH)))


def _one_by_one(network: MaskedTransformer, batch: MaskedBatch) -> Tensor:
    """Return the loss of one-site masks: a transformer needs a pass for each of them."""
    n_rows, length = batch.targets.shape
    if batch.predicted is None:
        sites = torch.arange(length, device=batch.targets.device).expand(n_rows, length)
    else:  # as many in every row
        sites = batch.predicted.nonzero()[:, 1].reshape(n_rows, -1)
    logits = network.predict(batch.context, sites)
    losses = _losses(logits, batch.targets.gather(1, sites))
    return (batch.weights[:, None] * losses).sum()


@torch.no_grad()
def mean_loss(objective: Objective, batches: Iterator[MaskedBatch], workers: Workers) -> float:
    """Return the weighted mean of -log P over batches of one-site masks, nats per site.

    The processes share the batches. Ignored gaps are left out of the mean.
    """
    total = norm = 0.0
    for number, batch in enumerate(batches):
        if number % workers.count != workers.rank:
            continue
        total += float(objective.loss(batch))
        weights = batch.weights.double()
        if batch.predicted is None:
            norm += float(weights.sum()) * batch.targets.shape[1]
        else:
            norm += float(weights @ batch.predicted.sum(dim=1).double())
    total, norm = workers.add([total, norm])
    return total / norm
