"""`assim calibrate` from a case to its files."""

import io
import sys

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from assim.case.case import read_case
from assim.case.pose import pose
from assim.files.errors import DataError
from assim.run import calibrate as command
from assim.run.calibrate import FILE, PICTURE, _draw, _method, calibrate_case
from assim.run.terminal.directory import Results
from assim.run.terminal.screen import Screen
from assim.solve.posterior.importance import Importance
from assim.solve.posterior.laplace import Laplace
from tests.run.toy import Toy, invoke

pytestmark = pytest.mark.slow

N = 40


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def calibrated(shared: Toy):
    result = shared.run(
        "--n", str(N), "--method", "Laplace", "--out", str(shared.out), command="calibrate"
    )
    assert result.exit_code == 0, result.stderr or result.exception
    return shared, result.stdout


def test_what_is_printed(calibrated) -> None:
    toy, text = calibrated
    for word in (
        "calibration of laplace",
        f"{N} of {N} simulations",
        "rate",
        "x[2]",
        "log_density",
    ):
        assert word in text
    assert "within 90 %" in text and "p of ECDF" in text
    assert f"Wrote to {toy.out}: calibration.nc, calibration.png" in text


def test_file(calibrated) -> None:
    toy, text = calibrated
    with xr.open_dataset(toy.out / "calibration.nc") as file:
        file = file.load()
    names = ["x[0]", "x[1]", "x[2]", "rate", "log_density"]
    assert file["quantity"].attrs["quantity_names"].split("\n") == names
    assert file["quantity"].attrs["flag_meanings"] == "x_0 x_1 x_2 rate log_density"
    assert file["rank"].shape == (N, 5)
    assert file["rank"].min() >= 0 and file["rank"].max() <= file["rank"].attrs["draws"] == 99
    assert (file["histogram"].sum("bin") == N).all()
    below = (file["rank"] < 50).mean("simulation")
    at = int(np.argmin(np.abs(file["expected"].values - 0.5)))
    np.testing.assert_allclose(file["ecdf"].isel(rank_place=at), below)
    assert (file["ecdf_low"] <= file["expected"]).all()
    assert (file["expected"] <= file["ecdf_high"]).all()
    inside = ((file["rank"] >= 5) & (file["rank"] < 95)).mean("simulation")
    np.testing.assert_allclose(file["coverage"].sel(level=0.9), inside)
    assert file.attrs["assim_verdict"] in text.replace("\n", " ")
    assert file.attrs["assim_method"] == "laplace"
    assert "toy.py:Decay" in file.attrs["assim_config"]


def test_picture(calibrated) -> None:
    toy, _ = calibrated
    assert (toy.out / "calibration.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore")
def test_conventions_are_kept(calibrated, conventions) -> None:
    toy, _ = calibrated
    assert conventions(toy.out / "calibration.nc") == []


def test_a_picture_that_cannot_be_drawn_costs_no_simulations(calibrated, monkeypatch, tmp_path):
    toy, _ = calibrated
    (tmp_path / FILE).write_bytes((toy.out / FILE).read_bytes())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    console, results = Console(record=True, file=io.StringIO()), Results(None, tmp_path)
    _draw(results, Screen(console))
    assert not results.paths and "pip install matplotlib" in console.export_text().replace(
        "\n", " "
    )


def test_a_picture_of_somebody_else_is_not_replaced(toy: Toy, monkeypatch) -> None:
    toy.write().out.mkdir()
    (toy.out / PICTURE).write_bytes(b"old")
    monkeypatch.setattr(command, "_calibrated", lambda *_: 1 / 0)
    with pytest.raises(DataError, match="is not assim's; move it"):
        calibrate_case(read_case(toy.write_case()), 10, "laplace", toy.out, Screen(quiet=True))
    assert (toy.out / PICTURE).read_bytes() == b"old"


@pytest.mark.parametrize(
    ("wanted", "members"),
    [("laplace", 70), ("Laplace", 70), ("GAUSS", 80), ("importance", None)],
)
def test_a_method_is_found_by_name_or_class(toy: Toy, wanted, members) -> None:
    toy.case["posterior"] = [
        {"use": "Laplace", "name": "first", "members": 70},
        {"use": "Laplace", "name": "gauss", "members": 80},
    ]
    found = _method(pose(read_case(toy.write().write_case())), wanted)
    assert found == (Importance() if members is None else Laplace(members=members))


# ---- what is refused -----------------------------------------------------------------------------


def test_a_case_without_a_method(shared: Toy) -> None:
    result = shared.run(command="calibrate")
    assert result.exit_code == 2
    assert "the case has none; choose one, as with --method laplace" in words(result.stderr)


def test_a_case_that_leaves_the_choice(toy: Toy) -> None:
    toy.case["posterior"] = "auto"
    result = toy.write().run(command="calibrate")
    assert result.exit_code == 2
    assert "'auto' may take another for every data set; choose one" in words(result.stderr)


def test_a_method_that_is_not_there(shared: Toy) -> None:
    result = shared.run("--method", "Laplac", command="calibrate")
    assert result.exit_code == 2
    assert "Laplace" in result.stderr


def test_a_flat_prior(toy: Toy) -> None:
    toy.case["parameters"]["rate"]["prior"] = {"use": "Jeffreys"}
    result = toy.write().run("--method", "Laplace", "--n", "10", command="calibrate")
    assert result.exit_code == 2
    assert "the prior of 'rate' is flat" in result.stderr


def test_too_few_simulations(shared: Toy) -> None:
    assert invoke("calibrate", str(shared.folder / "case.toml"), "--n", "3").exit_code == 2


def test_a_model_that_is_never_finite(toy: Toy) -> None:
    toy.model = toy.model.replace('return {"x": y}', 'return {"x": y + jnp.nan}')
    out = toy.folder / "nothing"
    options = ("--method", "Laplace", "--n", "10", "--out", str(out))
    result = toy.write().run(*options, command="calibrate")
    assert result.exit_code == 5
    assert "fails at" in result.stderr
    assert not out.exists()
