"""Coordinates in which steps on all data find the optimum of attention, with the same optimum.

A point is one vector, by the parameters of the network, two of which are changed:

- Fields are what a site shows on average, t_i(a) = h_i(a) + sum_{j, b} J_ij(a, b) f_j(b), so that
  couplings see centered states: plain fields and couplings together have a direction tens of times
  stiffer than the others. t has units in which its curvature is the same for all states.
- Softmax attention is its weights A >= 0 themselves, of any sum, by which rows are divided: a
  weight that wants to be zero gets there, where its score would have to go to minus infinity.

Learned U has a metric (`pottsattn.fitting.pseudolikelihood.coordinates.heads_metric`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.objective import Network
from pottsattn.fitting.pseudolikelihood.coordinates import heads_metric, total_field_units
from pottsattn.fitting.pseudolikelihood.lbfgs import Metric

SMALLEST = 1e-12  # weight: it then acts like 0
OF_SITES = ("interactions", "scores")
Vector = NDArray[Any]


class AttentionCoordinates:
    """The point of a network, and the way back.

    Parameters
    ----------
    network
        Moved in place. A transformer keeps its own coordinates.
    frequencies : shape (length, n_states)
        f, of the states that are seen.
    fields_l2
        The penalty on fields.

    Attributes
    ----------
    bounded : bool array
        Coordinates that are at least 0.
    """

    def __init__(
        self, network: Network, frequencies: NDArray[np.float64], fields_l2: float
    ) -> None:
        self._attention = network if isinstance(network, FactoredAttention) else None
        self._parameters = dict(network.named_parameters())
        some = next(network.parameters())
        self._frequencies = some.new_tensor(frequencies)
        self._field_units = some.new_tensor(total_field_units(frequencies, fields_l2))
        self._sizes = {name: each.numel() for name, each in self._parameters.items()}
        self.bounded = np.concatenate(
            [np.full(size, name == "scores") for name, size in self._sizes.items()]
        )

    @torch.no_grad()
    def metric(self) -> list[NDArray[np.float64]]:
        """Return the metrics of A and U, as they are where the network is; of fixed U, none."""
        network = self._attention
        if network is None or not network.learns_similarity:
            return []
        factors = network.attention_weights(), network.values()
        left, right = (each.flatten(1).double().cpu().numpy() for each in factors)
        return list(heads_metric(left, right))

    def applied(self, matrices: list[NDArray[np.float64]]) -> Metric | None:
        """Return the metric that takes vectors; None where it is 1."""
        if not matrices:
            return None
        of_sites, of_states = matrices

        def metric(vector: Vector) -> Vector:
            found, at = vector.copy(), 0
            for name, size in self._sizes.items():
                part = found[at : at + size]
                at += size
                if name in OF_SITES or name == "color_similarity":
                    matrix = (of_sites if name in OF_SITES else of_states).astype(vector.dtype)
                    part[:] = (matrix @ part.reshape(len(matrix), -1)).ravel()
            return found

        return metric

    @torch.no_grad()
    def point(self) -> Vector:
        """Return the point of the network."""
        parts = []
        for name, parameter in self._parameters.items():
            here: Tensor = parameter
            if name == "fields":
                here = (parameter + self._seen()) / self._field_units
            elif name == "scores":  # numbers that are not used are 1
                is_self = torch.eye(parameter.shape[1], dtype=torch.bool, device=parameter.device)
                weights = parameter.masked_fill(is_self, -torch.inf).softmax(dim=2)
                here = weights.masked_fill(is_self, 1.0)
            parts.append(here.flatten())
        return np.asarray(torch.cat(parts).cpu().numpy())

    @torch.no_grad()
    def move(self, point: Vector) -> None:
        """Take the network to a point."""
        totals = None
        for name, numbers in self._split(point).items():
            if name == "fields":
                totals = numbers
                continue
            if name == "scores":
                numbers = numbers.clamp(min=SMALLEST).log()
            self._parameters[name].copy_(numbers)
        if totals is not None:  # by the couplings, which are set by now
            self._parameters["fields"].copy_(totals * self._field_units - self._seen())

    def gradient(self, point: Vector) -> Vector:
        """Return the gradient in the point where the network is, from that which it holds."""
        parts = self._split(point)
        if "fields" in parts:
            of_fields = self._parameters["fields"].grad
            assert of_fields is not None
            through = -(self._seen() * of_fields).sum()
            through.backward()  # type: ignore[no-untyped-call]
        found = []
        for name, parameter in self._parameters.items():
            gradient = parameter.grad
            assert gradient is not None
            if name == "fields":
                gradient = gradient * self._field_units
            elif name == "scores":
                gradient = gradient / parts["scores"].clamp(min=SMALLEST)
            found.append(gradient.flatten())
        return np.asarray(torch.cat(found).cpu().numpy())

    def _split(self, point: Vector) -> dict[str, Tensor]:
        """Return the parts of a point, by the names of parameters."""
        whole = torch.from_numpy(point).to(self._frequencies.device)
        parts = torch.split(whole, list(self._sizes.values()))
        pairs = zip(self._parameters.items(), parts, strict=True)
        return {name: part.view_as(parameter) for (name, parameter), part in pairs}

    def _seen(self) -> Tensor:
        """Return sum_{j, b} J_ij(a, b) f_j(b), shape (L, C)."""
        network = self._attention
        assert network is not None
        values = torch.einsum("hab,jb->hja", network.values(), self._frequencies)
        return torch.einsum("hij,hja->ia", network.attention_weights(), values)
