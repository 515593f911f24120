"""Evaluating a transformer took hundreds of MiB: small tensors kept chunks of the heap apart."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource, torch
from pottsattn.fitting.masked.objective import masked_losses
from pottsattn.fitting.masked.transformer import MaskedTransformer

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

torch.set_num_threads(1)
network = MaskedTransformer(length=200, n_states=21, n_heads=4)
sequences = torch.arange(128 * 200).remainder(21).reshape(128, 200).to(torch.uint8)
optimizer = torch.optim.Adam(network.parameters())
for _ in range(3):
    optimizer.zero_grad()
    network.predict(sequences, torch.zeros((128, 1)).long()).logsumexp(2).sum().backward()
    optimizer.step()
before = peak()
with torch.no_grad():
    masked_losses(network, sequences[:20])
print((peak() - before) / 1024)
"""


def test_more_sequences_take_no_more_memory():
    command = [sys.executable, "-c", SCRIPT]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 50.0  # MiB; it was 140
