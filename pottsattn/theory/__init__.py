"""Replica theory of learning: curves, optima, closed forms, phases.

Arrays in, curves out: this room knows nothing of models, samplers, fits, torch or data sets, so
that theory and experiment share no bug. `equations/` holds the fixed point of one student,
`colors/` that of several heads.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
