"""A small alignment that comes with the package, so that everything can be tried."""

from __future__ import annotations

from pathlib import Path


def example_alignment() -> Path:
    """Return the path of the example alignment, a gzip-compressed FASTA file.

    500 sequences of 53 protein columns, sampled from our own fit (`plm`, ridge 0.2) to the Kunitz
    family, Pfam PF00014: artificial sequences, none of them natural. `data/README.txt` of the
    package has the commands that made it.

    Examples
    --------
    >>> from pottsattn.data.reading import read_dataset
    >>> read_dataset(example_alignment())
    SequenceDataset(n_sequences=500, length=53, n_states=21, effective_size=500.0)
    """
    return Path(__file__).parent / "example.fasta.gz"
