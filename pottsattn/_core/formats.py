"""What files of each format hold, as docs/formats.md describes it to readers.

Optional are entries that depend on what was done, and those that older files do not have.
"""

from __future__ import annotations

from pottsattn._core.layout import (
    NUMBERS,
    Item,
    Layout,
    flag,
    group,
    loose,
    real,
    record,
    text,
    whole,
)

ANY_SHAPE = Item("real", shape=None, later=True)
INT32 = {"least": -(2**31), "most": 2**31 - 1}
ESTIMATORS, RIDGE_KINDS, MASK_MODES = (
    ("factored", "full"),
    ("fixed", "optimal"),
    ("fresh", "static"),
)


def _model(place: str, heads: str = "H", edges: str = "E") -> Layout:
    """Return the couplings and fields in a group, such as "model/", or "" for the file."""
    return {
        f"{place}fields": real("L", "C", later=True),
        f"{place}couplings": real("L", "L", "C", "C", later=True).maybe(),
        f"{place}interactions": real(heads, "L", "L", later=True).maybe(),
        f"{place}color_similarity": real(heads, "C", "C", later=True).maybe(),
        f"{place}edges": whole(edges, 2, least=0, below="L").maybe(),
        f"{place}strengths": real(heads, edges, later=True).maybe(),
        f"{place}strengths_back": real(heads, edges, later=True).maybe(),
    }


def _named_model(place: str, heads: str = "H", edges: str = "E") -> Layout:
    return {
        **_model(f"{place}/", heads, edges),
        f"{place}@ensemble": text().maybe(),
        f"{place}@coupling_scale": real().maybe(),
    }


