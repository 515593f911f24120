"""Contacts of a real protein family, against the precision of plmc and of pydca's recipe."""

from __future__ import annotations

import json

from pottsattn.analysis.contacts import rank_contacts
from pottsattn.analysis.distances import read_distances
from pottsattn.cli.main import main
from pottsattn.data.reading import read_dataset
from pottsattn.exchange.conventions import objective_in, penalty_from
from pottsattn.fitting.mean_field import fit_mean_field
from pottsattn.fitting.penalty import Penalty
from pottsattn.fitting.pseudolikelihood.fit import fit_pseudolikelihood

# plmc with lambda_e = lambda_h = 10.4 (0.2 (L - 1)): 1.000, 0.962, 0.792; two pairs of slack.
RANKS = {"L/2": (26, 1.000), "L": (53, 0.962), "2L": (106, 0.792)}
# Mean field by pydca's recipe in NumPy (identity > 0.8, norm over 20 letters), one pair of slack.
MEAN_FIELD_RANKS = {"L/2": (26, 0.9615), "L": (53, 0.9245), "2L": (106, 0.8208)}


def test_precision_on_pf00014_is_within_two_pairs_of_plmc(data_dir, tmp_path, capsys):
    fit, ranking = str(tmp_path / "plm.h5"), str(tmp_path / "contacts.csv")
    alignment, distances = data_dir / "PF00014.fasta.gz", data_dir / "PF00014_struct.dat"
    assert main(["fit", str(alignment), "--method", "plm", "--out", fit, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["converged"]
    assert report["optimality_gap"] < 1e-6
    command = ["contacts", fit, "--distances", str(distances), "--out", ranking, "--json"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["n_pairs"], result["n_contacts"]) == (1128, 439)
    for name, (rank, reference) in RANKS.items():
        assert result["precision"][name] >= reference - 2.5 / rank, name


def test_precision_of_mean_field_on_pf00014_is_that_of_pydcas_recipe(data_dir):
    dataset = read_dataset(data_dir / "PF00014.fasta.gz")
    known = read_distances(data_dir / "PF00014_struct.dat")
    precision = rank_contacts(fit_mean_field(dataset)).precision(known)
    for name, (rank, reference) in MEAN_FIELD_RANKS.items():
        assert abs(precision.at[name] - reference) <= 1.5 / rank, name


def test_a_joint_fit_of_pf00014_reaches_the_optimum_of_plmc(data_dir):
    """plmc with lambda_e = lambda_h = 10.4 needs 171 evaluations to reach 120637.26."""
    dataset = read_dataset(data_dir / "PF00014.fasta.gz")
    penalty = penalty_from(
        "plmc", 10.4, 10.4, length=dataset.length, effective_size=dataset.effective_size
    )
    fit = fit_pseudolikelihood(
        dataset, symmetric=True, penalty=Penalty(penalty.couplings_l2, penalty.fields_l2)
    )
    value = objective_in("plmc", fit.fields, fit.couplings, dataset, (10.4, 10.4))
    assert fit.converged
    assert value <= 120637.26 + 0.05
    assert fit.n_evaluations < 60
