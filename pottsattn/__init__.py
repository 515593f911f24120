"""pottsattn: factored attention and the inverse Potts problem.

Sample sequences from Potts models, infer the couplings by masked modeling or pseudo-likelihood,
predict the learning curves by the replica method, and compare. Importing is quick and quiet: numba,
scipy, h5py, torch and matplotlib load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pottsattn._core.validate import ConvergenceWarning, InputError
from pottsattn._version import __version__

if TYPE_CHECKING:
    from pottsattn.analysis.comparison import compare
    from pottsattn.data.dataset import SequenceDataset
    from pottsattn.data.example import example_alignment
    from pottsattn.data.sequence_file import SequenceFile
    from pottsattn.data.torch_data import ChunkShuffle, TorchSequences
    from pottsattn.files import load
    from pottsattn.fitting.masked.attention import FactoredAttention
    from pottsattn.fitting.masked.fit import train_masked
    from pottsattn.fitting.masked.transformer import MaskedTransformer
    from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood
    from pottsattn.model.potts import PottsModel
    from pottsattn.sampling.sampler import sample, sample_to_file
    from pottsattn.sampling.schedule import Schedule, Tempering
    from pottsattn.theory.curve import learning_curve

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
    "ChunkShuffle": "pottsattn.data.torch_data",
    "FactoredAttention": "pottsattn.fitting.masked.attention",
    "MaskedTransformer": "pottsattn.fitting.masked.transformer",
    "PottsModel": "pottsattn.model.potts",
    "Schedule": "pottsattn.sampling.schedule",
    "SequenceDataset": "pottsattn.data.dataset",
    "SequenceFile": "pottsattn.data.sequence_file",
    "Tempering": "pottsattn.sampling.schedule",
    "TorchSequences": "pottsattn.data.torch_data",
    "compare": "pottsattn.analysis.comparison",
    "example_alignment": "pottsattn.data.example",
    "fit_pseudolikelihood": "pottsattn.fitting.pseudolikelihood.fit",
    "learning_curve": "pottsattn.theory.curve",
    "load": "pottsattn.files",
    "sample": "pottsattn.sampling.sampler",
    "sample_to_file": "pottsattn.sampling.sampler",
    "train_masked": "pottsattn.fitting.masked.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
