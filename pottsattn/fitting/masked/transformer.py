"""A vanilla transformer encoder that predicts masked sites, the yardstick of factored attention.

The residual stream x^l, shape (L, width), starts from learned embeddings of the symbols, the mask
token among them, plus learned positions, and every layer adds to it (LN: layer norm)

    x <- x + sum_h W^h_O softmax(Q^h K^h.T / sqrt(d)) V^h,    Q, K, V linear in LN(x)
    x <- x + W_2 relu(W_1 LN(x) + b_1) + b_2,

and logit_i = W LN(x_i) + b. Symbols and positions share one stream, so the attention has to find
out that the interactions depend on positions alone and the color similarity on symbols alone. The
other variants take one ingredient away each.

References: Vaswani et al., Advances in Neural Information Processing Systems 30 (2017), with layer
norms before the sublayers: Xiong et al., Proceedings of Machine Learning Research 119, 10524
(2020); Rende, Gerace, Laio, Goldt, Phys. Rev. Research 6, 023057 (2024), sections II and III.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pottsattn._core.validate import InputError, check_at_least
from pottsattn.fitting.masked.batches import check_batch
from pottsattn.fitting.masked.settings import TransformerConfig

# Standard deviation of embeddings at the start. With 1, training stays several times longer on its
# plateau at the loss of independent sites.
EMBEDDING_SCALE = 0.3
NUMBERS_AT_ONCE = 1 << 24  # activations of one layer that exist together


class MaskedTransformer(nn.Module):
    """Transformer encoder for masked modeling, built from the parts of torch, without dropout.

    Parameters
    ----------
    length, n_states
        L and C.
    n_layers, n_heads
        Depth, and heads per layer; they share the width.
    width, feedforward_width
        Size of the residual stream and of the hidden layer at every site; 4 * width if left out.
    variant
        "vanilla": positions are added to the symbols' embeddings at the input.
        "positional": queries and keys see positions only, in every layer; values see content only.
        "content": no positions anywhere.
        "linear": vanilla without the softmax, attention weights Q K.T / (sqrt(d) L).
    generator
        Draws the starting values; torch's global stream if left out.

    Raises
    ------
    InputError
        Unknown variant, or a width that the heads cannot share.

    Notes
    -----
    Entries of `state_dict`, with w = width, f = feedforward_width and k = 0..n_layers-1; the names
    within a layer are those of `torch.nn.TransformerEncoderLayer`:

    ==================================  =======================================
    symbols.weight                      (C + 1, w), the last one the mask token
    positions.weight                    (L, w), absent for "content"
    layers.k.self_attn.in_proj_weight   (3w, w): queries, keys, values
    layers.k.self_attn.in_proj_bias     (3w,)
    layers.k.self_attn.out_proj.weight  (w, w)
    layers.k.self_attn.out_proj.bias    (w,)
    layers.k.linear1.weight, .bias      (f, w), (f,)
    layers.k.linear2.weight, .bias      (w, f), (w,)
    layers.k.norm1.weight, .bias        (w,), (w,), before the attention
    layers.k.norm2.weight, .bias        (w,), (w,), before linear1
    norm.weight, .bias                  (w,), (w,), before the readout
    readout.weight, .bias               (C, w), (C,)
    ==================================  =======================================

    Examples
    --------
    >>> layer = MaskedTransformer(length=5, n_states=3, n_layers=2)
    >>> layer(torch.zeros(2, 5, dtype=torch.uint8)).shape
    torch.Size([2, 5, 3])
    """

    def __init__(
        self,
        length: int,
        n_states: int,
        n_layers: int = 1,
        n_heads: int = 1,
        *,
        width: int = 64,
        feedforward_width: int | None = None,
        variant: str = "vanilla",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        TransformerConfig(n_layers, n_heads, width, feedforward_width, variant)
        if feedforward_width is None:
            feedforward_width = 4 * width
        self._architecture = {
            "length": check_at_least("length", length, 2),
            "n_states": check_at_least("n_states", n_states, 2),
            "n_layers": n_layers,
            "n_heads": n_heads,
            "width": width,
            "feedforward_width": feedforward_width,
        }
        self.variant = variant
        with torch.random.fork_rng(devices=[]):  # the constructors draw weights that are replaced
            self.symbols = nn.Embedding(n_states + 1, width)
            self.positions = None if variant == "content" else nn.Embedding(length, width)
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, n_heads, feedforward_width, 0.0, batch_first=True, norm_first=True
                )
                for _ in range(n_layers)
            )
            self.norm = nn.LayerNorm(width)
            self.readout = nn.Linear(width, n_states)
        self._draw(generator)

    @property
    def length(self) -> int:
        """Number of sites, L."""
        return self._architecture["length"]

    @property
    def n_states(self) -> int:
        """Number of states, C."""
        return self._architecture["n_states"]

    @property
    def n_parameters(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def architecture(self) -> dict[str, int | str]:
        """Arguments that build a transformer of this shape."""
        return {**self._architecture, "variant": self.variant}

    def activation_bytes(self, n_rows: int) -> int:
        """Return the bytes of a step of `n_rows` one-site masks, or of a chunk without gradients.

        The last layer keeps what it needs to see every site, the others what they make of it too.
        """
        sizes = self._architecture
        of_layer = 6 * sizes["width"] + 2 * sizes["feedforward_width"]
        of_site = 8 * sizes["width"] + (sizes["n_layers"] - 1) * of_layer
        return 4 * max(n_rows * sizes["length"] * of_site, NUMBERS_AT_ONCE)

    def forward(self, sequences: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits, shape (n_sequences, length, n_states).

        Parameters
        ----------
        sequences : integer tensor, shape (n_sequences, length)
            States 0..n_states-1.
        mask : bool tensor, shape (n_sequences, length), optional
            Sites that show the mask token; the logits at all other sites see the symbol that they
            predict. Without it every site is predicted with that site alone masked, in `length`
            passes.
        """
        check_batch(sequences, mask, int(self._architecture["length"]))
        if mask is None:
            sites = torch.arange(self._architecture["length"], device=sequences.device)
            return self.predict(sequences, sites.expand(len(sequences), -1))
        return self.readout(self._encode(sequences, mask, None))

    def predict(self, sequences: Tensor, sites: Tensor) -> Tensor:
        """Return logits at chosen sites, each predicted with that site alone masked.

        Passes are done in chunks of bounded memory, except that gradients, if asked for, keep the
        activations of all of them. The last layer computes the masked site only.

        Parameters
        ----------
        sequences : integer tensor, shape (n_sequences, length)
        sites : int64 tensor, shape (n_sequences, K)

        Returns
        -------
        Tensor, shape (n_sequences, K, n_states)
        """
        self._check_length(sequences)
        rows = torch.arange(len(sequences), device=sequences.device)
        rows = rows.repeat_interleave(sites.shape[1])  # (M K,)
        size = self._rows_at_once()
        chunks = zip(torch.split(rows, size), torch.split(sites.flatten(), size), strict=True)
        logits, at = None, 0
        for row, site in chunks:
            shown = sequences[row]  # (rows, L)
            mask = torch.zeros_like(shown, dtype=torch.bool).scatter_(1, site[:, None], True)
            part = self.readout(self._encode(shown, mask, site))[:, 0]
            # Small tensors kept among the large ones of every chunk would fragment the heap.
            logits = part.new_empty((len(rows), self.n_states)) if logits is None else logits
            logits[at : at + len(part)] = part
            at += len(part)
        assert logits is not None
        return logits.reshape(*sites.shape, self.n_states)

    def _encode(self, sequences: Tensor, mask: Tensor, site: Tensor | None) -> Tensor:
        """Return the normed stream, (M, L, width), or (M, 1, width) if one site each is asked."""
        mask_token = self._architecture["n_states"]
        content = self.symbols(sequences.long().masked_fill(mask, mask_token))  # (M, L, width)
        if self.positions is not None and self.variant != "positional":
            content = content + self.positions.weight
        for at, layer in enumerate(self.layers, start=1):
            assert isinstance(layer, nn.TransformerEncoderLayer)
            content = self._advance(layer, content, site if at == len(self.layers) else None)
        return self.norm(content)

    def _advance(
        self, layer: nn.TransformerEncoderLayer, content: Tensor, site: Tensor | None
    ) -> Tensor:
        """Return what `layer` makes of the stream, at all sites or at one site per sequence."""
        value = key = query = layer.norm1(content)  # (M, L, width)
        if self.variant == "positional":
            assert self.positions is not None
            key = query = self.positions.weight.expand_as(content)
        if site is not None:
            chosen = torch.arange(len(site), device=site.device), site
            content, query = content[chosen][:, None], query[chosen][:, None]  # (M, 1, width)
        if self.variant == "linear":
            update = _linear_attention(layer.self_attn, query, key)
        else:
            update, _ = layer.self_attn(query, key, value, need_weights=False)
        content = content + update
        return content + layer.linear2(layer.activation(layer.linear1(layer.norm2(content))))

    def _rows_at_once(self) -> int:
        sizes = self._architecture
        per_site = sizes["feedforward_width"] + 8 * sizes["width"]
        per_site += sizes["n_heads"] * sizes["length"]
        return max(1, NUMBERS_AT_ONCE // (sizes["length"] * per_site))

    def _check_length(self, sequences: Tensor) -> None:
        length = self._architecture["length"]
        if sequences.ndim != 2 or sequences.shape[1] != length:
            raise InputError(
                f"sequences must have shape (any, {length}), got {tuple(sequences.shape)}"
            )

    def _draw(self, generator: torch.Generator | None) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" in name:
                nn.init.ones_(parameter)
            elif name in ("symbols.weight", "positions.weight"):
                nn.init.normal_(parameter, std=EMBEDDING_SCALE, generator=generator)
            else:
                nn.init.xavier_uniform_(parameter, generator=generator)


def _linear_attention(attention: nn.MultiheadAttention, query: Tensor, content: Tensor) -> Tensor:
    """Return W_O (Q K.T / (sqrt(d) L)) V with the parameters of `attention`."""
    length, width = content.shape[1:]
    sizes = [width, 2 * width]
    query_weight, pair_weight = torch.split(attention.in_proj_weight, sizes)
    query_bias, pair_bias = torch.split(attention.in_proj_bias, sizes)
    query = functional.linear(query, query_weight, query_bias)
    key, value = functional.linear(content, pair_weight, pair_bias).chunk(2, dim=2)
    heads = (attention.num_heads, attention.head_dim)
    query, key, value = (
        torch.unflatten(x, 2, heads).transpose(1, 2) for x in (query, key, value)
    )  # (M, H, L or 1, d)
    scores = query @ key.mT / (attention.head_dim**0.5 * length)  # (M, H, L or 1, L)
    return attention.out_proj((scores @ value).transpose(1, 2).flatten(2))
