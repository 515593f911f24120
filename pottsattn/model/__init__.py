"""Potts models: couplings, graphs, ensembles, and exact answers.

H(s) = -sum_i h_i(s_i) - sum_{i<j} J_ij(s_i, s_j), P(s) = exp(-H(s)) / Z, energies in units of
k_B T; docs/conventions.md has gauge and index order.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
