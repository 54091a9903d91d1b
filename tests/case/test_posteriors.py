"""Posteriors of a case: lists of them, names, and readings that are held back."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from assim.case.case import read_case
from assim.case.failure import CaseError
from assim.case.pose import pose
from assim.run.terminal.screen import Screen
from tests.run.toy import Toy


@pytest.fixture
def toy(tmp_path):
    toy = Toy(tmp_path / "case")
    toy.case["posterior"] = {"use": "Laplace", "certificate": 500, "members": 60}
    return toy


def summary(toy):
    return json.loads((toy.out / "summary.json").read_text())


@pytest.mark.slow
def test_several_posteriors(toy):
    settings = {"certificate": 500, "members": 60}
    toy.case["posterior"] = [
        {"use": "Laplace", **settings},
        {"use": "Laplace", "name": "gauss_newton", "hessian": "gauss_newton", **settings},
    ]
    result = toy.write().run()
    assert result.exit_code == 0, result.output
    found = summary(toy)
    assert list(found["posterior"]) == ["laplace", "gauss_newton"]
    assert found["chosen"] == "laplace" and found["choice"]
    for name, one in found["posterior"].items():
        assert set(one["quantities"]) == {"rate"}
        assert one["trust"] in ("certified", "doubtful")
        assert one["seconds"] > 0 and one["gradients"] > 0
        for file in one["files"]:
            with xr.open_dataset(toy.out / file) as dataset:
                assert dataset.attrs["title"]
        suffix = "" if name == "laplace" else f"_{name}"
        assert one["files"] == [f"posterior{suffix}.nc", f"trajectory{suffix}.nc"]
    assert f"gauss_newton ({found['posterior']['gauss_newton']['trust']})" in result.output
    toy.case["posterior"] = {"use": "Laplace", **settings}
    toy.write().run()
    assert not [*toy.out.glob("*_gauss_newton.nc")]  # of the run before


BAD = {
    "two of one name": (["Laplace", "Laplace"], "posterior.1: posterior.0 is called 'laplace' too"),
    "none among others": (["Laplace", "none"], "posterior.1: 'none' stands alone"),
    "auto among others": (["auto", "Laplace"], "posterior.0: 'auto' stands alone"),
    "a name for no file": (
        [{"use": "Laplace", "name": "My run"}],
        "posterior.0.name: must be of small",
    ),
    "a setting of auto": ({"use": "auto", "members": 10}, "posterior.members: no such key: 'auto'"),
    "a name of none": ({"use": "none", "name": "x"}, "posterior.name: no such key: 'none'"),
    "auto misspelt": ("autp", "did you mean 'auto'?"),
    "a number": (3, "posterior: must be a table, the name of a method"),
    "a bad name alone": ({"use": "Laplace", "name": "My run"}, "posterior.name: must be of small"),
    "nothing": ([], "posterior: must name one method at least"),
    "unknown": (["Laplac"], "posterior.0.use: no posterior is called 'Laplac'"),
}


@pytest.mark.parametrize("given", BAD)
def test_bad_posteriors(toy, given):
    toy.case["posterior"], expected = BAD[given]
    result = toy.write().run()
    assert result.exit_code == 2 and expected in result.output, result.output


def test_a_case_by_another_name_has_a_directory_of_its_own(toy):
    path = toy.write().write_case()
    assert read_case(path).directory(None) == Path("out/case")
    other = path.rename(path.parent / "methods.toml")
    assert read_case(other).directory(None) == Path("out/case_methods")


@pytest.mark.slow
def test_readings_held_back(toy):
    toy.case["observations"].append(
        {"file": "observations.nc", "variable": "x", "held_back": True, "name": "kept"}
    )
    toy.case["predictive"] = {"draws": 200}
    toy.case["sloppy"] = {"profile": True}
    toy.case["output"] = {"arviz": True}
    result = toy.write().run()
    assert result.exit_code == 0, result.output
    found = summary(toy)
    assert found["observations"]["kept"]["used"] == 0
    assert found["observations"]["kept"]["held_back"] == found["observations"]["x"]["used"]
    scores = found["predictive"]
    assert scores["kept"]["held_back"] and not scores["x"]["held_back"]
    assert 0 < scores["kept"]["crps"] < scores["kept"]["crps_prior"]
    with xr.open_dataset(toy.out / "feedback.nc") as file:
        same = np.isfinite(file["x_hofx_analysis"].values)
        kept, own = file["kept_hofx_analysis"].values, file["x_hofx_analysis"].values
        np.testing.assert_allclose(kept[same], own[same], rtol=1e-12)
        assert set(file["kept_effective_qc"].values[file["x_effective_qc"].values == 0]) == {1}
        assert np.all(file["x_predictive_q05"] <= file["x_predictive_q95"])
    with xr.open_datatree(toy.out / "inference_data.nc") as tree:
        assert tree["posterior"]["rate"].shape == (1, 500)  # draws of the certificate
    assert found["sloppy"]["coordinates"] == ["rate"]
    with xr.open_dataset(toy.out / "diagnostics.nc") as file:
        assert "profile_rise" in file and file.sizes["direction"] == 1


def test_everything_held_back(toy):
    toy.case["observations"][0]["held_back"] = True
    result = toy.write().run()
    assert result.exit_code == 2 and "every instrument is held back" in result.output


def hold_back(toy, **more):
    table = {"file": "observations.nc", "variable": "x", "held_back": True, **more}
    toy.case["observations"].append(table)
    return toy


SCALE = {"name": "s", "prior": {"use": "LogNormal", "median": 1.0, "log_stdev": 0.2}}
BAD_HELD_BACK = {
    "name of an assimilated one": ({"name": "x"}, "observations.1.name: observations.0 is called"),
    "a background check": ({"quality": {"threshold": 3.0}}, "observations.1.quality.threshold: "),
    "a scale": ({"error": SCALE}, "observations.1: x_held_back: its error scale 's'"),
    "a bias": (
        {"bias": [{"name": "b", "prior": {"use": "Normal", "mean": 0.0, "stdev": 1.0}}]},
        "observations.1: x_held_back: its bias coefficient 'b'",
    ),
}


@pytest.mark.parametrize("given", BAD_HELD_BACK)
def test_bad_readings_held_back(toy, given):
    more, expected = BAD_HELD_BACK[given]
    result = hold_back(toy, **more).write().run(command="check")
    assert result.exit_code == 2 and expected in result.output, result.output


def test_two_tables_of_one_variable_held_back(toy):
    posed = pose(read_case(hold_back(hold_back(toy)).write().write_case()))
    assert [o.observations.name for o in posed.held_back] == ["x_held_back", "x_held_back_2"]
    assert posed.rejected()["x_held_back_2"] == {"held_back": 12}


@pytest.mark.parametrize("day", [1.5, 3.0])
def test_readings_held_back_make_no_model_error(toy, day):
    toy.case["window"] = {"start": "2000-01-01", "times": "observations"}
    hold_back(toy, file="later.nc").write()
    days, one = toy.observations["time"], toy.observations.isel(obs=[0])
    one["time"] = days.isel(obs=[0]) * 0 + day
    one["time"].attrs = days.attrs
    one.to_netcdf(toy.folder / "later.nc")
    toy.model = toy.model.replace(
        "dt: float = eqx.field(default=1.0", "dt: float = eqx.field(default=0.5"
    )
    toy.write()
    assert pose(read_case(toy.write_case())).problem.window.slots == (8 if day == 1.5 else 4)
    toy.case["model_error"] = {"fields": {"x": {"stdev": 0.1}}}
    case = read_case(toy.write_case())
    if day == 3.0:
        assert pose(case).problem.size() == 4 + 12
        return
    with pytest.raises(CaseError, match="held back at times that no assimilated"):
        pose(case)


def test_many_files_are_told_shortly(tmp_path):
    names = ("a.nc", "posterior_x.nc", "posterior_y.nc", "figures/p.png", "figures/q.png", "b_c.nc")
    console = Console(record=True, file=io.StringIO(), width=200)
    Screen(console).written(tmp_path, [tmp_path / name for name in names])
    told = "a.nc, posterior_*.nc (2 files), figures/*.png (2 files), b_c.nc"
    assert " ".join(console.export_text().split()).endswith(told)
