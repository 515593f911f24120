"""Sequences as data: data sets, files, alignments, weights, resampling, images, torch batches.

States are integers 0 .. n_states - 1 in uint8 arrays of shape (n_sequences, length); columns keep
the numbers that they have in their alignment.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
