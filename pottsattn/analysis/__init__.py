"""Truth and estimate together: comparison, contacts, scores of sequences, moments."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
