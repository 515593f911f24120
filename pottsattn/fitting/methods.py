"""The methods of inference, and what is said of several of them: which heads they may have."""

from __future__ import annotations

from pottsattn._core.validate import InputError, check_at_least, check_choice

SOLVED = ("plm", "factored")  # pseudo-likelihood, to its optimum
TRAINED = ("attention", "transformer")  # networks, by steps
FACTORED = ("factored", "attention")  # J_ij = sum_h A^h_ij U^h
MINIMIZES = (*SOLVED, "attention")  # the pseudo-likelihood with its penalties
METHODS = (*SOLVED, *TRAINED, "mf")
COLOR_SIMILARITIES = ("identity", "learned")
FIELDS = ("learned", "none")


def check_heads(n_heads: int, color_similarity: str) -> None:
    """Raise InputError for an unknown similarity, or several heads with the identity: one head."""
    check_at_least("n_heads", n_heads, 1)
    check_choice("color_similarity", color_similarity, COLOR_SIMILARITIES)
    if n_heads > 1 and color_similarity == "identity":
        raise InputError(
            f"{n_heads} heads with color_similarity 'identity' are one head; use 'learned'"
        )
