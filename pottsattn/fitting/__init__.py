"""Inference of Potts models: pseudo-likelihood, masked modeling, mean field.

All fits share data, gauge, units and penalty (docs/conventions.md). `pseudolikelihood/` holds the
solvers, `masked/` the networks and their training, `selection/` ridge, heads and errors.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
