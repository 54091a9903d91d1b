"""`assim compare`: evidences of cases that explain the same observations."""

import json

import pytest

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


def test_other_observations_are_refused(pair, tmp_path):
    pair[1].observations["x"][0] += 1
    pair[1].write()
    _, result = compared(pair, tmp_path / "out")
    assert result.exit_code == 2 and "compare only for the same" in result.output
    assert not (tmp_path / "out").exists()


def test_one_case_is_no_comparison(pair):
    result = invoke("compare", str(pair[0].folder / "case.toml"))
    assert result.exit_code == 2 and "two cases or more" in result.output
