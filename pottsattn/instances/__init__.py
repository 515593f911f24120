"""Instance representations from masked views of sequences and images, and their judges.

Extreme masking (ExtreMA: Wu, Lai, Sun, Lin, arXiv:2206.04667).
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
