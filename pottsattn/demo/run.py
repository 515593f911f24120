"""The demo in one call: compute, store, show."""

from __future__ import annotations

from pathlib import Path

from pottsattn._core.display import Progress
from pottsattn._core.validate import InputError
from pottsattn._core.whole_files import check_writable, write_together
from pottsattn.demo.job import DemoResult, Settings, run_job
from pottsattn.demo.page import write_demo_page


def run_demo(
    folder: str | Path,
    settings: Settings | None = None,
    *,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Run the demo; write report.html, figures, tables, data sets and fits into `folder`.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    out = _make_folder(folder)
    for result in run_job(settings or Settings(), n_threads=n_threads, progress=progress):
        result.save(out)  # after every instance: an interruption loses at most one
    with write_together():
        write_demo_page(out, result)
    return result


def _make_folder(folder: str | Path) -> Path:
    out = Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if out.exists() else (error.strerror or "not possible")
        raise InputError(f"cannot make the folder {out}: {reason}") from error
    check_writable(out / "report.html")
    return out
