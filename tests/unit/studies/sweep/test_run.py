"""Sweeps: the same file by any workers, resumed, and with a worker killed midway."""

from __future__ import annotations

import os
import signal
import warnings
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest
from fit_options import as_training

import pottsattn
from pottsattn import ConvergenceWarning, InputError, PottsModel, SequenceDataset
from pottsattn._core.executors import LocalProcesses, dask_executor
from pottsattn._core.storage import content_hash
from pottsattn.analysis.coupling_scale import realized_coupling_scale
from pottsattn.model.ensembles import sk_potts
from pottsattn.studies.sweep.config import SweepConfig
from pottsattn.studies.sweep.one_fit import sweep_row
from pottsattn.studies.sweep.run import run_sweep
from pottsattn.studies.sweep.table import SweepTable

ENTRIES = {
    "n_states": 2,
    "coupling_scales": 1.0,
    "lengths": [8, 12],
    "instances": 2,
    "alphas": [2, 4],
    "ridges": 0.3,
    "methods": ["factored", "plm"],
    "n_test": 40,
    "sampling": {"n_warmup": 20},
}
CONFIG = SweepConfig.from_dict(ENTRIES)
N_FITS = 2 * 2 * 2 * 2
MASKED = {"lengths": 8, "instances": 1, "alphas": 2, "methods": "attention", "mask_fractions": 0.3}


class Serial(Executor):
    """Makes every fit in this process when it is asked for."""

    def submit(self, fn, /, *args, **kwargs):
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(fn, *args, **kwargs)
            future.exception()
            return future


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """The file of a run without interruption."""
    path = tmp_path_factory.mktemp("sweep") / "serial.h5"
    run_sweep(CONFIG, path, executor=Serial())
    return path


def test_rows_are_those_of_fits_made_by_hand(serial):
    table = pottsattn.load(serial)
    assert isinstance(table, SweepTable)
    assert len(table.rows) == N_FITS
    task = CONFIG.tasks()[-1]
    instance = task.instance
    rng = np.random.default_rng(instance.entropy)
    model = sk_potts(instance.length, 2, 1.0, rng)
    drawn = pottsattn.sample(model, 48 + 40, schedule=instance.schedule, rng=rng).dataset
    fit = pottsattn.fit_pseudolikelihood(
        drawn.take(slice(0, 48)), "plm", ridge=0.3, fields="none", n_threads=1
    )
    judged = pottsattn.compare({"plm": fit}, drawn.take(slice(48, None)))
    row = table.rows[-1]
    assert (row.method, row.alpha, row.length, row.seed) == ("plm", 4.0, 12, 1)
    assert row.test_loss == judged.fits[0].test_loss
    assert row.coupling_error == judged.fits[0].coupling_error
    assert row.bayes_loss == judged.bayes_loss
    assert row.realized_scale == realized_coupling_scale(model.couplings)


def test_the_realized_scale_counts_the_color_similarity(rng):
    """Two heads, U far from the identity: the interactions alone would give another J."""
    interactions = rng.normal(size=(2, 6, 6))
    interactions = np.triu(interactions, 1) + np.triu(interactions, 1).transpose(0, 2, 1)
    similarity = np.stack([np.eye(3), 4.0 * np.diag([1.0, 0.0, -1.0])])
    model = PottsModel.factored(0.2 * interactions, similarity)
    data = SequenceDataset(rng.integers(3, size=(40, 6)), 3, model=model)
    fit = pottsattn.fit_pseudolikelihood(data, "plm", n_threads=1)
    conditions = {"ridge_kind": "fixed", "ridge": 0.2, "alpha": 1.0, "seed": 0}
    row = sweep_row(fit, data, coupling_scale=1.0, sample_converged=True, **conditions)
    projector = np.eye(3) - 1.0 / 3.0
    blocks = np.einsum("hij,hab->ijab", 0.2 * interactions, projector @ similarity @ projector)
    assert row.realized_scale == pytest.approx(np.sqrt((blocks**2).sum() / (2 * 6)))
    alone = np.sqrt(((0.2 * interactions) ** 2).sum() / 6)
    assert abs(row.realized_scale / alone - 1.0) > 0.1


