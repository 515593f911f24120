"""Spatial masked modeling: one softmax-attention layer on patches that come in areas.

Masked reconstruction against contrastive learning (Huang, Wen, Chi, Liang, arXiv:2403.02233), the
same areas as couplings of a Potts model, and real images.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
