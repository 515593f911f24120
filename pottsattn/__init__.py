"""pottsattn: factored attention and the inverse Potts problem.

Sample sequences from Potts models, infer the couplings by masked modeling or pseudo-likelihood,
predict the learning curves by the replica method, and compare. What most programs need is here;
the rest is in the faces of the rooms, such as `pottsattn.theory`. Importing is quick and quiet:
numba, scipy, h5py, torch and matplotlib load on first use.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