def test_static_masks_are_fitted_to_the_optimum_and_named(tmp_path):
    config = SweepConfig.from_dict({**ENTRIES, **MASKED})
    result = run_sweep(config, tmp_path / "sweep.h5", executor=Serial())
    (row,) = result.table.rows
    assert (row.mask_fraction, row.mask_mode, row.masks) == (0.3, "static", 1)
    instance = config.tasks()[0].instance
    rng = np.random.default_rng(instance.entropy)
    model = sk_potts(8, 2, 1.0, rng)
    drawn = pottsattn.sample(model, 16 + 40, schedule=instance.schedule, rng=rng).dataset
    options = {"masks": 1, "mask_fraction": 0.3, "mask_mode": "static", "optimizer": "lbfgs"}
    fit = pottsattn.train_masked(
        drawn.take(slice(0, 16)),
        **as_training(ridge=0.3, fields="none", rng=0, n_threads=1, **options),
    )
    assert fit.converged
    assert row.train_loss == fit.train_loss


def test_an_interrupted_sweep_goes_on_to_the_same_file(serial, tmp_path):
    path = tmp_path / "sweep.h5"

    def stop(done: int, total: int) -> None:
        assert total == N_FITS
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=f"after 7 of {N_FITS} fits.*repeat the command"):
        run_sweep(CONFIG, path, executor=Serial(), progress=stop)
    assert not path.exists()
    other = SweepConfig.from_dict({**ENTRIES, "alphas": [2, 8]})
    with pytest.raises(InputError, match=r"alphas: \[2.0, 4.0\] there, \[2.0, 8.0\] here"):
        run_sweep(other, path, executor=Serial())
    made = []

    class Counting(Serial):
        def submit(self, fn, /, *args, **kwargs):
            made.append(args)
            return super().submit(fn, *args, **kwargs)

    result = run_sweep(CONFIG, path, executor=Counting())
    assert (result.resumed_from, len(made)) == (7, N_FITS - 7)
    assert content_hash(path) == content_hash(serial)
    assert os.listdir(tmp_path) == ["sweep.h5"]
    report = result.to_dict()
    assert (report["n_fits"], report["n_instances"], report["converged"]) == (N_FITS, 4, True)
    assert len(report["points"]) == N_FITS // 2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_local_worker_costs_only_its_task(serial, tmp_path):
    path = tmp_path / "sweep.h5"
    killed = []
    with LocalProcesses(2) as processes:

        def kill(done: int, total: int) -> None:
            if done >= 5 and not killed:
                killed.append(processes.process_ids()[0])
                os.kill(killed[0], signal.SIGKILL)

        run_sweep(CONFIG, path, executor=processes, progress=kill)
        assert len(killed) == 1
        assert killed[0] not in processes.process_ids()
    assert content_hash(path) == content_hash(serial)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_an_interruption_and_a_killed_dask_worker_change_nothing(serial, tmp_path):
    distributed = pytest.importorskip("distributed")
    path = tmp_path / "sweep.h5"
    killed = []
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs="CRITICAL",
        local_directory=str(tmp_path),
    ) as cluster:
        address = cluster.scheduler_address
        with distributed.Client(address, set_as_default=False) as client:

            def stop(done: int, total: int) -> None:
                if done == 2:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt), dask_executor(address) as executor:
                run_sweep(CONFIG, path, executor=executor, progress=stop)

            def kill(done: int, total: int) -> None:
                if done >= 5 and not killed:
                    killed.append(next(iter(client.run(os.getpid).values())))
                    os.kill(killed[0], signal.SIGKILL)

            with dask_executor(address) as executor:
                result = run_sweep(CONFIG, path, executor=executor, progress=kill)
    assert result.resumed_from == 2
    assert len(killed) == 1
    assert content_hash(path) == content_hash(serial)


def test_dask_that_is_missing_or_does_not_answer_is_said(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setitem(__import__("sys").modules, "distributed", None)
        with pytest.raises(InputError, match=r"pip install 'pottsattn\[dask\]'"):
            with dask_executor("tcp://127.0.0.1:1"):
                pass
    pytest.importorskip("distributed")
    monkeypatch.setattr("pottsattn._core.executors.CONNECT_SECONDS", 0.3)
    for address in ("tcp://127.0.0.1:1", "nowhere"):
        with pytest.raises(InputError, match=f"no Dask scheduler answers at {address}"):
            with dask_executor(address):
                pass


def test_what_does_not_converge_or_equilibrate_is_said(tmp_path):
    entries = {**ENTRIES, **MASKED, "coupling_scales": 2.5, "mask_mode": "fresh", "max_steps": 3}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = run_sweep(SweepConfig.from_dict(entries), tmp_path / "sweep.h5", executor=Serial())
    assert not result.converged
    texts = [str(warning.message) for warning in caught]
    assert any(
        "coupling_scale 2.5 with 2 states is in the zone 'invalid'" in text for text in texts
    )
    assert any(
        issubclass(warning.category, ConvergenceWarning)
        and str(warning.message).startswith("1 fit ")
        for warning in caught
    )
