"""What a run says where the data do not fit, and where they do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.run.toy import Toy, invoke, observations


@pytest.fixture(scope="module")
def misfit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Toy]:
    """A finished run on values of another unit."""
    toy = Toy(tmp_path_factory.mktemp("misfit") / "toy")
    toy.observations = observations()
    toy.observations["x"].values *= 10
    toy.observations["x"].values[[0, 1]] = np.nan
    toy.case["posterior"] = {"use": "Laplace"}
    return toy.write().run("--strict"), toy


def test_a_misfit_is_never_certified(misfit: tuple[Any, Toy]) -> None:
    result, toy = misfit
    assert result.exit_code == 6, result.stderr or result.exception
    assert "The data do not fit the problem as stated" in result.stdout
    assert "x: Σd² = " in result.stdout
    assert "(certified)" not in result.stdout
    summary = json.loads((toy.out / "summary.json").read_text())
    assert summary["verdict"] == "doubtful"
    assert summary["posterior"]["verdict"] == "doubtful"
    assert summary["fit"]["verdict"] == "poor"
    assert summary["fit"]["instruments"]["x"]["p_value"] < 1e-6
    for name in ("posterior", "diagnostics"):
        with xr.open_dataset(toy.out / f"{name}.nc") as file:
            assert (file.attrs["verdict"], file.attrs["fit"]) == ("doubtful", "poor")


def test_the_largest_residual_is_named_by_its_row_of_the_file(misfit: tuple[Any, Toy]) -> None:
    """Rows that are not used count, too; there are three a day."""
    result, toy = misfit
    used = json.loads((toy.out / "summary.json").read_text())["fit"]["instruments"]["x"]
    row = 2 + used["worst_row"]
    words = f"row {row} (from 0) of {toy.folder / 'observations.nc'}, 2000-01-0{2 + row // 3}, with"
    assert words in result.stdout


def test_without_strict_it_ends_as_any_other(misfit: tuple[Any, Toy], tmp_path: Path) -> None:
    result = misfit[1].run("--out", str(tmp_path / "again"))
    assert result.exit_code == 0
    assert "The data do not fit the problem as stated" in result.stdout


def test_the_report_has_it_at_its_head(misfit: tuple[Any, Toy]) -> None:
    page = (misfit[1].out / "report.html").read_text()
    assert page.index("The data do not fit the problem as stated") < page.index("Quantities")
    assert "laplace, doubtful" in page


def test_check_of_finished_results_repeats_it(misfit: tuple[Any, Toy]) -> None:
    result = invoke("check", str(misfit[1].out))
    assert result.exit_code == 0, result.stderr
    assert "laplace (doubtful)" in result.stdout
    assert "The data do not fit the problem as stated" in result.stdout


def test_check_of_a_directory_without_results(tmp_path: Path) -> None:
    result = invoke("check", str(tmp_path))
    assert result.exit_code == 3
    assert "summary.json" in result.stderr


def test_a_sound_run_is_certified(toy: Toy) -> None:
    toy.observations = observations()
    toy.observations["x_stddev"].values[:] = 0.2
    result = toy.write().run("--strict", "--set", "posterior.use=Laplace")
    assert result.exit_code == 0, result.stdout
    assert "do not fit" not in result.stdout
    summary = json.loads((toy.out / "summary.json").read_text())
    assert (summary["verdict"], summary["fit"]["verdict"]) == ("certified", "good")


def test_that_nothing_is_tested_is_said_wherever_the_verdict_is(toy: Toy) -> None:
    toy.observations = observations()
    prior = {"use": "LogNormal", "median": 2.0, "log_stdev": 0.5}
    toy.case["observations"][0]["error"] = {"name": "sigma", "prior": prior}
    toy.case["minimiser"] = {"use": "NewtonCG"}
    result = toy.write().run()
    assert result.exit_code == 0, result.stderr
    line = "Fit of x not tested: the error scale sigma is estimated"
    assert line in result.stdout
    assert line in invoke("check", str(toy.out)).stdout
    page = (toy.out / "report.html").read_text()
    assert page.index(line) < page.index("<section>")
