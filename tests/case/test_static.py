"""The static covariance of a cycle: what takes it, and of which fields it is."""

from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from assim.case.case import read_case
from assim.case.failure import CaseError
from assim.case.pose_cycle import PosedCycle, pose_cycle
from assim.case.setting import set_up
from assim.case.toml import write

DIAGONAL = {"use": "Diagonal", "stdev": 1.0}
PRIOR = {"prior": {"use": "Normal", "mean": 20.0, "stdev": 2.0}}


def cycled(folder: Path, cycle: dict[str, Any], fields: dict[str, Any] | None = None) -> PosedCycle:
    """A cycle of Lorenz-63, whose fields are x, y and z."""
    values = {name: ((), 1.0, {"units": "1"}) for name in "xyz"}
    xr.Dataset(values).to_netcdf(folder / "background.nc")
    tables = {
        "title": "Three fields",
        "model": {"use": "Lorenz63"},
        "window": {"start": 0.0, "slots": 2},
        "background": {"file": "background.nc", "covariance": DIAGONAL, "fields": fields or {}},
        "observations": [{"file": "all.nc", "variable": "x", "error": {"stdev": 1.0}}],
        "cycle": {"windows": 2, **cycle},
    }
    path = folder / "case.toml"
    path.write_text(write(tables), encoding="utf-8")
    return pose_cycle(set_up(read_case(path)))


def together(*names: str) -> dict[str, Any]:
    return {"use": "Joint", "names": list(names), "covariance": DIAGONAL}


@pytest.mark.parametrize("scheme", ["FourDVar", "ThreeDVar", "OptimalInterpolation"])
def test_it_is_of_the_fields_that_are_neither_known_nor_have_a_prior(tmp_path, scheme) -> None:
    given = {"method": {"use": scheme}, "covariance": {"use": "Diagonal", "stdev": 0.5}}
    posed = cycled(tmp_path, given, {"z": {"value": 20.0}})
    assert posed.cycle.scheme.static.fields() == ("x", "y")


def test_a_field_with_a_prior_has_none(tmp_path) -> None:
    given = {"method": {"use": "FourDVar"}, "covariance": DIAGONAL}
    assert cycled(tmp_path, given, {"z": PRIOR}).cycle.scheme.static.fields() == ("x", "y")
    with pytest.raises(CaseError, match=r"cycle\.method: .*'z', which has a prior of its own"):
        cycled(tmp_path, {**given, "covariance": together("x", "y", "z")}, {"z": PRIOR})


@pytest.mark.parametrize("scheme", ["FourDVar", "ThreeDVar", "OptimalInterpolation"])
def test_one_that_leaves_out_a_field_of_the_background_is_refused(tmp_path, scheme) -> None:
    given = {"method": {"use": scheme}, "covariance": together("x", "y")}
    with pytest.raises(CaseError, match=r"cycle\.method: .* covariance leaves 'z' out"):
        cycled(tmp_path, given)


@pytest.mark.parametrize("scheme", ["ETKF", "LETKF", "IEnKS"])
def test_a_scheme_that_takes_none_is_told(tmp_path, scheme) -> None:
    given = {"method": {"use": scheme}, "covariance": DIAGONAL}
    with pytest.raises(CaseError, match=rf"cycle\.covariance: {scheme} takes no static covariance"):
        cycled(tmp_path, given)


def test_two_are_told(tmp_path) -> None:
    own = together("x", "y", "z")
    with pytest.raises(CaseError, match=r"cycle\.covariance: ThreeDVar has one of its own"):
        cycled(tmp_path, {"method": {"use": "ThreeDVar", "static": own}, "covariance": DIAGONAL})
