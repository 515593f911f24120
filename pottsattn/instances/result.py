"""What a run on instances found, and its file `pottsattn.instances/1`."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pottsattn._core.display import html_table, one_line
from pottsattn._core.storage import create_hdf5, open_hdf5, provenance, to_json, write_csv
from pottsattn._core.validate import InputError
from pottsattn._core.verdict import stated
from pottsattn.instances.probes import ProbeScores

if TYPE_CHECKING:
    from pottsattn.instances.encoder import Encoder
    from pottsattn.instances.mixtures import PottsMixture

UNKNOWN = -1  # stored in the place of a label


@one_line
@dataclass(frozen=True, eq=False)
class EncoderHistory:
    """Along a training: loss of the batches since the last entry, spread of the judged encoder."""

    steps: NDArray[np.int64]  # (n,)
    loss: NDArray[np.float64]  # (n,), NaN before the first step
    feature_std: NDArray[np.float64]  # (n,), 1 spread evenly, near 0 collapsed
    seconds: NDArray[np.float64]  # (n,), of the steps


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class InstanceRun:
    """A self-supervised encoder, how it was trained, and what its vectors know.

    Scores are those of intact test instances; accuracies are shares of right answers.

    Attributes
    ----------
    source : str
        Of the instances.
    config : dict
        Sizes, settings and the seed.
    teacher : dict of float32 arrays
        `state_dict` of the encoder.
    history : EncoderHistory
    scores : ProbeScores
        NaN where the data do not allow a score.
    references : dict of ProbeScores
        Encoders of the same size: "random" (the start of the training), "supervised" (told the
        labels) and "masked" (predicts hidden tokens; its mean token is probed), those that were
        asked for.
    raw_linear_probe, raw_linear_probe_error : float
        A linear probe of the instances themselves: states one-hot, or the numbers of the patches.
    chance : float
        1 / K of K classes.
    bayes, bayes_error : float
        Of the best classifier, which knows the mixture; NaN where it is not known.
    embeddings : float32 (n_test, 2)
        First two principal components of the instance vectors of the test part.
    explained_variance : float64 (2,)
        Share of the variance along them.
    labels : int64 (n_test,)
        -1 where unknown.
    class_attention : float32 (n_test, n_tokens)
        Where the class token looks in its last block, mean over heads.
    mixture : PottsMixture or None
        The truth, if known.
    converged : bool
        As the training of the encoder is judged (`pottsattn.instances.verdict`).
    message : str
        How it ended, and which references did not converge.
    collapsed, interrupted : bool
    resumed_from : int or None
        The step that an earlier, killed run had reached.
    seconds : float
    """

    source: str
    config: dict[str, Any]
    teacher: dict[str, NDArray[np.float32]]
    history: EncoderHistory
    scores: ProbeScores
    references: dict[str, ProbeScores]
    raw_linear_probe: float
    raw_linear_probe_error: float
    chance: float
    bayes: float
    bayes_error: float
    embeddings: NDArray[np.float32]
    explained_variance: NDArray[np.float64]
    labels: NDArray[np.int64]
    class_attention: NDArray[np.float32]
    mixture: PottsMixture | None
    converged: bool
    message: str
    collapsed: bool
    interrupted: bool
    resumed_from: int | None
    seconds: float

    @cached_property
    def encoder(self) -> Encoder:
        """The teacher, on the CPU."""
        import torch

        from pottsattn.instances.encoder import Encoder
        from pottsattn.instances.settings import EncoderConfig

        sizes = dict(self.config["encoder"])
        if sizes["grid"] is not None:
            sizes["grid"] = tuple(sizes["grid"])
        encoder = Encoder(EncoderConfig(**sizes))
        try:
            encoder.load_state_dict({n: torch.from_numpy(one) for n, one in self.teacher.items()})
        except RuntimeError as error:
            raise InputError(f"the weights are not those of the encoder: {error}") from error
        return encoder

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, the JSON of `pottsattn instances`; undefined is None."""
        supervised = self.references.get("supervised")
        random = self.references.get("random")
        report: dict[str, Any] = {
            "source": self.source,
            **self.scores.to_dict(),
            "random_linear_probe": math.nan if random is None else random.linear_probe,
            "raw_linear_probe": self.raw_linear_probe,
            "raw_linear_probe_error": self.raw_linear_probe_error,
            "supervised_linear_probe": math.nan if supervised is None else supervised.linear_probe,
            "chance": self.chance,
            "bayes": self.bayes,
            "bayes_error": self.bayes_error,
            "references": {name: one.to_dict() for name, one in self.references.items()},
            "loss": self.history.loss[-1],
            "steps": self.history.steps[-1],
            "converged": self.converged,
            "collapsed": self.collapsed,
            "interrupted": self.interrupted,
            "message": self.message,
            "resumed_from": self.resumed_from,
            "seconds": self.seconds,
        }
        plain: dict[str, Any] = json.loads(to_json(report))
        return plain

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the history, one row per entry; InputError if that is not possible."""
        names = [field.name for field in fields(EncoderHistory)]
        write_csv(path, names, zip(*(getattr(self.history, name) for name in names), strict=True))

    def save(self, path: str | os.PathLike[str], **facts: Any) -> None:
        """Write the run (format `pottsattn.instances/1`); `facts` are added to the provenance."""
        scores = {"trained": self.scores.to_dict()}
        scores |= {name: one.to_dict() for name, one in self.references.items()}
        with create_hdf5(path, "instances", provenance(**facts)) as file:
            for name in ("source", "message", *FLAGS, *NUMBERS):
                file.attrs[name] = getattr(self, name)
            file.attrs["resumed_from"] = -1 if self.resumed_from is None else self.resumed_from
            file.attrs["config"] = to_json(self.config)
            file.attrs["scores"] = to_json(scores)
            for name in ARRAYS:
                file.create_dataset(name, data=getattr(self, name))
            history = asdict(self.history)
            # Times are no numbers of the result: they stay outside the content hash.
            file.create_group("history").attrs["seconds"] = history.pop("seconds")
            for name, array in history.items():
                file.create_dataset(f"history/{name}", data=array)
            for name, weights in self.teacher.items():
                file.create_dataset(f"teacher/{name}", data=weights)
            if self.mixture is not None:
                self.mixture.to_group(file.create_group("mixture"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> InstanceRun:
        """Return the run in a file; InputError if it cannot be read or is of another kind."""
        with open_hdf5(path, "instances") as file:
            attributes = file.attrs
            scores = {
                name: _scores(name, one) for name, one in json.loads(attributes["scores"]).items()
            }
            mixture = None
            if "mixture" in file:
                from pottsattn.instances.mixtures import PottsMixture

                mixture = PottsMixture.from_group(file["mixture"])
            at = int(attributes["resumed_from"])
            plain: dict[str, Any] = {name: float(attributes[name]) for name in NUMBERS}
            plain |= {name: bool(attributes[name]) for name in FLAGS}
            plain |= {name: file[name][()] for name in ARRAYS}
            run = cls(
                **plain,
                source=str(attributes["source"]),
                message=str(attributes["message"]),
                resumed_from=None if at < 0 else at,
                config=_of_today(json.loads(attributes["config"])),
                scores=scores.pop("trained"),
                references=scores,
                mixture=mixture,
                history=EncoderHistory(
                    **{name: item[()] for name, item in file["history"].items()},
                    seconds=file["history"].attrs["seconds"],
                ),
                teacher={name: item[()] for name, item in file["teacher"].items()},
            )
            _ = run.encoder  # its weights must be those of its configuration
        return run

    def __repr__(self) -> str:
        state = stated(self.converged, self.message)
        return (
            f"InstanceRun({self.source}, linear probe {self.scores.linear_probe:.3f} "
            f"(chance {self.chance:.3f}), feature std {self.scores.feature_std:.3f}, {state})"
        )

    def _repr_html_(self) -> str:
        shown = {name: x for name, x in self.to_dict().items() if not isinstance(x, dict)}
        return html_table(f"Instances: {self.source}", shown)


def _scores(name: str, stored: Any) -> ProbeScores:
    """Return the scores of an encoder as a file has them; null is unknown."""
    wanted = [item.name for item in fields(ProbeScores)]
    if not isinstance(stored, dict) or sorted(stored) != sorted(wanted):
        raise InputError(f"attribute scores: {name} must have {', '.join(wanted)}")
    for key, x in stored.items():
        if x is not None and (isinstance(x, bool) or not isinstance(x, (int, float))):
            raise InputError(f"attribute scores: {key} of {name} must be a number, found {x!r}")
    return ProbeScores(**{key: math.nan if x is None else float(x) for key, x in stored.items()})


def _of_today(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the names of today; older files have others."""
    training = {NAMES.get(name, name): value for name, value in config["training"].items()}
    return {**config, "training": training}


NAMES = {"mask_ratio": "mask_fraction", "n_masks": "masks"}
NUMBERS = (
    "raw_linear_probe", "raw_linear_probe_error", "chance", "bayes", "bayes_error", "seconds",
)  # fmt: skip
FLAGS = ("converged", "collapsed", "interrupted")
ARRAYS = ("embeddings", "explained_variance", "labels", "class_attention")
