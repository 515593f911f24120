"""Figures of results: every function draws into an axes, or makes one, and returns it.

Names that begin with `plot` draw one panel, those with `figure` several.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