SITES: Layout = {
    "@provenance": record(),
    "@n_states": whole(least=2, most=256, size="C"),
    "@alphabet": text(length="C"),
    "@gap_index": whole(least=-1, below="C"),
    "@columns": whole("L", distinct=True, **INT32),
    "@numbering": record("n_match").maybe(),
}
SEQUENCES: Layout = {
    **SITES,
    "sequences": whole("M", "L", later=True),
    "weights": real("M", later=True).maybe(),
    "names": text("M", later=True).maybe(),
    "@phase_zone": text().maybe(),
    "@ess": loose().maybe(),
    "@split_r_hat": loose().maybe(),
    "@autocorrelation_time": loose().maybe(),
    "@converged": flag().maybe(),
    "@message": text().maybe(),
    "trace/energy": loose("R", "K", later=True),
    "trace/overlap": loose("R", "K", later=True),
    **_named_model("model"),
}
MODEL: Layout = {"@provenance": record(), **_named_model("model")}
FIT: Layout = {
    **SITES,
    **_model(""),
    "fields": real("L", "C", later=True).maybe(),
    "@method": text(),
    "@gap_policy": text(choices=("state", "ignored")).maybe(),
    "@n_sequences": whole(least=0),
    "@effective_size": real(least=0.0),
    "@objective": loose(),
    "@train_loss": loose(),
    "@couplings_l2": real(least=0.0),
    "@fields_l2": real(least=0.0),
    "@ridge": loose().maybe(),
    "@gradient_norm": loose(),
    "@optimality_gap": loose(),
    "@estimated_gap": loose().maybe(),
    "@n_evaluations": whole(least=0),
    "@n_parameters": whole(least=0),
    "@seconds": loose(),
    "@compile_seconds": loose().maybe(),
    "@converged": flag(),
    "@interrupted": flag().maybe(),
    "@resumed_from": whole(least=-1).maybe(),
    "@message": text(),
    "@symmetric": flag(beside="fields"),
    "@gauge": text(beside="fields"),
    "@config": record(
        fields="a text",
        color_similarity="a text",
        heads="a whole number",
        pseudocount="a number",
        ridge_path__ridge="a number",
        **{f"ridge_path__{name}": NUMBERS for name in ("ridges", "leave_one_out_losses")},
        **{f"ridge_path__{name}": NUMBERS for name in ("errors", "train_losses")},
    ),
    "@architecture": record("length", "n_states").maybe(),
    "network/*": ANY_SHAPE,
    "history/epochs": loose("n"),
    "history/masked_loss": loose("n"),
    "history/train_loss": loose("n"),
    "history/validation_loss": loose("n"),
    "history/objective": loose("n"),
    "history@seconds": loose("n").maybe(),
    "training@sequence_hashes": whole("hashes", least=0),
    "training@n_distinct": whole(least=0),
    "training@repeat_share": loose(),
    "training@data_hash": text(),
    "errors@kind": text(),
    "errors/fields": loose("L", "C"),
    "errors/couplings": ANY_SHAPE,
}
CURVE: Layout = {
    "@provenance": record(),
    "alpha": real("n", least=0.0),
    **{name: loose("n") for name in ("ridge", "mask_fraction", "m", "q", "V", "test_loss")},
    **{name: loose("n") for name in ("bayes_loss", "train_loss", "coupling_error", "accuracy")},
    "converged": flag("n"),
    "n_iterations": whole("n", least=0),
    "quadrature_error": loose("n"),
    "loss_error": loose("n").maybe(),
    "@n_states": whole(least=2),
    "@coupling_scale": real(),
    "@estimator": text(choices=ESTIMATORS),
    "@n_heads": whole(least=1).maybe(),
    "@ridge_kind": text(choices=RIDGE_KINDS),
    "@mask_mode": text(choices=MASK_MODES).maybe(),
    "@masks": whole(least=1).maybe(),
    "@phase": record("zone", "spin_glass_scale", "ferromagnetic_scale", "first_order_bound"),
    "@message": text(),
    "@reasons": Item("list", optional=True),
}
SWEEP: Layout = {
    "@provenance": record(),
    "points": group(),
    "points/method": text("n"),
    "points/ridge_kind": text("n", choices=RIDGE_KINDS),
    "points/alpha": real("n", least=0.0),
    "points/ridge": loose("n"),
    "points/seed": whole("n"),
    "points/length": whole("n", least=2).maybe(),
    "points/n_states": whole("n", least=2).maybe(),
    "points/coupling_scale": real("n").maybe(),
    "points/realized_scale": loose("n").maybe(),
    "points/mask_fraction": loose("n").maybe(),
    "points/mask_mode": text("n", choices=("", *MASK_MODES)).maybe(),
    "points/masks": whole("n", least=0).maybe(),
    **{f"points/{name}_loss": loose("n") for name in ("test", "train", "bayes")},
    "points/coupling_error": loose("n"),
    "points/converged": flag("n"),
    "points/sample_converged": flag("n").maybe(),
    "points/seconds": loose("n").maybe(),
    "points@seconds": loose("n").maybe(),
    "@length": whole(least=2).maybe(),
    "@n_states": whole(least=2).maybe(),
    "@coupling_scale": real().maybe(),
}
TRACES = (
    "loss", "own_global", "own_local", "to_global", "excess_global", "excess_local", "excess",
    "diversity", "phi_own_global", "phi_own_local", "phi_local_to_global", "phi_local_to_local",
    "upsilon_same_local", "upsilon_unrelated",
)  # fmt: skip
SPATIAL: Layout = {
    "@provenance": record(),
    "areas": whole("K", "P", least=0),
    "phi": loose("K", "P", "N"),
    "upsilon": loose("P", "P"),
    "history": group(),
    "maps": group(),
    "history/step": whole("T", least=0),
    **{f"history/{name}": loose("T") for name in TRACES},
    "maps/steps": whole("moments", least=0),
    "maps/queries": whole("queries", least=0, below="P"),
    "maps/maps": loose("moments", "queries", "P"),
    "@objective": text(choices=("mae", "contrastive")),
    "@config": record(max_steps="a whole number"),
    "@n_steps": whole(least=0),
    "@rate_ratio": loose(),
    "@converged": flag(),
    "@message": text(),
    "@interrupted": flag(),
    "@seconds": loose(),
    "@resumed_from": whole(least=-1),
    "@grid": whole(2, least=1).maybe(),
}
INSTANCES: Layout = {
    "@provenance": record(),
    "teacher": group(),
    "teacher/*": ANY_SHAPE,
    "history": group(),
    "history/steps": whole("k", least=0),
    "history/loss": loose("k"),
    "history/feature_std": loose("k"),
    "history@seconds": loose("k"),
    "embeddings": loose("M", 2),
    "explained_variance": loose(2),
    "labels": whole("M", least=-1),
    "class_attention": loose("M", "tokens"),
    "@source": text(),
    "@config": record(
        "encoder",
        "training",
        "heads",
        encoder__grid="two whole numbers or null",
        training__loss="a text",
        training__batch_size="a whole number",
        heads__norm="a text or null",
        n_instances="a whole number",
    ),
    "@scores": record("trained"),
    **{f"@raw_linear_probe{part}": loose() for part in ("", "_error")},
    **{f"@{name}": loose() for name in ("chance", "bayes", "bayes_error", "seconds")},
    **{f"@{name}": flag() for name in ("converged", "collapsed", "interrupted")},
    "@message": text(),
    "@resumed_from": whole(least=-1),
    "mixture@kind": text(),
    "mixture/relabelings": whole("classes", "L", "C", least=0, below="C"),
    "mixture/log_partition": real("classes"),
    "mixture/log_partition_error": loose("classes"),
    **{
        name.replace("model", "mixture/classes/*/model"): item
        for name, item in _named_model("model", "H*", "E*").items()
    },
}
LAYOUTS = {
    "sequences": SEQUENCES,
    "model": MODEL,
    "fit": FIT,
    "curve": CURVE,
    "sweep": SWEEP,
    "spatial": SPATIAL,
    "instances": INSTANCES,
}
