"""`sample`: draw sequences from a Potts model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pottsattn._core.verdict import stated
from pottsattn.cli._shell import (
    DONE,
    NOT_CONVERGED,
    add_command,
    bar,
    check_output,
    say,
)

if TYPE_CHECKING:
    from pottsattn.sampling.result import SampleResult


def add_parser(commands: Any) -> None:
    """Add the command."""
    sample = add_command(
        commands,
        "sample",
        _sample,
        "Draw equilibrium sequences from a Potts model and store them with the model.",
    )
    sample.add_argument(
        "--model",
        metavar="FILE",
        help="sample the model in FILE: a data set, a model or a fit, symmetrized",
    )
    sample.add_argument(
        "--ensemble", help="sk-potts, generalized, chain or lattice-2d (default: sk-potts)"
    )
    sample.add_argument(
        "--edges",
        metavar="FILE",
        help="sample the Potts model of a graph: lines `i j [strength]`, sites from 0",
    )
    sample.add_argument("--length", type=int, metavar="L", help="number of sites")
    sample.add_argument("--states", type=int, metavar="C", help="number of states of a site")
    sample.add_argument(
        "--coupling-scale",
        type=float,
        metavar="J",
        help="J, the strength of the couplings, in k_B T; needed with an ensemble; with --edges a "
        "factor on the strengths (default: 1)",
    )
    sample.add_argument(
        "--sequences", type=int, metavar="M", required=True, help="number of sequences"
    )
    sample.add_argument("--out", metavar="F.h5", required=True, help="data set to write")
    sample.add_argument(
        "--inverse-temperature",
        type=float,
        default=1.0,
        metavar="B",
        help="factor on fields and couplings; the model is stored with it",
    )
    chains = sample.add_argument_group("chains")
    chains.add_argument(
        "--chains",
        type=int,
        metavar="K",
        help="independent chains (default: 64), or ladders with --tempering (default: 8)",
    )
    chains.add_argument(
        "--warmup",
        type=int,
        default=200,
        metavar="W",
        help="sweeps of a chain before it keeps its first sequence",
    )
    chains.add_argument(
        "--thin", type=int, default=10, metavar="T", help="sweeps between kept sequences of a chain"
    )
    chains.add_argument(
        "--move",
        default="heat-bath",
        metavar="NAME",
        help="heat-bath, metropolis, or the cluster moves swendsen-wang and wolff of ferromagnets",
    )
    chains.add_argument(
        "--start",
        default="random",
        metavar="NAME",
        help="random, ordered, annealed, or two: half random, half ordered, which must meet",
    )
    chains.add_argument(
        "--initial",
        metavar="DATA",
        help="start from the sequences of a data set (with --start two: half of the chains)",
    )
    chains.add_argument(
        "--tempering",
        action="store_true",
        help="exchange replicas on a ladder of temperatures that is found by itself",
    )
    chains.add_argument(
        "--min-ess",
        type=float,
        metavar="X",
        help="double the thinning until the effective sample size is at least X, or exit with 3",
    )


def _sample(arguments: argparse.Namespace) -> int:
    import numpy as np

    from pottsattn.files import build_model, read_initial, read_labels
    from pottsattn.sampling.sampler import sample_to_file
    from pottsattn.sampling.schedule import N_LADDERS, Schedule, Tempering

    check_output(arguments.out, arguments.model, arguments.edges, arguments.initial)
    generator = np.random.default_rng(arguments.seed)
    model = build_model(
        model=arguments.model,
        edges=arguments.edges,
        ensemble=arguments.ensemble,
        length=arguments.length,
        n_states=arguments.states,
        coupling_scale=arguments.coupling_scale,
        inverse_temperature=arguments.inverse_temperature,
        rng=generator,
    )
    n_chains = arguments.chains
    if n_chains is None:
        n_chains = N_LADDERS if arguments.tempering else Schedule.n_chains
    schedule = Schedule(n_chains, arguments.warmup, arguments.thin, arguments.move, arguments.start)
    initial = None
    if arguments.initial is not None:
        initial = read_initial(arguments.initial, model, arguments.model)
    labels = None if arguments.model is None else read_labels(arguments.model)
    facts: dict[str, Any] = {"seed": arguments.seed}
    if arguments.model is not None:
        facts["source"] = {"file": arguments.model}
    with bar("sampling", "sweep") as progress:
        result = sample_to_file(
            model,
            arguments.sequences,
            arguments.out,
            schedule=schedule,
            tempering=Tempering() if arguments.tempering else None,
            min_ess=arguments.min_ess,
            initial=initial,
            rng=generator,
            n_threads=arguments.threads,
            progress=progress,
            labels=labels,
            facts=facts,
        )
    say(arguments, {"file": arguments.out, **result.to_dict()}, _describe(result, arguments))
    return DONE if result.converged else NOT_CONVERGED


def _describe(result: SampleResult, arguments: argparse.Namespace) -> str:
    import numpy as np

    plural = "" if result.n_sequences == 1 else "s"
    # Between kept sequences nothing is seen: a time of one spacing is only a bound.
    tau = result.autocorrelation_time
    time = f"{tau:.0f}" if tau >= 100.0 else f"{tau:.3g}"
    most, bound = "", "at most " if tau <= result.thin_by else ""
    if result.is_lower_bound:
        most, bound = "at most ", "at least "
    lines = [f"{arguments.out}: {result.n_sequences} sequence{plural}, the model and the traces"]
    if result.resumed_from is not None:
        lines[0] += f" (resumed from {result.resumed_from})"
    if np.isnan(result.split_r_hat):
        lines.append("too few sequences per chain for diagnostics; raise --sequences to have them")
    elif np.isnan(result.ess):
        lines.append("neither energy nor overlap changes: no effective sample size")
    else:
        lines.append(
            f"effective sample size {most}{result.ess:.0f}, split-R-hat {result.split_r_hat:.3f}, "
            f"autocorrelation time {bound}{time} sweeps (the worse of "
            "energy and overlap)"
        )
        lines.append(f"warm-up {arguments.warmup} sweeps; {result.warmup.message}")
    if result.thin_by != arguments.thin:
        lines.append(f"thinning raised from {arguments.thin} to {result.thin_by} sweeps")
    if result.two_start is not None and result.converged:
        lines.append(result.two_start.message)
    if result.tempering is not None:
        ladder = result.tempering
        lines.append(
            f"tempering: {len(ladder.inverse_temperatures)} inverse temperatures, swap rates "
            f"{ladder.swap_rates.min():.2f} to {ladder.swap_rates.max():.2f}, "
            f"{ladder.n_round_trips} round trips"
        )
    if not result.converged:
        lines.append(stated(False, result.message))
    lines.append(
        f"{result.kernel}, {result.updates_per_second / 1e6:.1f} million updates per second, "
        f"{result.seconds:.1f} s"
    )
    return "\n".join(lines)
