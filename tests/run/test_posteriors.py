"""Posteriors of a case: lists of them, names, and readings that are held back."""

import json

import numpy as np
import pytest
import xarray as xr

from tests.run.toy import Toy


@pytest.fixture
def toy(tmp_path):
    toy = Toy(tmp_path / "case")
    toy.case["posterior"] = {"use": "Laplace", "certificate": 500, "members": 60}
    return toy


def summary(toy):
    return json.loads((toy.out / "summary.json").read_text())


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
    assert "gauss_newton (certified)" in result.output
    toy.case["posterior"] = {"use": "Laplace", **settings}
    toy.write().run()
    assert not (toy.out / "posterior_gauss_newton.nc").exists()  # of the run before


BAD = {
    "two of one name": (["Laplace", "Laplace"], "posterior.1: posterior.0 is called 'laplace' too"),
    "none among others": (["Laplace", "none"], "posterior.1: 'none' stands alone"),
    "auto among others": (["auto", "Laplace"], "posterior.0: 'auto' stands alone"),
    "a name for no file": ([{"use": "Laplace", "name": "My run"}], "posterior.0.name: String"),
    "unknown": (["Laplac"], "posterior.0.use: no posterior is called 'Laplac'"),
}


@pytest.mark.parametrize("given", BAD)
def test_bad_posteriors(toy, given):
    toy.case["posterior"], expected = BAD[given]
    result = toy.write().run()
    assert result.exit_code == 2 and expected in result.output, result.output


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
        assert tree["posterior"]["rate"].shape == (1, 60)
    assert found["sloppy"]["coordinates"] == ["rate"]
    with xr.open_dataset(toy.out / "diagnostics.nc") as file:
        assert "profile_rise" in file and file.sizes["direction"] == 1


def test_everything_held_back(toy):
    toy.case["observations"][0]["held_back"] = True
    result = toy.write().run()
    assert result.exit_code == 2 and "every instrument is held back" in result.output
