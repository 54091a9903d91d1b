"""The covariance that fields of the background share, and fields that it leaves out."""

from pathlib import Path
from typing import Any

import pytest

from assim.case.case import read_case
from assim.case.failure import CaseError
from assim.case.setting import set_up
from assim.case.toml import write

TOGETHER = {"use": "Joint", "names": ["x", "y"], "covariance": {"use": "Diagonal", "stdev": 1.0}}
FIXED = {"covariance": {"use": "none"}}


def case(folder: Path, background: dict[str, Any]) -> Path:
    """Lorenz-63, whose fields are x, y and z."""
    tables = {
        "title": "Three fields",
        "model": {"use": "Lorenz63"},
        "window": {"start": 0.0, "slots": 2},
        "background": {"file": "background.nc", **background},
        "observations": [{"file": "observations.nc", "variable": "x"}],
    }
    path = folder / "case.toml"
    path.write_text(write(tables), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, r"background\.fields\.z: .*covariance is of x and y together.* name the field"),
        ({"z": {"stdev": 0.5}}, r"background\.fields\.z: .*of x and y together"),
        ({"z": {"mean": 1.0, "stdev": 0.5}}, r"background\.fields\.z: .*of x and y together"),
        ({"z": FIXED, "y": {"value": 9.0}}, r"background\.fields\.y: .*together.* to none of them"),
        ({"z": FIXED, "y": {"stdev": 1.0}}, r"background\.fields\.y: .*together.* to none of them"),
        (
            {"z": FIXED, "y": {"prior": {"use": "Normal", "mean": 0.0, "stdev": 1.0}}},
            r"background\.fields\.y: .*together.* to none of them",
        ),
    ],
)
def test_a_joint_covariance_leaves_no_field_out_without_a_word(tmp_path, fields, words) -> None:
    """None is held at its background value, or estimated, where the case says something else."""
    path = case(tmp_path, {"covariance": TOGETHER, "fields": fields})
    with pytest.raises(CaseError, match=words):
        set_up(read_case(path))


@pytest.mark.parametrize(
    "field", [FIXED, {"value": 3.0}, {"prior": {"use": "Normal", "mean": 0.0, "stdev": 1.0}}]
)
def test_fields_beside_a_joint_covariance_that_say_what_they_are(tmp_path, field) -> None:
    path = case(tmp_path, {"covariance": TOGETHER, "fields": {"z": field}})
    assert set_up(read_case(path)).tables.background.joint().fields() == ("x", "y")


@pytest.mark.parametrize(
    "field",
    [
        {"value": 3.0},
        {"mean": 3.0, "stdev": 0.5},
        {"stdev": 0.5},
        {"prior": {"use": "Normal", "mean": 0.0, "stdev": 1.0}},
    ],
)
@pytest.mark.parametrize("covariance", [{"use": "Diagonal", "stdev": 2.0}, {"file": "B.nc"}])
def test_a_covariance_that_no_field_takes_is_refused(tmp_path, field, covariance) -> None:
    fields = dict.fromkeys("xyz", field)
    path = case(tmp_path, {"covariance": covariance, "fields": fields})
    with pytest.raises(CaseError, match=r"background\.covariance: no field takes it"):
        set_up(read_case(path))
    del fields["z"]  # which takes it
    case(tmp_path, {"covariance": covariance, "fields": fields})
    assert set_up(read_case(path)).tables.background.says_spread("z")
