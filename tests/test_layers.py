"""The order of construction: a module imports only from lower layers, and importing is quick."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import pottsattn

ROOT = Path(pottsattn.__file__).parent

# Lowest first; a module may import from earlier lines only. Modules on one line do not know
# each other. An exact name counts before a pattern.
LAYERS = (
    ("_version", "example"),
    ("_validate",),
    ("_display", "_interrupts", "_machine", "_numba", "_storage", "graph", "images"),
    ("_partial", "_simd", "alphabets", "memory", "weights"),
    ("_checkpoint", "_simd_bits", "_simd_masks", "_simd_rows"),
    ("alignment_filters", "alignment_records", "couplings", "kernels_identity"),
    ("theory.kernels_elimination",),
    ("theory.ensemble", "theory.fixed_point", "theory.kernels_*", "theory.readout"),
    ("theory.closed_forms", "theory.existence", "theory.gaussian", "theory.glass"),
    ("theory.color_fields", "theory.inversion", "theory.smoothed"),
    ("theory.color_spans", "theory.color_student", "theory.color_teacher"),
    ("theory.result", "theory.student"),
    ("theory.solver",),
    ("theory.color_solver", "theory.finite_masks"),
    ("theory.masks",),
    ("theory.mean_coupling", "theory.tracing"),
    ("theory.heads", "theory.instance", "theory.learning_curve", "theory.optimum"),
    ("theory.branches", "theory.derivatives", "theory.effective", "theory.target"),
    ("sampling.kernels_random",),
    ("alignment", "alignment_writing", "potts", "sampling.kernels_*", "fitting.kernels_*"),
    ("dataset", "sampling.tables"),
    ("ensembles", "exact", "reading", "resampling", "sampling.diagnostics"),
    ("sampling.engine",),
    ("sampling.schedule",),
    ("sampling.runs",),
    ("sampling.tempering", "sampling.recording", "sampling.log_partition"),
    ("sampling.result", "sampling.traces"),
    ("sampling.judging",),
    ("sampling.job",),
    ("fitting.record", "fitting.attention", "fitting.transformer", "torch_data"),
    ("fitting.result", "fitting.network_fit", "fitting.masking"),
    ("fitting.gathered_loss", "fitting.training_data", "fitting.workers"),
    ("fitting.objective",),
    ("fitting.loop",),
    ("fitting.training_verdict",),
    ("sampling.sampler",),
    (
        "fitting.conventions",
        "fitting.coordinates",
        "fitting.row_data",
        "fitting.lbfgs",
        "fitting.relatives",
    ),
    ("fitting.rows_full",),
    ("fitting.rows_factored",),
    ("fitting.row_solver", "fitting.existence", "fitting.curvature"),
    ("fitting.symmetric_problem", "fitting.heads_problem", "fitting.joint_solver"),
    ("fitting.heads_fit", "fitting.verdict"),
    ("fitting.plmc_file",),
    ("fitting.parameters",),
    ("fitting.pseudolikelihood", "fitting.training", "fitting.mean_field"),
    ("fitting.leave_one_out", "fitting.refit"),
    ("fitting.ridge_choice", "fitting.standard_errors"),
    ("run_time", "sweep"),
    ("instances.accuracy",),
    ("instances.mixtures", "instances.probes"),
    ("instances.data",),
    ("instances.masks", "instances.heads", "instances.losses", "instances.encoder"),
    ("instances.result",),
    ("instances.loop", "instances.settings"),
    ("instances.training",),
    ("instances.references",),
    ("instances.run",),
    ("spatial.areas", "spatial.kernels_*", "spatial.layer"),
    ("spatial.inputs", "spatial.potts_areas"),
    ("spatial.objectives", "spatial.recipe"),
    ("spatial.mean_field", "spatial.measures", "spatial.run"),
    ("spatial.image_training", "spatial.training"),
    ("files",),
    ("comparison", "contacts", "bridge_identity", "instance", "scoring", "moments"),
    ("bridge_result", "planning_result"),
    ("bridge_judge",),
    ("bridge",),
    ("contact_errors", "heads_choice", "planning_lab", "spatial.potts_training"),
    ("planning",),
    ("exporting",),
    ("experiment.plan", "experiment.executors"),
    ("experiment.config", "experiment.task"),
    ("experiment.run", "experiment.deviations"),
    ("plotting",),
    (
        "plotting_areas",
        "plotting_bridge",
        "plotting_chains",
        "plotting_contacts",
        "plotting_curves",
        "plotting_family",
        "plotting_images",
        "plotting_instances",
        "plotting_planning",
        "plotting_spatial",
        "plotting_training",
    ),
    ("plotting_sizes",),
    ("report",),
    ("experiment.page", "fits_page", "instances_page", "spatial_page"),
    ("demo.job",),
    ("demo.page",),
    ("demo.run",),
    ("cli._shell",),
    ("cli._*",),
    ("cli.*",),
    ("cli.main",),
)
MUST_NOT_KNOW = {
    "theory": ("sampling", "fitting", "dataset", "potts", "alignment", "torch"),
    "sampling": ("fitting", "torch"),
    "fitting": ("sampling", "ensembles", "exact"),
    "potts": ("torch",),
    "couplings": ("torch",),
    "reading": ("torch",),
}


def modules() -> dict[str, Path]:
    """Return every module on disk by its name within the package; `__init__` files are exempt."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(ROOT.rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    }


