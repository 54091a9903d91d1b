"""The record of several velocity steps, against the parameters that it was simulated with."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from assim.run.cli import main

FOLDER = Path(__file__).resolve().parent.parent.parent / "cases" / "friction_velocity_step"
TRUTH = {"a": 0.0088, "b": 0.0091, "D_c": 6.6e-6, "k": 7e3, "mu_0": 0.608, "sigma": 8e-4}
ONE_STEP = 5.8e-4  # standard deviation of a in the laboratory record, with one step


@pytest.mark.slow
def test_several_steps(tmp_path):
    arguments = ["run", str(FOLDER / "several_steps.toml"), "--out", str(tmp_path), "--quiet"]
    settings = ["--set", "minimiser.starts=1", "--set", "posterior.certificate=0"]
    result = CliRunner().invoke(main, [*arguments, *settings])
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert abs(summary["cost"]["total"] + 2991.33555) < 1e-3  # met from eight of eight guesses
    for name, truth in TRUTH.items():
        found = summary["quantities"][name]
        assert abs(found["mean"] - truth) < 3 * found["stddev"], name
    assert summary["quantities"]["a"]["stddev"] < 0.55 * ONE_STEP
