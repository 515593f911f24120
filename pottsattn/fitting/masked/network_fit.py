"""What training a transformer returns: a network that predicts, without couplings.

File format `pottsattn.fit/1` with `method` "transformer": the parameters are under `/network`, by
their names in `state_dict`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.storage import create_hdf5, open_hdf5, provenance
from pottsattn._core.validate import InputError, check_finite, check_sequences
from pottsattn.fitting.record import FitRecord
from pottsattn.model.potts import log_softmax

if TYPE_CHECKING:
    from pottsattn.fitting.masked.transformer import MaskedTransformer


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class NetworkFit(FitRecord):
    """A trained transformer, and how the training went (see `FitRecord`).

    Attributes
    ----------
    architecture : dict
        Arguments of `MaskedTransformer`.
    parameters : dict of float32 arrays
        Its `state_dict`.
    """

    architecture: dict[str, Any]
    parameters: dict[str, NDArray[np.float32]]

    @classmethod
    def of(cls, network: MaskedTransformer, **record: Any) -> NetworkFit:
        """Return the fit of a trained network."""
        parameters = {
            name: tensor.detach().cpu().float().numpy().copy()
            for name, tensor in network.state_dict().items()
        }
        return cls(architecture=network.architecture, parameters=parameters, **record)

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return int(self.architecture["length"])

    @property
    def n_states(self) -> int:
        """Number of states, C."""
        return int(self.architecture["n_states"])

    @cached_property
    def network(self) -> MaskedTransformer:
        """The network, on the CPU."""
        import torch

        from pottsattn.fitting.masked.transformer import MaskedTransformer

        network = MaskedTransformer(**self.architecture)
        tensors = {name: torch.from_numpy(array) for name, array in self.parameters.items()}
        network.load_state_dict(tensors)
        return network.eval()

    def log_conditionals(self, sequences: ArrayLike) -> NDArray[np.float64]:
        """Return log P(s_i = a | s_-i) in nats, shape (n_sequences, length, n_states)."""
        import torch

        states = self._check_length(check_sequences(sequences, self.n_states))
        with torch.no_grad():
            logits = self.network(torch.from_numpy(states))
        return log_softmax(logits.double().numpy())

    def save(self, path: str | os.PathLike[str], **facts: Any) -> None:
        """Write the fit (format `pottsattn.fit/1`); `facts` are added to the provenance."""
        with create_hdf5(path, "fit", provenance(**{**self.origin, **facts})) as file:
            self._write_record(file)
            file.attrs["architecture"] = json.dumps(self.architecture, sort_keys=True)
            group = file.create_group("network")
            for name, array in self.parameters.items():
                group.create_dataset(name, data=array)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NetworkFit:
        """Return the fit in a file; InputError if it cannot be read or is not of a transformer."""
        with open_hdf5(path, "fit") as file:
            record = cls._read_record(file)
            if record["method"] != "transformer":
                raise InputError(f"a fit by {record['method']}, expected a transformer")
            parameters = {}
            for name, item in file["network"].items():
                with np.errstate(over="ignore"):
                    parameters[name] = np.asarray(item[()], np.float32)
                check_finite(f"network/{name}", parameters[name])
            architecture = json.loads(file.attrs["architecture"])
            fit = cls(architecture=architecture, parameters=parameters, **record)
            _ = fit.network  # its arrays must be those of its architecture
        return fit