def layer(name: str) -> int | None:
    for matches in (str.__eq__, fnmatchcase):
        found = [at for at, line in enumerate(LAYERS) for entry in line if matches(name, entry)]
        if found:
            return found[0]
    return None


def imported_names(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, also inside functions, not for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: relative import"
            yield from ((child.lineno, f"{child.module}.{alias.name}") for alias in child.names)
        yield from imported_names(child)


def resolve(name: str, known: dict[str, Path]) -> str | None:
    """Return the module of the package that `name` lives in, or None if it is not ours."""
    first, _, inner = name.partition(".")
    if first != "pottsattn":
        return None
    if inner in pottsattn._HOME:
        return pottsattn._HOME[inner].removeprefix("pottsattn.")
    if inner in ("", "__version__"):
        return "_version"
    while inner and inner not in known:
        inner = inner.rpartition(".")[0]
    assert inner, f"{name}: import from the module that defines it"
    return inner


def violations(name: str, source: str, known: dict[str, Path]) -> list[str]:
    found = []
    forbidden = MUST_NOT_KNOW.get(name.partition(".")[0], ())
    for line, dotted in imported_names(ast.parse(source)):
        target = resolve(dotted, known)
        where = f"{name}.py line {line} imports {target or dotted}"
        if (target or dotted).partition(".")[0] in forbidden:
            found.append(f"{where}, which it must not know")
        if target is not None and not layer(target) < layer(name):
            found.append(f"{where} from its own or a higher layer")
    return found


def test_every_module_has_a_layer():
    assert [name for name in modules() if layer(name) is None] == []


@pytest.mark.parametrize("name", modules())
def test_module_imports_from_lower_layers_only(name):
    known = modules()
    assert violations(name, known[name].read_text(encoding="utf-8"), known) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("couplings", "from pottsattn.potts import PottsModel"),
        ("couplings", "def f():\n    from pottsattn import SequenceDataset"),
        ("couplings", "import pottsattn.dataset"),
        ("exact", "from pottsattn.ensembles import chain"),
        ("theory.solver", "from pottsattn.potts import PottsModel"),
        ("theory.solver", "def f():\n    import torch.nn as nn"),
    ],
)
def test_the_check_finds_planted_violations(name, source):
    assert violations(name, source, modules())
    for_types = "if TYPE_CHECKING:\n" + "\n".join(f"    {line}" for line in source.splitlines())
    assert violations(name, for_types, modules()) == []


IMPORT_SCRIPT = """
import sys, time
start = time.perf_counter()
import pottsattn
seconds = time.perf_counter() - start
heavy = {"numba", "scipy", "h5py", "torch", "matplotlib"} & set(sys.modules)
sys.stderr.write(f"{seconds} {sorted(heavy)}")
"""


def test_import_is_quick_quiet_and_light():
    seconds = []
    for _ in range(4):  # the first run warms the disk
        run = subprocess.run(
            [sys.executable, "-c", IMPORT_SCRIPT], capture_output=True, text=True, check=True
        )
        time_taken, _, heavy = run.stderr.partition(" ")
        assert run.stdout == ""
        assert heavy == "[]"
        seconds.append(float(time_taken))
    median = statistics.median(seconds[1:])
    print(f"import pottsattn: median of 3 {median:.3f} s")  # noqa: T201
    assert median < 0.5
