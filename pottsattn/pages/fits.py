"""The page of a few fits to one alignment: how they ended, their contacts, their maps."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from pottsattn._core.verdict import stated
from pottsattn.analysis.contacts import rank_contacts, score_map
from pottsattn.figures.contacts import plot_contact_map, plot_precision
from pottsattn.figures.fits import plot_scores
from pottsattn.fitting.masked.network_fit import NetworkFit
from pottsattn.fitting.result import FitResult
from pottsattn.pages.page import Section, Table


def fit_sections(
    fits: Mapping[str, FitResult | NetworkFit],
    known: Mapping[tuple[int, int], float] | None = None,
    *,
    min_separation: int = 6,
    cutoff: float = 8.0,
) -> list[Section]:
    """Return the sections of a page on fits; `known` holds distances by (i, j), i < j.

    Raises
    ------
    InputError
        Distances of no ranked pair.
    """
    sections = [
        Section(
            "Fits",
            ["Training loss without penalty, in nats per masked site."],
            table=Table(
                ["file", "method", "sequences", "effective", "parameters", "loss", "seconds", ""],
                [_row(path, fit) for path, fit in fits.items()],
            ),
        )
    ]
    coupled = {path: fit for path, fit in fits.items() if isinstance(fit, FitResult)}
    if known:
        return [*sections, *_contacts(coupled, dict(known), min_separation, cutoff)]
    for path, fit in coupled.items():
        assert fit.columns is not None
        axes = plot_scores(score_map(fit).clip(min=0.0), list(fit.columns))
        caption = "Frobenius norm in the zero-sum gauge, without the gap, less APC."
        sections.append(Section(f"Scores of pairs: {path}", figures=[axes], caption=caption))
    return sections


def _row(path: str, fit: FitResult | NetworkFit) -> list[str]:
    return [
        path,
        fit.method,
        f"{fit.n_sequences}",
        f"{fit.effective_size:.0f}",
        f"{fit.n_parameters}",
        f"{fit.train_loss:.4f}",
        f"{fit.seconds:.1f}",
        stated(fit.converged, fit.message),
    ]


def _contacts(
    fits: dict[str, FitResult],
    known: dict[tuple[int, int], float],
    min_separation: int,
    cutoff: float,
) -> list[Section]:
    rankings = {
        path: rank_contacts(fit, min_separation=min_separation) for path, fit in fits.items()
    }
    precisions = {path: ranking.precision(known, cutoff) for path, ranking in rankings.items()}
    rows = []
    for path, precision in precisions.items():
        found = precision.to_dict()
        marks = [found["precision"][mark] for mark in ("L/2", "L", "2L")]
        values = [*marks, found["area"]]
        rows.append([path, *("-" if value is None else f"{value:.3f}" for value in values)])
    maps: list[Axes] = [
        plot_contact_map(ranking, known, cutoff=cutoff, label=path)
        for path, ranking in rankings.items()
    ]
    length = next(iter(rankings.values())).length
    return [
        Section(
            "Precision of contacts",
            [
                f"Pairs at least {min_separation} columns apart; contacts are nearer than "
                f"{cutoff:g}. The area is the mean precision over ranks 1 to 2L."
            ],
            figures=[plot_precision(precisions, length=length)],
            table=Table(["file", "L/2", "L", "2L", "area"], rows),
        ),
        Section(
            "Contact maps",
            figures=maps,
            caption="Above the diagonal the L best pairs, below it the contacts.",
        ),
    ]
