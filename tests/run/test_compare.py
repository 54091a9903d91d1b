"""`assim compare`: evidences of cases that explain the same observations."""

import json

import numpy as np
import pytest

from assim.analysis.analyse import analyse
from assim.case.case import read_case
from assim.case.failure import CaseError
from assim.case.pose import pose
from assim.findings.evidence import evidence_table
from assim.run.compare import check_same
from assim.solve.posterior.importance import Importance
from assim.solve.posterior.laplace import Laplace
from tests.run.toy import Toy, invoke


@pytest.fixture
def pair(tmp_path):
    """The toy case, and one whose prior is so far off that the data speak against it."""
    good = Toy(tmp_path / "good").write()
    bad = Toy(tmp_path / "bad")
    prior = {"use": "LogNormal", "median": 3.0, "log_stdev": 0.1}
    bad.case["parameters"]["rate"]["prior"] = prior
    return good, bad.write()


def compared(pair, out, *options):
    paths = [str(toy.folder / "case.toml") for toy in pair]
    return paths, invoke("compare", *paths, "--out", str(out), *options)


def test_the_better_prior_wins(pair, tmp_path):
    paths, result = compared(pair, tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out/comparison.json").read_text())
    best, other = found["comparison"]
    assert best["case"] == paths[0] and best["log_bayes_factor"] == 0
    assert other["log_bayes_factor"] < -1 and best["probability"] > 0.7
    assert best["probability"] + other["probability"] == pytest.approx(1)
    for table in found["evidence"].values():
        assert {"laplace", "bic", "importance"} <= set(table)
    near = found["evidence"][paths[0]]
    apart = near["laplace"]["log_evidence"] - near["importance"]["log_evidence"]
    assert abs(apart) < 0.1
    assert "log Bayes factor" in result.output
    assert result.output.count("outer loops from") == 2 and "gradient norm" not in result.output


def test_other_observations_are_refused(pair, tmp_path):
    pair[1].observations["x"][0] += 1
    pair[1].write()
    _, result = compared(pair, tmp_path / "out")
    assert result.exit_code == 2 and "compare only for the same" in result.output
    assert not (tmp_path / "out").exists()


def test_one_case_is_no_comparison(pair):
    result = invoke("compare", str(pair[0].folder / "case.toml"))
    assert result.exit_code == 2 and "two cases or more" in result.output


def test_an_improper_prior_is_refused(pair, tmp_path):
    pair[1].case["parameters"]["rate"]["prior"] = {"use": "Jeffreys"}
    pair[1].write()
    _, result = compared(pair, tmp_path / "out")
    assert result.exit_code == 2 and "the prior of 'rate' is flat" in result.output, result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_likelihood_that_is_no_density_there_is_refused(pair, tmp_path):
    """Where a reading lies on the flat part beyond ±w, which goes on for ever."""
    pair[0].case["observations"][0]["likelihood"] = {"use": "VariationalQC"}
    for toy in pair:
        toy.observations["x"][3] += 30.0
        toy.write()
    _, result = compared(pair, tmp_path / "out")
    assert result.exit_code == 2 and "VariationalQC is no normalised density" in result.output
    assert "1 of 12 values, the first number 3 of those used" in result.output
    assert not (tmp_path / "out/comparison.json").exists()


def test_states_as_control_are_refused(pair, tmp_path):
    error = {"fields": {"x": {"stdev": 0.1}}, "formulation": "state"}
    pair[1].case["model_error"] = error
    pair[1].write()
    _, result = compared(pair, tmp_path / "out")
    assert result.exit_code == 2 and "model_error.formulation: states have no" in result.output


def posed(pair):
    return {str(toy.folder): pose(read_case(toy.folder / "case.toml")) for toy in pair}


def test_the_same_readings_in_another_order_and_by_another_name(pair):
    pair[1].observations = pair[1].observations.isel(obs=np.arange(12)[::-1])
    pair[1].case["observations"][0]["name"] = "other"
    pair[1].case["window"]["start"] = "1999-12-31"
    pair[1].case["window"]["slots"] = 5
    pair[1].write()
    check_same(posed(pair))


@pytest.mark.parametrize("what", ["time", "cell"])
def test_the_same_values_elsewhere_are_others(pair, what):
    pair[1].observations[what] = pair[1].observations[what][::-1].variable
    pair[1].write()
    with pytest.raises(CaseError, match="other times or places"):
        check_same(posed(pair))


def test_one_file_twice(pair):
    folder = pair[0].folder
    result = invoke("compare", str(folder / "case.toml"), f"{folder}/../{folder.name}/case.toml")
    assert result.exit_code == 2 and "named twice" in result.output


def test_evidence_goes_by_what_a_method_is(shared):
    one = pose(read_case(shared.folder / "case.toml"))
    methods = {"gauss": Laplace(certificate=0), "laplace": Importance(number=400)}
    table = evidence_table(analyse(one.problem, one.minimiser, methods))
    assert [e.method for e in table] == ["laplace", "bic", "importance"]
    assert np.isnan(table[0].stdev) and table[2].stdev > 0
