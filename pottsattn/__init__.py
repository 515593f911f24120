"""pottsattn: factored attention and the inverse Potts problem.

Sample sequences from Potts models, infer the couplings by masked modeling or pseudo-likelihood,
predict the learning curves by the replica method, and compare. Importing is quick and quiet: numba,
scipy, h5py, torch and matplotlib load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pottsattn._validate import ConvergenceWarning, InputError
from pottsattn._version import __version__

if TYPE_CHECKING:
    from pottsattn.comparison import compare
    from pottsattn.dataset import SequenceDataset
    from pottsattn.example import example_alignment
    from pottsattn.files import load
    from pottsattn.fitting.attention import FactoredAttention
    from pottsattn.fitting.pseudolikelihood import fit_pseudolikelihood
    from pottsattn.fitting.training import train_masked
    from pottsattn.fitting.transformer import MaskedTransformer
    from pottsattn.potts import PottsModel
    from pottsattn.reading import SequenceFile
    from pottsattn.sampling.sampler import sample, sample_to_file
    from pottsattn.sampling.schedule import Schedule, Tempering
    from pottsattn.theory.learning_curve import learning_curve
    from pottsattn.torch_data import ChunkShuffle, TorchSequences

__all__ = [
    "ChunkShuffle",
    "ConvergenceWarning",
    "FactoredAttention",
    "InputError",
    "MaskedTransformer",
    "PottsModel",
    "Schedule",
    "SequenceDataset",
    "SequenceFile",
    "Tempering",
    "TorchSequences",
    "__version__",
    "compare",
    "example_alignment",
    "fit_pseudolikelihood",
    "learning_curve",
    "load",
    "sample",
    "sample_to_file",
    "train_masked",
]

_HOME = {
    "ChunkShuffle": "pottsattn.torch_data",
    "FactoredAttention": "pottsattn.fitting.attention",
    "MaskedTransformer": "pottsattn.fitting.transformer",
    "PottsModel": "pottsattn.potts",
    "Schedule": "pottsattn.sampling.schedule",
    "SequenceDataset": "pottsattn.dataset",
    "SequenceFile": "pottsattn.reading",
    "Tempering": "pottsattn.sampling.schedule",
    "TorchSequences": "pottsattn.torch_data",
    "compare": "pottsattn.comparison",
    "example_alignment": "pottsattn.example",
    "fit_pseudolikelihood": "pottsattn.fitting.pseudolikelihood",
    "learning_curve": "pottsattn.theory.learning_curve",
    "load": "pottsattn.files",
    "sample": "pottsattn.sampling.sampler",
    "sample_to_file": "pottsattn.sampling.sampler",
    "train_masked": "pottsattn.fitting.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
