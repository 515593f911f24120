"""The command cite: the papers behind the package, or behind a file."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pottsattn._core.storage import file_format, open_hdf5
from pottsattn.cli._shell import DONE, add_command, say

PAPERS = {
    "attention": "R. Rende, F. Gerace, A. Laio, S. Goldt, Mapping of attention mechanisms to a "
    "generalized Potts model, Phys. Rev. Research 6, 023057 (2024)",
    "transformer": "A. Vaswani et al., Attention is all you need, NeurIPS 30 (2017), "
    "arXiv:1706.03762",
    "plm": "M. Ekeberg, C. Lövkvist, Y. Lan, M. Weigt, E. Aurell, Improved contact prediction in "
    "proteins: using pseudolikelihoods to infer Potts models, Phys. Rev. E 87, 012707 (2013)",
    "mf": "F. Morcos et al., Direct-coupling analysis of residue coevolution captures native "
    "contacts across many protein families, Proc. Natl. Acad. Sci. USA 108, E1293 (2011)",
    "apc": "S. D. Dunn, L. M. Wahl, G. B. Gloor, Mutual information without the influence of "
    "phylogeny or entropy dramatically improves residue contact prediction, Bioinformatics 24, "
    "333 (2008)",
    "replica": "B. Loureiro et al., Learning Gaussian mixtures with generalized linear models, "
    "NeurIPS 34 (2021), arXiv:2106.03791",
    "spatial": "Y. Huang, Z. Wen, Y. Chi, Y. Liang, A theoretical analysis of self-supervised "
    "learning for vision transformers, ICLR 2025, arXiv:2403.02233",
    "instances": "Z. Wu, Z. Lai, X. Sun, S. Lin, Extreme masking for learning instance and "
    "distributed visual representations, Trans. Mach. Learn. Res. (2023), arXiv:2206.04667",
    "rng": "D. Blackman, S. Vigna, Scrambled linear pseudorandom number generators, ACM Trans. "
    "Math. Softw. 47, 36 (2021)",
    "swendsen-wang": "R. H. Swendsen, J.-S. Wang, Nonuniversal critical dynamics in Monte Carlo "
    "simulations, Phys. Rev. Lett. 58, 86 (1987)",
    "wolff": "U. Wolff, Collective Monte Carlo updating for spin systems, Phys. Rev. Lett. 62, 361 "
    "(1989)",
    "tempering": "S. Syed, A. Bouchard-Côté, G. Deligiannidis, A. Doucet, Non-reversible parallel "
    "tempering: a scalable highly parallel MCMC scheme, J. R. Stat. Soc. B 84, 321 (2022)",
}
PAPERS_OF = {
    "sequences": ("attention", "rng"),
    "model": ("attention",),
    "curve": ("attention", "replica"),
    "sweep": ("attention", "plm", "rng"),
    "plm": ("plm", "apc", "attention"),
    "transformer": ("transformer", "attention"),
    "factored": ("attention", "plm"),
    "mf": ("mf", "apc"),
    "spatial": ("spatial",),
    "instances": ("instances", "attention", "rng"),
}


def add_parser(commands: Any) -> None:
    """Add the command of this module."""
    cite = add_command(commands, "cite", _cite, "Name the papers behind the package, or a file.")
    cite.add_argument("file", nargs="?", metavar="FILE", help="a file of pottsattn")


def _cite(arguments: argparse.Namespace) -> int:
    keys: tuple[str, ...] = tuple(PAPERS)
    if arguments.file is not None:
        kind = file_format(arguments.file)
        if kind == "fit":
            with open_hdf5(arguments.file, "fit") as file:
                kind = str(file.attrs["method"])
        keys = PAPERS_OF.get(kind, ("attention",))
        if kind == "sequences":
            with open_hdf5(arguments.file) as file:
                made_by = json.loads(file.attrs["provenance"])
            used = [made_by.get("schedule", {}).get("move"), *made_by]  # `tempering` is a fact
            keys += tuple(key for key in PAPERS if key in used and key not in keys)
    papers = [PAPERS[key] for key in keys]
    say(arguments, {"papers": papers}, "\n".join(papers))
    return DONE
