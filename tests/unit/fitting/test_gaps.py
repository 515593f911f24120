"""Ignored gaps: objectives against plain NumPy, recovery of couplings, files and commands."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from fit_options import as_solving, as_training
from numpy.testing import assert_allclose

from pottsattn import InputError, SequenceDataset, compare, fit_pseudolikelihood, sample
from pottsattn.analysis.comparison import coupling_error
from pottsattn.analysis.scoring import score_sequences
from pottsattn.cli import main
from pottsattn.fitting.masked.attention import FactoredAttention
from pottsattn.fitting.masked.fit import train_masked
from pottsattn.fitting.masked.masking import BoundMasking
from pottsattn.fitting.masked.objective import Objective
from pottsattn.fitting.masked.settings import AttentionConfig
from pottsattn.fitting.masked.transformer import MaskedTransformer
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.heads_problem import HeadsProblem
from pottsattn.fitting.pseudolikelihood.row_data import RowData
from pottsattn.fitting.pseudolikelihood.rows_factored import FactoredRows
from pottsattn.fitting.pseudolikelihood.rows_full import FullRows
from pottsattn.fitting.pseudolikelihood.symmetric_problem import SymmetricProblem
from pottsattn.fitting.result import FitResult
from pottsattn.fitting.selection.leave_one_out import leave_one_out
from pottsattn.model.couplings import Couplings
from pottsattn.model.ensembles import sk_potts

LENGTH = 6
PENALTY = Penalty(0.03, 0.02)


def data_with_gaps(n_states: int, rng, n_sequences: int = 40) -> SequenceDataset:
    """Weighted random sequences of an alphabet whose gap is neither first nor last."""
    sequences = rng.integers(n_states + 1, size=(n_sequences, LENGTH), dtype=np.uint8)
    sequences[:, 3] = sequences[:, 0]  # something to learn
    weights = rng.uniform(0.2, 2.0, size=n_sequences)
    return SequenceDataset(sequences, n_states + 1, weights=weights, gap_index=1)


def shown(data: SequenceDataset) -> np.ndarray:
    """What the alignment shows of its sites, (M, L, C): one-hot, every state alike at a gap."""
    states = [state for state in range(data.n_states) if state != data.gap_index]
    one_hot = (data.sequences[:, :, None] == states).astype(float)
    one_hot[data.sequences == data.gap_index] = 1.0 / len(states)
    return one_hot


def numpy_loss(fields, blocks, data: SequenceDataset):
    """Losses (L,) and gradients in fields (L, C) and blocks (L, L, C, C), by plain NumPy."""
    x, seen = shown(data), data.sequences != data.gap_index
    blocks = blocks * (1.0 - np.eye(LENGTH))[:, :, None, None]
    logits = fields + np.einsum("ijab,mjb->mia", blocks, x)
    log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    weights = data.normalized_weights[:, None] * seen
    losses = -(weights * (x * log_p).sum(axis=2)).sum(axis=0)
    residuals = weights[:, :, None] * (np.exp(log_p) - x)
    of_blocks = np.einsum("mia,mjb->ijab", residuals, x)
    of_blocks *= (1.0 - np.eye(LENGTH))[:, :, None, None]
    return losses, residuals.sum(axis=0), of_blocks


def random_point(size: int, rng) -> np.ndarray:
    return 0.5 * rng.normal(size=size)


@pytest.mark.parametrize("n_states", [3, 7])  # the kernels for few and for more states
def test_rows_of_full_blocks_match_numpy(n_states, rng):
    data = data_with_gaps(n_states, rng)
    rows = FullRows(RowData.of(data.ignoring_gaps(), PENALTY, learn_fields=True))
    for site in (0, 3):
        x = rows.tidied(site, random_point(rows.start(site).size, rng))
        x[n_states:].reshape(LENGTH, -1)[site] = 0.0
        own, blocks = rows.parameters(site, x)  # [j, b, a]
        fields, dense = np.zeros((LENGTH, n_states)), np.zeros((LENGTH, LENGTH) + (n_states,) * 2)
        fields[site], dense[site] = own, blocks.transpose(0, 2, 1)
        losses, of_fields, of_blocks = numpy_loss(fields, dense, data)
        expected = losses[site] + 0.02 * (own**2).sum() + 0.03 * (blocks**2).sum()
        slope = of_blocks[site].transpose(0, 2, 1) + 0.06 * blocks
        gradient = np.concatenate([of_fields[site] + 0.04 * own, slope.ravel()])
        objective, loss, found = rows.judge(site, x)
        assert_allclose([objective, loss], [expected, losses[site]], rtol=1e-12)
        assert_allclose(found, gradient, atol=1e-13)
        # What steps are taken on, in both precisions, is the same objective.
        value, slope = rows.objective(site, x)
        assert_allclose(value, expected, rtol=1e-12)
        assert_allclose(rows.plain_gradient(site, slope), gradient, atol=1e-12)
        value, single = rows.objective(site, x.astype(np.float32))
        assert_allclose(value, expected, rtol=1e-5)
        assert_allclose(single, slope, atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize("n_states", [3, 7])
def test_factored_rows_match_numpy(n_states, rng):
    data = data_with_gaps(n_states, rng)
    rows = FactoredRows(RowData.of(data.ignoring_gaps(), PENALTY, learn_fields=True))
    site, x = 2, random_point(n_states + LENGTH, rng)
    own, interactions = rows.parameters(site, x)
    fields, dense = np.zeros((LENGTH, n_states)), np.zeros((LENGTH, LENGTH) + (n_states,) * 2)
    fields[site], dense[site] = own, interactions[:, None, None] * np.eye(n_states)
    losses, of_fields, of_blocks = numpy_loss(fields, dense, data)
    expected = losses[site] + 0.02 * (own**2).sum() + 0.03 * (interactions**2).sum()
    slope = np.einsum("jaa->j", of_blocks[site]) + 0.06 * interactions
    precisions = ((np.float64, 1e-12), (np.float32, 1e-5))[: 1 + rows.has_single]
    for dtype, tolerance in precisions:
        objective, loss, found = rows.judge(site, x.astype(dtype))
        assert_allclose([objective, loss], [expected, losses[site]], rtol=tolerance)
        gradient = np.concatenate([of_fields[site] + 0.04 * own, slope])
        assert_allclose(found, gradient, atol=tolerance)


def test_joint_objectives_match_numpy(rng):
    """One block for each pair, and heads with learned color similarity."""
    data = data_with_gaps(7, rng)
    rows = RowData.of(data.ignoring_gaps(), PENALTY, learn_fields=True)
    symmetric, heads = SymmetricProblem(rows, 1), HeadsProblem(rows, 2, 1)
    for problem in (symmetric, heads):
        size = symmetric.start().size if problem is symmetric else LENGTH * (7 + 2 * LENGTH) + 98
        x = problem.tidied(random_point(size, rng))
        fields, couplings = problem.parameters(x)
        losses, of_fields, _ = numpy_loss(fields, couplings.to_dense(), data)
        objective, loss, gradient = problem.judge(x)
        assert_allclose(loss, losses.sum(), rtol=1e-12)
        assert_allclose(problem.objective(x)[0], objective, rtol=1e-12)
        start = gradient[: fields.size] if problem is symmetric else gradient[-fields.size :]
        if problem is heads:  # those of a symmetric fit have a share of the penalty on blocks
            assert_allclose(start.reshape(fields.shape), of_fields + 0.04 * fields, atol=1e-12)


@pytest.mark.parametrize("fraction", [None, 0.4])
def test_attention_has_the_same_loss_by_both_ways(fraction, rng):
    """By kernels that gather and by matrix products: one site masked, or many."""
    data = data_with_gaps(7, rng)
    ignoring = data.ignoring_gaps()
    layer = FactoredAttention(
        LENGTH, 7, 2, color_similarity="learned", generator=torch.Generator().manual_seed(1)
    ).double()
    with torch.no_grad():
        layer.fields.normal_(generator=torch.Generator().manual_seed(2))
    masking = BoundMasking(
        mask_fraction=fraction, length=LENGTH, n_states=7, gap_policy="ignored", seed=3
    )
    weights = torch.from_numpy(data.normalized_weights)
    batch = masking.batch(np.arange(40), ignoring.sequences, weights, 0)
    is_gap = torch.from_numpy(data.sequences == data.gap_index)
    assert batch.predicted is not None
    assert not (batch.predicted & is_gap).any()
    objective = Objective(layer, PENALTY, 1)
    gathered = objective.loss(batch)
    gathered.backward()
    slope = layer.interactions.grad.clone()
    layer.zero_grad()
    log_p = torch.log_softmax(
        layer(batch.context, None if fraction is None else batch.context == 7), dim=2
    )
    own = log_p.gather(2, batch.targets.long()[:, :, None])[:, :, 0]
    product = -(weights[:, None] * batch.predicted * own).sum()
    product.backward()
    assert_allclose(gathered.item(), product.item(), rtol=1e-12)
    assert_allclose(slope.numpy(), layer.interactions.grad.numpy(), atol=1e-13)
    if fraction is None:
        losses, _, _ = numpy_loss(*_dense(layer), data)
        assert_allclose(gathered.item(), losses.sum(), rtol=1e-12)


def _dense(layer: FactoredAttention):
    fields, couplings = layer.implied_couplings()
    return fields, couplings.to_dense()


def test_methods_reach_the_same_optimum(rng):
    data = data_with_gaps(3, rng, 200).ignoring_gaps()
    options = {"ridge": 0.5, "fields_l2": 0.02}
    factored = fit_pseudolikelihood(data, "factored", **as_solving(gap_tolerance=1e-10, **options))
    trained = train_masked(data, **as_training(optimizer="lbfgs", rng=0, **options))
    assert trained.gap_policy == factored.gap_policy == "ignored"
    assert_allclose(trained.objective, factored.objective, rtol=1e-9)
    assert_allclose(trained.train_loss, factored.train_loss, rtol=1e-6)
    assert_allclose(trained.history.train_loss[-1], trained.train_loss, rtol=1e-12)


@pytest.mark.parametrize("method", ["plm", "factored"])
def test_without_any_gap_it_is_the_ordinary_fit(method, rng):
    sequences = rng.integers(1, 4, size=(60, LENGTH), dtype=np.uint8)
    ignoring = SequenceDataset(sequences, 4, gap_index=0).ignoring_gaps()
    plain = SequenceDataset(sequences - 1, 3)
    options = {"method": method, "ridge": 0.3, "gap_tolerance": 1e-12, "precision": "double"}
    fits = [fit_pseudolikelihood(data, **as_solving(**options)) for data in (ignoring, plain)]
    assert_allclose(fits[0].couplings.to_dense(), fits[1].couplings.to_dense(), atol=1e-12)
    assert_allclose(fits[0].train_loss, fits[1].train_loss, rtol=1e-13)


def test_conditionals_do_not_depend_on_the_gauge(rng):
    data = data_with_gaps(3, rng).ignoring_gaps()
    fit = fit_pseudolikelihood(data, "plm", ridge=0.3)
    fields, couplings = fit.couplings.zero_sum(fit.fields)
    assert not np.allclose(couplings.to_dense(), fit.couplings.to_dense(), atol=1e-3)
    x = shown(data_with_gaps(3, np.random.default_rng(5)))
    sequences = data_with_gaps(3, np.random.default_rng(5)).ignoring_gaps().sequences
    for h, j in ((fields, couplings), (fit.fields, fit.couplings)):
        logits = h + np.einsum("ijab,mjb->mia", j.to_dense(), x)
        log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
        assert_allclose(fit.log_conditionals(sequences), log_p, atol=1e-12)


def test_frequencies_count_what_is_seen(rng):
    alignment = data_with_gaps(3, rng)
    data, x = alignment.ignoring_gaps(), shown(alignment)
    seen = alignment.sequences != 1
    weights = data.normalized_weights
    frequencies = np.einsum("m,mi,mia->ia", weights, seen, x)
    frequencies /= (weights @ seen)[:, None]
    assert_allclose(data.site_frequencies(), frequencies, rtol=1e-13)
    filled = np.where(seen[:, :, None], x, frequencies)
    expected = np.einsum("m,mja,mib->jiab", weights, filled, filled)
    for site in range(LENGTH):
        expected[site, site] = np.diag(frequencies[site])
        assert_allclose(data.pair_frequencies(site), expected[site], atol=1e-14)
    assert_allclose(data.observed_share, (weights[:, None] * seen).sum() / LENGTH, rtol=1e-13)


@pytest.fixture(scope="module")
def sampled():
    """A model, an alignment of it in which 30 % of the entries are gaps, and a complete test."""
    model = sk_potts(20, 4, 1.0, rng=1)
    complete = sample(model, 4000, rng=2, n_threads=1).dataset
    missing = np.random.default_rng(3).random((3000, 20)) < 0.3
    sequences = np.where(missing, 0, complete.sequences[:3000] + 1).astype(np.uint8)
    return model, SequenceDataset(sequences, 5, gap_index=0), complete.take(slice(3000, None))


@pytest.mark.parametrize(("method", "most"), [("plm", 1.02), ("factored", 0.5), ("mf", 0.8)])
def test_couplings_are_found_better_than_with_the_gap_as_a_state(method, most, sampled):
    """Full blocks, which have rows of their own for the gap, as well; a shared U much better.

    The planted fault, gaps read as the last state, is worse for all in what it predicts.
    """
    model, alignment, test = sampled
    ignoring = alignment.ignoring_gaps()
    as_letter = SequenceDataset(np.minimum(ignoring.sequences, 3), 4)

    def fitted(data: SequenceDataset) -> FitResult:
        if method == "mf":
            return fit_mean_field(data, pseudocount=0.01)
        return fit_pseudolikelihood(data, method, ridge=2.0 if method == "plm" else 0.2)

    fits = [fitted(data) for data in (ignoring, alignment, as_letter)]
    states = fits[1].couplings.to_dense()[:, :, 1:, 1:]
    fits[1] = replace(fits[1], fields=fits[1].fields[:, 1:], couplings=Couplings(dense=states))
    assert coupling_error(fits[0], model) < most * coupling_error(fits[1], model)
    judged = compare(dict(zip("abc", fits, strict=True)), test).fits
    assert judged[0].test_loss < min(judged[1].test_loss, judged[2].test_loss)


def test_compare_leaves_gaps_out(rng):
    alignment = data_with_gaps(3, rng)
    fit = fit_pseudolikelihood(alignment.ignoring_gaps(), "plm", ridge=0.3)
    seen = alignment.sequences != 1
    losses, _, _ = numpy_loss(fit.fields, fit.couplings.to_dense(), alignment)
    expected = losses.sum() / (alignment.normalized_weights @ seen.sum(axis=1))
    (row,) = compare({"fit": fit}, alignment).fits
    assert_allclose([row.test_loss, fit.train_loss], expected, rtol=1e-12)
    state = fit_pseudolikelihood(alignment, "plm", ridge=0.3)
    assert_allclose(compare({"a": fit, "b": state}, alignment).fits[0].test_loss, expected)
    with pytest.raises(InputError, match=r"found 0\.\.3"):  # a fit that knows no gap
        compare({"c": replace(fit, gap_policy="state")}, alignment.ignoring_gaps())


def test_refusals(rng):
    data = data_with_gaps(3, rng)
    ignoring = data.ignoring_gaps()
    assert ignoring.ignoring_gaps() is ignoring
    fit = fit_pseudolikelihood(ignoring, "plm", ridge=0.3)
    for call, message in (
        (lambda: replace(data, gap_index=None).ignoring_gaps(), "no gap state"),
        (lambda: ignoring.save("never.h5"), "a file of sequences cannot ignore gaps"),
        (lambda: leave_one_out(fit, ignoring), "leave-one-out.* cannot ignore gaps"),
        (lambda: fit_pseudolikelihood(ignoring, penalty=Penalty(0.0)), "need a penalty"),
        (
            lambda: train_masked(ignoring, MaskedTransformer(LENGTH, 3)),
            "a transformer cannot ignore gaps",
        ),
        (
            lambda: train_masked(
                ignoring,
                validation=SequenceDataset(
                    ignoring.take(ignoring.sequences.max(axis=1) < 3).sequences, 3
                ),
            ),
            "expected one policy",
        ),
        (
            lambda: train_masked(
                ignoring, AttentionConfig(color_similarity="learned", fields="none")
            ),
            "need fields",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_commands(tmp_path, rng, monkeypatch, capsys):
    """fit --gaps ignored keeps the policy in its file; compare uses it; samples have no gaps."""
    monkeypatch.chdir(tmp_path)
    letters = rng.choice(list("-ACDEF"), size=(60, LENGTH))
    letters[:, 3] = letters[:, 0]
    records = (f">{number}\n{''.join(row)}\n" for number, row in enumerate(letters))
    (tmp_path / "family.fasta").write_text("".join(records))

    def run(*argv: str) -> tuple[int, str, dict]:
        status = main([*argv, "--json"])
        out, err = capsys.readouterr()
        return status, err, json.loads(out) if out else {}

    fit = ("fit", "family.fasta", "--gaps", "ignored", "--method")
    for method in ("plm", "factored", "attention", "mf"):
        steps = ("--max-steps", "60") if method == "attention" else ()
        status, _, report = run(*fit, method, *steps, "--out", f"{method}.h5")
        assert status == (0 if report["converged"] else 3)
        found = FitResult.load(f"{method}.h5")
        assert (found.gap_policy, found.n_states, found.gap_index) == ("ignored", 20, None)
        assert found.alphabet == "ACDEFGHIKLMNPQRSTVWY"
        status, _, judged = run("compare", f"{method}.h5", "--test", "family.fasta")
        assert status == 0
        assert_allclose(judged["fits"][0]["test_loss"], found.train_loss, rtol=1e-5)
        assert judged["fits"][0]["gap_policy"] == "ignored"
    sampled = ("sample", "--model", "plm.h5", "--sequences", "50", "--warmup", "20")
    assert run(*sampled, "--out", "sampled.h5")[0] in (0, 3)
    dataset = SequenceDataset.load("sampled.h5")
    assert (dataset.alphabet, dataset.gap_index) == ("ACDEFGHIKLMNPQRSTVWY", None)
    exported = (
        "export",
        "plm.h5",
        "--format",
        "plmc",
        "--data",
        "family.fasta",
        "--out",
        "plm.eij",
    )
    assert run(*exported)[0] == 0
    again = (*fit, "plm", "--init", "plm.eij", "--out", "again.h5")
    assert run(*again)[2]["n_evaluations"] < FitResult.load("plm.h5").n_evaluations
    assert run("fit", "family.fasta", "--method", "plm", "--out", "state.h5")[0] == 0
    assert FitResult.load("state.h5").gap_policy == "state"
    for argv, message in (
        ((*fit, "plm", "--ridge", "auto"), "--ridge auto cannot ignore gaps"),
        ((*fit, "plm", "--errors", "laplace"), "--errors cannot ignore gaps"),
        ((*fit, "transformer"), "--gaps applies to plm, factored, attention and mf"),
        ((*fit, "plm", "--gaps", "drop"), "gaps must be one of state, ignored"),
        (("fit", "sampled.h5", "--gaps", "ignored", "--method", "plm"), "no gap state"),
    ):
        status, err, _ = run(*argv, "--out", "never.h5")
        assert status == 1
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "never.h5").exists()


def test_scores_of_sequences_with_gaps_count_their_other_sites(rng):
    letters = SequenceDataset(
        rng.integers(4, size=(60, LENGTH), dtype=np.uint8), 4, alphabet="-ACG", gap_index=0
    )
    fit = fit_pseudolikelihood(letters.ignoring_gaps(), ridge=1.0)
    scores = score_sequences(fit, letters)
    seen = letters.ignoring_gaps()
    log_p = fit.log_conditionals(seen.sequences)
    for m in range(letters.n_sequences):
        sites = np.flatnonzero(seen.sequences[m] < 3)
        expected = log_p[m, sites, seen.sequences[m, sites]].sum()
        assert_allclose(scores.pseudo_log_likelihood[m], expected)
        assert np.isnan(scores.exponent[m]) == (len(sites) < LENGTH)
    assert np.isfinite(scores.exponent).any()
