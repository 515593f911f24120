"""One sampling run: checked input, the chains made from it, and the loop that fills a recorder."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pottsattn._core.display import Progress
from pottsattn._core.storage import to_json
from pottsattn._core.threads import n_threads_or_default
from pottsattn._core.validate import (
    InputError,
    check_at_least,
    check_generator,
    check_kind,
    check_positive,
    check_sequences,
)
from pottsattn.model.potts import PottsModel
from pottsattn.sampling.agreement import MIN_SAMPLES
from pottsattn.sampling.engine import Chains, Engine, build_engine, random_streams
from pottsattn.sampling.judging import Criterion, check_two_starts, judge, judge_warmup
from pottsattn.sampling.recording import Recorder
from pottsattn.sampling.result import SampleResult
from pottsattn.sampling.runs import PlainRun, Run, Workers
from pottsattn.sampling.schedule import Schedule, Tempering
from pottsattn.sampling.symmetry import check_colors, prefers_no_color
from pottsattn.sampling.tempering import TemperedRun, tune_ladder
from pottsattn.theory.ensemble import warn_outside_safe_zone

SEGMENT_SECONDS = 0.25  # of work between looks at the recorder
SEGMENT_BYTES = 1 << 24
MOST_DOUBLINGS = 6  # of the thinning, in the search for enough independent sequences


class Job:
    """One call of `sample`: checked input, the chains, and how far they are."""

    def __init__(
        self,
        model: PottsModel,
        n_sequences: int,
        schedule: Schedule | None,
        tempering: Tempering | None,
        min_ess: float | None,
        initial: ArrayLike | None,
        rng: np.random.Generator | int | None,
        n_threads: int | None,
        progress: Progress | None,
    ) -> None:
        check_kind("model", model, PottsModel, "a fit gives one by fit.to_model()")
        self.model, self.tempering = model, tempering
        self.n_sequences = check_at_least("n_sequences", n_sequences, 1)
        self.schedule = schedule or Schedule()
        self.criterion = Criterion(
            n_sequences, None if min_ess is None else check_positive("min_ess", min_ess)
        )
        if min_ess is not None and min_ess > n_sequences:
            raise InputError(
                f"min_ess must be at most the number of sequences, {n_sequences}, got {min_ess}"
            )
        if tempering is not None and self.schedule.start in ("annealed", "two"):
            raise InputError(
                f"start {self.schedule.start} does not go with tempering, whose chains start "
                "random at inverse temperature 0; leave one of the two out"
            )
        self.planted = None if initial is None else self._check_planted(initial)
        self.n_threads = n_threads_or_default(n_threads)
        self._progress = progress
        generator = check_generator(rng)
        self._seeds = cast(np.random.SeedSequence, generator.bit_generator.seed_seq)
        self._rng_state = json.loads(to_json(generator.bit_generator.state))
        self._n_spawned = self._seeds.n_children_spawned
        self.zone = None
        if model.ensemble == "sk-potts" and model.coupling_scale is not None:
            self.zone = warn_outside_safe_zone(model.n_states, model.coupling_scale, stacklevel=3)
        self.n_kept = min(self.schedule.n_chains, self.n_sequences)
        self.n_rounds = -(-self.n_sequences // self.n_kept)
        if min_ess is not None and self.n_rounds < MIN_SAMPLES:
            raise InputError(
                f"min_ess needs at least {MIN_SAMPLES} sequences per chain to judge, got "
                f"{self.n_rounds}; use at most {max(1, self.n_sequences // MIN_SAMPLES)} chains"
            )
        self._generator = generator
        recorder_seed, self._tuning_seeds, self._swap_seeds, chain_seeds = self._seeds.spawn(4)
        self.recorder_rng = np.random.default_rng(recorder_seed)
        self._chain_seeds = chain_seeds
        self._prepared: tuple[Run, Engine] | None = None
        self.seconds, self._n_updates = 0.0, 0

    def _check_planted(self, initial: ArrayLike) -> NDArray[np.uint8]:
        planted = check_sequences(initial, self.model.n_states)
        if planted.shape[1] != self.model.length or len(planted) == 0:
            raise InputError(
                f"initial sequences have shape {planted.shape}, expected (any, {self.model.length})"
            )
        return planted

    def config(self) -> dict[str, Any]:
        """Return what decides the data, for FILE.partial."""
        digest = hashlib.sha256(self.model.fields.tobytes())
        couplings = self.model.couplings
        arrays: list[Any] = [couplings.color_similarity]
        if couplings.is_factored:
            lists = couplings.neighbor_lists()
            arrays += [lists.starts, lists.neighbors, lists.interactions]
        else:
            arrays = list(couplings.rows())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        planted = None if self.planted is None else hashlib.sha256(self.planted.tobytes())
        return {
            "length": self.model.length,
            "n_states": self.model.n_states,
            "n_sequences": self.n_sequences,
            **asdict(self.schedule),
            "tempering": None if self.tempering is None else asdict(self.tempering),
            "min_ess": self.criterion.min_ess,
            "initial": None if planted is None else planted.hexdigest()[:16],
            "model": digest.hexdigest()[:16],
            "random state": hashlib.sha256(
                to_json([self._rng_state, self._n_spawned]).encode()
            ).hexdigest()[:16],
        }

    def origin(self) -> dict[str, Any]:
        """Return the provenance of the data."""
        _, engine = self._prepare()
        origin: dict[str, Any] = {
            "seed_entropy": str(self._seeds.entropy),
            "random_state": self._rng_state,
            "schedule": asdict(self.schedule),
            "kernel": engine.name,
            "planted_starts": self.planted is not None,
        }
        if self.tempering is not None:
            origin["tempering"] = asdict(self.tempering)
        if self.zone is not None:
            origin["phase_zone"] = self.zone
        return origin

    @property
    def spacing(self) -> int:
        """Sweeps between kept sequences, after all doublings."""
        return self.schedule.thin_by * self._prepare()[0].thin_factor

    def result(self, recorder: Recorder, interrupted: bool = False) -> SampleResult:
        """Return the diagnostics of what was recorded, and warn of what does not hold."""
        run, engine = self._prepare()
        traces = recorder.traces()
        n_sequences = min(self.n_sequences, recorder.n_rounds * run.n_kept)
        is_double = self.schedule.start == "two"
        _, overlap = traces.by_name()["overlap"]
        size = (self.model.length, self.model.n_states)
        result = SampleResult(
            n_sequences=n_sequences,
            diagnoses=self.criterion.diagnose(traces, self.spacing),
            warmup=judge_warmup(recorder, traces, self.schedule, self.spacing),
            two_start=check_two_starts(traces, self.n_kept) if is_double else None,
            tempering=run.report() if isinstance(run, TemperedRun) else None,
            colors=check_colors(overlap, *size) if prefers_no_color(self.model) else None,
            thin_by=self.spacing,
            converged=True,
            message="done",
            phase_zone=self.zone,
            kernel=engine.name,
            updates_per_second=self._n_updates / max(self.seconds, 1e-9),
            seconds=self.seconds,
            resumed_from=min(recorder.resumed_from, n_sequences) if recorder.is_resumed else None,
            interrupted=interrupted,
        )
        is_scattered = self.planted is None and self.schedule.start in ("random", "annealed")
        return judge(result, self.criterion, traces, is_scattered)

    def _prepare(self) -> tuple[Run, Engine]:
        """Return the run and its engine, made at the first call."""
        if self._prepared is None:
            ladder = np.ones(1)
            if self.tempering is not None:
                given = self.tempering.inverse_temperatures
                ladder = np.array(given) if given is not None else self._tune()
            n_chains = self.n_kept * len(ladder)
            engine = build_engine(
                self.model, self.schedule.move, n_chains=n_chains, n_threads=self.n_threads
            )
            engine.compile(self.model.length)
            chains = self._start(n_chains)
            run: Run
            if self.tempering is None:
                run = PlainRun(engine, chains, self.schedule)
            else:
                streams = random_streams(self._swap_seeds.spawn(self.n_kept))
                run = TemperedRun(engine, chains, streams, ladder, self.schedule, self.tempering)
            self._prepared = run, engine
        return self._prepared

    def _tune(self) -> NDArray[np.float64]:
        assert self.tempering is not None
        return tune_ladder(
            self.model, self.schedule, self.tempering, self._tuning_seeds, self.n_threads
        )

    def _start(self, n_chains: int) -> Chains:
        shape = (n_chains, self.model.length)
        states = self._generator.integers(self.model.n_states, size=shape, dtype=np.uint8)
        special = slice(n_chains // 2, None) if self.schedule.start == "two" else slice(None)
        n_special = len(states[special])
        if self.planted is not None:
            states[special] = self.planted[np.arange(n_special) % len(self.planted)]
        elif self.schedule.start in ("ordered", "two"):
            states[special] = 0
        streams = random_streams(self._chain_seeds.spawn(n_chains))
        return Chains(states, streams, np.ones(n_chains, np.float32))

    def run_until_enough(self, recorder: Recorder) -> None:
        """Advance the chains until all sequences are there and the criterion holds, or give up."""
        run, _ = self._prepare()
        state = recorder.resume()
        if state is not None:
            run.restore(state)
        n_chains = run.n_kept * run.chains_per_kept
        per_round = n_chains * self.schedule.thin_by
        total = n_chains * self.schedule.n_warmup + per_round * self.n_rounds
        workers = Workers(self.n_threads, total, self._progress)
        n_warmup = self.schedule.n_warmup * run.n_pieces_left // max(1, run.n_pieces)
        workers.done = n_chains * (self.schedule.n_warmup - n_warmup)
        workers.done += per_round * recorder.n_rounds
        before, started = workers.done, time.perf_counter()
        try:
            self._warm_up(run, recorder, workers)
            while True:
                self._fill(run, recorder, workers)
                if self.criterion.min_ess is None or run.thin_factor >= 2**MOST_DOUBLINGS:
                    break
                if self.criterion.holds(self.criterion.diagnose(recorder.traces(), self.spacing)):
                    break
                run.thin_factor *= 2
                recorder.halve(run.state())
                n_missing = self.n_rounds - recorder.n_rounds
                workers.total += per_round * run.thin_factor * n_missing
        finally:
            self.seconds += time.perf_counter() - started
            self._n_updates += (workers.done - before) * self.model.length

    def _warm_up(self, run: Run, recorder: Recorder, workers: Workers) -> None:
        n_pieces = 1
        while run.n_pieces_left:
            started = time.perf_counter()
            energies = run.warm_up(n_pieces, workers)
            recorder.append_warmup(energies, run.state())
            seconds = time.perf_counter() - started
            n_pieces = max(1, min(run.n_pieces_left, int(n_pieces * SEGMENT_SECONDS / seconds)))

    def _fill(self, run: Run, recorder: Recorder, workers: Workers) -> None:
        """Append rounds until there are enough, in segments of about a quarter of a second."""
        n_most = max(1, SEGMENT_BYTES // (run.n_kept * self.model.length))
        n_segment = 1
        while recorder.n_rounds < self.n_rounds:
            n_here = min(n_segment, n_most, self.n_rounds - recorder.n_rounds)
            started = time.perf_counter()
            recorder.append(run.advance(n_here, workers), run.state())
            seconds = max(1e-6, time.perf_counter() - started)
            n_segment = max(1, min(2 * n_here + 1, int(n_here * SEGMENT_SECONDS / seconds)))
        recorder.flush(run.state())
