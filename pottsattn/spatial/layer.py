"""One layer of softmax attention on patches, with positions, for masked and contrastive learning.

Masked patches become zero vectors; they stay in the softmax as keys with the value zero. With M(X)
the masked patches and orthonormal positions e_p that are orthogonal to all patches,

    a_{p->q} = softmax_q( e_p^T Q (M(X)_q + e_q) ),    F_p = sum_q a_{p->q} M(X)_q

so that W_V = I, and Q = W_Q^T W_K, which starts from zero, is all that is learned. The losses are

    masked autoencoding   1/2 E sum_p 1{p masked} |F_p - X_p|^2
    contrastive           -tau E log( e^{s(X+, X++) / tau} / sum_X' e^{s(X+, X') / tau} )

with f(X) = mean_p F_p over all p, masked or not, and s(X+, X') = f(X+) . stopgrad f(X'). X+ and
X++ are two maskings of one sample; X' runs over X++ and the second maskings of the other samples
of the batch.

Setting: Y. Huang, Z. Wen, Y. Chi, Y. Liang, A Theoretical Analysis of Self-Supervised Learning for
Vision Transformers, arXiv:2403.02233. The queries of the contrastive loss and its negatives are
choices made here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pottsattn._core.display import one_line
from pottsattn._core.validate import InputError, check_at_least, check_choice, check_positive
from pottsattn.spatial.recipe import QUERIES


class SpatialAttention(nn.Module):
    """Softmax attention between patches with the score e_p^T Q (M(X)_q + e_q).

    Parameters
    ----------
    n_patches, dim
        P and d; d is at least P.
    positions : Tensor, shape (n_patches, dim), optional
        Orthonormal e_p, orthogonal to all patches; the last P unit vectors if left out.
    query
        "position": e_p. "content": M(X)_p + e_p.
    device, dtype
        Of Q and of the positions; double precision if left out.

    Attributes
    ----------
    weights : Parameter, shape (dim, dim)
        Q, zero at first.
    positions : buffer, shape (n_patches, dim)
        e.

    Raises
    ------
    InputError
        More patches than dimensions, or positions that are not orthonormal.

    Examples
    --------
    >>> layer = SpatialAttention(n_patches=4, dim=6)
    >>> output, attention = layer(torch.zeros(2, 4, 6), torch.ones(2, 4, dtype=torch.bool))
    >>> attention[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    positions: Tensor

    def __init__(
        self,
        n_patches: int,
        dim: int,
        *,
        positions: Tensor | None = None,
        query: str = "position",
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        check_at_least("n_patches", n_patches, 1)
        check_at_least("dim", dim, n_patches)
        self.query = check_choice("query", query, QUERIES)
        if positions is None:
            positions = torch.eye(dim, dtype=dtype)[dim - n_patches :]
        _check_orthonormal(positions, (n_patches, dim))
        self.register_buffer("positions", positions.to(device=device, dtype=dtype))
        self.weights = nn.Parameter(torch.zeros((dim, dim), device=device, dtype=dtype))

    def forward(self, patches: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs F and the attention a.

        Parameters
        ----------
        patches : Tensor, shape (n_samples, n_patches, dim)
            X, orthogonal to the positions; masked patches need not be zero.
        visible : Tensor of bool, shape (n_samples, n_patches)

        Returns
        -------
        output : Tensor, shape (n_samples, n_patches, dim)
        attention : Tensor, shape (n_samples, n_patches, n_patches)
            Rows are queries and sum to 1.
        """
        content = patches.to(self.weights) * visible.to(self.weights)[..., None]  # (B, P, d)
        keys = content + self.positions
        if self.query == "position":
            scores = (self.positions @ self.weights) @ keys.transpose(1, 2)  # (B, P, P)
        else:
            scores = (keys @ self.weights) @ keys.transpose(1, 2)
        attention = scores.softmax(dim=-1)
        return attention @ content, attention


def reconstruction_loss(output: Tensor, patches: Tensor, visible: Tensor) -> Tensor:
    """Return half the squared error summed over masked patches, a mean over samples.

    Parameters
    ----------
    output, patches : Tensor, shape (n_samples, n_patches, dim)
        F and X.
    visible : Tensor of bool, shape (n_samples, n_patches)
    """
    errors = (output - patches.to(output)).square().sum(dim=-1)  # (B, P)
    return 0.5 * errors.masked_fill(visible.to(errors.device), 0.0).sum(dim=-1).mean()


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss of two views of every sample, a mean over samples.

    Parameters
    ----------
    first, second : Tensor, shape (n_samples, n_patches, dim)
        Outputs F of two maskings of the same samples. No gradient flows through the second.
    temperature
        tau, above 0.

    Raises
    ------
    InputError
        A single sample, which has no negatives, or a temperature that is not above 0.
    """
    check_positive("temperature", temperature)
    check_at_least("samples of a batch", len(first), 2)
    similarity = first.mean(dim=1) @ second.mean(dim=1).detach().T  # (B, B)
    return -temperature * (similarity / temperature).log_softmax(dim=-1).diagonal().mean()


def draw_visible(
    n_samples: int, n_patches: int, mask_fraction: float, generator: torch.Generator
) -> Tensor:
    """Return which patches are seen, bool of shape (n_samples, n_patches).

    Every sample has its own random subset of exactly round(mask_fraction n_patches) masked patches.
    The result is on the device of the generator.

    Raises
    ------
    InputError
        No patch would be masked, or none seen.
    """
    n_masked = round(check_positive("mask_fraction", mask_fraction) * n_patches)
    if not 0 < n_masked < n_patches:
        raise InputError(
            f"mask_fraction must mask 1 to {n_patches - 1} of {n_patches} patches, got "
            f"{mask_fraction}, which masks {n_masked}"
        )
    draws = torch.rand((n_samples, n_patches), generator=generator, device=generator.device)
    return draws.argsort(dim=1).argsort(dim=1) >= n_masked


@one_line
@dataclass(frozen=True)
class SyntheticEmbeddings:
    """Orthonormal features and positions of spatially structured data.

    Attributes
    ----------
    features : Tensor, shape (n_clusters, n_areas, dim)
        v_{k,m}, of area m of cluster k; dim = n_clusters n_areas + n_patches.
    positions : Tensor, shape (n_patches, dim)
        e_p.
    """

    features: Tensor
    positions: Tensor

    def patches(self, cluster: Tensor, areas: Tensor, latents: Tensor) -> Tensor:
        """Return X_p = z_m v_{k,m} with m the area of patch p, shape (n_samples, n_patches, dim).

        Parameters
        ----------
        cluster : Tensor of int64, shape (n_samples,)
            k.
        areas : Tensor of int64, shape (n_clusters, n_patches)
            Area of every patch, 0 to n_areas - 1.
        latents : Tensor, shape (n_samples, n_areas)
            z.
        """
        of_sample = areas[cluster]  # (B, P)
        return latents.gather(1, of_sample)[..., None] * self.features[cluster[:, None], of_sample]

    def correlations(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return Phi and Upsilon of a matrix Q of shape (dim, dim).

        Returns
        -------
        feature_position : Tensor, shape (n_clusters, n_patches, n_areas)
            Phi_{p->(k,m)} = e_p^T Q v_{k,m}.
        position_position : Tensor, shape (n_patches, n_patches)
            Upsilon_{p->q} = e_p^T Q e_q.
        """
        rows = self.positions @ weights  # (P, d)
        return torch.einsum("pd,kmd->kpm", rows, self.features), rows @ self.positions.T


def synthetic_embeddings(
    n_clusters: int,
    n_areas: int,
    n_patches: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> SyntheticEmbeddings:
    """Return orthonormal features and positions in n_clusters n_areas + n_patches dimensions.

    Parameters
    ----------
    n_clusters, n_areas, n_patches
        K, N and P.
    generator
        Draws a random rotation of them all; unit vectors if left out.
    device
        Of the result, which is in double precision.
    """
    for name, value in (("n_clusters", n_clusters), ("n_areas", n_areas), ("n_patches", n_patches)):
        check_at_least(name, value, 1)
    n_features = n_clusters * n_areas
    dim = n_features + n_patches
    basis = torch.eye(dim, dtype=torch.float64)
    if generator is not None:
        where = generator.device
        gaussian = torch.randn((dim, dim), generator=generator, dtype=torch.float64, device=where)
        basis = torch.linalg.qr(gaussian)[0]
    basis = basis.to(device)
    return SyntheticEmbeddings(
        basis[:n_features].reshape(n_clusters, n_areas, dim), basis[n_features:]
    )


def _check_orthonormal(positions: Tensor, shape: tuple[int, int]) -> None:
    if tuple(positions.shape) != shape:
        raise InputError(
            f"positions must have shape (n_patches, dim) = {shape}, got {tuple(positions.shape)}"
        )
    gram = (positions @ positions.T).detach().cpu()
    worst = float((gram - torch.eye(shape[0]).to(gram)).abs().max())
    if not worst < 1e-5:
        raise InputError(
            f"positions must be orthonormal, but |e e^T - 1| is up to {worst:.1e}; use the rows "
            "of an orthogonal matrix"
        )
