"""Contacts of a real protein family, against the precision that plmc reaches."""

from __future__ import annotations

import json

from pottsattn.cli.main import main

# plmc with lambda_e = lambda_h = 10.4 (0.2 (L - 1)): 1.000, 0.962, 0.792; two pairs of slack.
RANKS = {"L/2": (26, 1.000), "L": (53, 0.962), "2L": (106, 0.792)}


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
