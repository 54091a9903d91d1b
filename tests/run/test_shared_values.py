"""One file of observations under two names is told, by `check`, by `run` and by a cycle."""

import json

import numpy as np
import pytest

from tests.run.toy import Toy, invoke, observations

TWICE = "x and again have the same 12 values at the same times and places in common"


def twice(toy: Toy) -> Toy:
    toy.case["observations"].append({"file": "again.nc", "variable": "x", "name": "again"})
    again = observations().isel(obs=np.arange(12)[::-1])
    again["x"] = again["x"].astype("float32")
    hours = 24 * (again["time"].values + 1)
    toy.write()
    again = again.assign_coords(time=("obs", hours, {"units": "hours since 1999-12-31"}))
    again.to_netcdf(toy.folder / "again.nc")
    return toy


def test_check_and_run_say_so(toy: Toy) -> None:
    twice(toy)
    assert TWICE in toy.run(command="check").stdout
    assert TWICE in toy.run().stdout
    assert any(
        TWICE in note for note in json.loads((toy.out / "summary.json").read_text())["notes"]
    )
    assert TWICE in invoke("check", str(toy.out)).stdout


@pytest.mark.slow
def test_a_cycle_says_so_once(toy: Toy) -> None:
    toy.case["cycle"] = {"windows": 2, "method": {"use": "FourDVar"}}
    toy.case["window"]["slots"] = 2
    toy.case["minimiser"] = {"use": "GaussNewton"}
    toy.case.pop("posterior")
    toy.case["background"]["covariance"] = {"use": "Diagonal", "stdev": 0.5}
    result = twice(toy).run()
    assert result.exit_code == 0, result.stderr or result.exception
    assert result.stdout.count("data that count twice") == 1
    assert "the same 6 values" in result.stdout


@pytest.mark.parametrize(("rows", "told"), [(6, True), (7, False)])
def test_most_of_the_values_must_be_the_same(toy: Toy, rows: int, told: bool) -> None:
    twice(toy)
    again = observations()
    again["x"].values[:rows] += 0.01
    again.to_netcdf(toy.folder / "again.nc")
    assert ("6 of 12 values" in toy.run(command="check").stdout) == told


def test_what_is_held_back_is_not_what_is_assimilated(toy: Toy) -> None:
    twice(toy)
    toy.case["observations"][1]["held_back"] = True
    toy.write_case()
    said = toy.run(command="check").stdout
    assert "verifies nothing" in said and "count twice" not in said
