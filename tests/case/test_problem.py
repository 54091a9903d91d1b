"""Terms of J that a case asks for in the table [problem]."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.run.toy import Toy, invoke

FILTER = {"weight": 50.0, "cutoff": 2.5}


@pytest.mark.slow
def test_a_digital_filter_is_a_term_of_the_cost(toy: Toy) -> None:
    """By itself in summary, diagnostics and report; its cost falls as its weight grows."""
    toy.case["posterior"] = {"use": "Laplace"}
    toy.case["problem"] = {"digital_filter": FILTER}
    toy.write()
    result = toy.run()
    assert result.exit_code == 0, result.stderr or result.exception
    summary = json.loads((toy.out / "summary.json").read_text())
    terms = summary["cost"]
    assert terms["digital_filter"] > 0
    assert terms["total"] == pytest.approx(sum(terms.values()) - terms["total"], rel=1e-12)
    assert summary["diagnostics"]["chi_squared"] == pytest.approx(2 * terms["total"], rel=1e-9)
    for unknown in ("chi_squared_expected", "p_value"):
        assert summary["diagnostics"][unknown] is None
    assert summary["posterior"]["log_evidence"] is None
    with xr.open_dataset(toy.out / "diagnostics.nc") as file:
        assert float(file["cost_digital_filter_at_analysis"]) == terms["digital_filter"]
        assert np.isfinite(file["cost_digital_filter_at_background"])
    assert "digital filter" in (toy.out / "report.html").read_text()
    again = toy.run("--set", "problem.digital_filter.weight=5000.0")
    assert again.exit_code == 0
    stronger = json.loads((toy.out / "summary.json").read_text())["cost"]["digital_filter"]
    assert stronger / 100 < terms["digital_filter"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"weight": 1.0}, ("problem.digital_filter.cutoff", "missing")),
        ({"weight": -1.0, "cutoff": 2.5}, ("problem.digital_filter.weight",)),
        (
            {"weight": {"y": 1.0}, "cutoff": 2.5},
            ("problem.digital_filter.weight.y", "no field 'y'"),
        ),
        ({"weight": {}, "cutoff": 2.5}, ("problem.digital_filter.weight",)),
        (
            {"weight": 1.0, "cutoff": 1.5},
            ("problem.digital_filter: DigitalFilter: cutoff must be at least two slots, 2, got",),
        ),
        ({"weight": 1.0, "cutoff": 2.5, "use": "x"}, ("problem.digital_filter.use",)),
    ],
)
def test_bad_tables(toy: Toy, table: dict[str, Any], words: tuple[str, ...]) -> None:
    toy.case["problem"] = {"digital_filter": table}
    result = toy.write().run()
    assert result.exit_code == 2, result.stderr
    for word in words:
        assert word in result.stderr


def test_commands_that_need_the_prior_alone_refuse_a_filter(toy: Toy, tmp_path: Path) -> None:
    toy.case["problem"] = {"digital_filter": FILTER}
    paths = [str(t.write().folder / "case.toml") for t in (toy, Toy(tmp_path / "other"))]
    compared = invoke("compare", *paths, "--out", str(toy.out))
    assert compared.exit_code == 2, compared.stderr
    assert "problem.digital_filter: makes a prior whose integral is not known" in compared.stderr
    calibrated = toy.run("--method", "laplace", "--n", "11", command="calibrate")
    assert calibrated.exit_code == 2, calibrated.stderr
    assert "nothing can be drawn from a prior with a digital filter" in calibrated.stderr


def test_a_cycle_refuses_tables_that_it_has_no_use_for(toy: Toy) -> None:
    """Also where they are empty, as all that they leave out has a default."""
    (toy.folder).mkdir()
    (toy.folder / "own.py").write_text("def finding(analysis):\n    return None\n")
    toy.case |= {"predictive": {}, "sloppy": {"profile": True}, "cycle": {"windows": 2}}
    toy.case["findings"] = [{"use": "own.py:finding"}]
    result = toy.write().run()
    assert result.exit_code == 2, result.stderr
    for key in ("predictive", "findings", "sloppy.profile"):
        assert f"{key}: a cycle does not compute this" in result.stderr


def test_a_cycle_has_no_filter(toy: Toy) -> None:
    toy.case |= {"problem": {"digital_filter": FILTER}, "cycle": {"windows": 2}}
    del toy.case["posterior"]
    toy.case["model_error"] = {
        "covariance": {"use": "Diagonal", "stdev": 0.05},
        "jump_at_end": False,
        "every": 2,
    }
    result = toy.write().run()
    assert result.exit_code == 2, result.stderr
    assert "problem.digital_filter: a cycle has no digital filter" in result.stderr
    assert "model_error.jump_at_end: the next window of a cycle" in result.stderr


def test_a_table_that_names_no_plugin_is_refused(toy: Toy) -> None:
    """As one key of the default integrator, without its name."""
    toy.case["model"] = {"use": "Lorenz63", "integrator": {"rtol": 1e-10}}
    result = toy.write().run()
    assert result.exit_code == 2
    assert 'model.integrator: add use = "...", the name of the integrator' in result.stderr
