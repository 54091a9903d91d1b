"""Reading, overriding and writing the text of a case."""

import datetime
import tomllib

import pytest

from assim.case.toml import override, parse_value, write

TREE = {
    "title": 'a "quoted" title\nof two lines, with \\ and \x7f',
    "window": {"start": datetime.date(1900, 1, 1), "slots": 4, "at": datetime.datetime(2000, 1, 1)},
    "background": {"file": "b.nc", "fields": {"x": {"prior": {"use": "Normal", "mean": -1e-300}}}},
    "observations": [{"file": "a", "error": {"stdev": 0.5}}, {"file": "b", "list": [1, [2.0]]}],
    "a key": {"with space": True, "inf": float("inf"), "empty": {}, "none": []},
}


def test_round_trip() -> None:
    assert tomllib.loads(write(TREE)) == TREE


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("0.5", 0.5), ("true", True), ("[1, 2]", [1, 2]), ('"a"', "a"), ("a b", "a b")],
)
def test_values(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_override() -> None:
    tree = {"observations": [{"error": {"stdev": 1.0}}], "window": {}}
    assert override(tree, "observations.0.error.stdev=0.2") is None
    assert override(tree, "window.new.deep = text") is None
    assert tree == {
        "observations": [{"error": {"stdev": 0.2}}],
        "window": {"new": {"deep": "text"}},
    }


@pytest.mark.parametrize("text", ["novalue", "=3", "a..b=1", "observations.3=1", "title.x=1"])
def test_override_that_fits_nowhere(text: str) -> None:
    fault = override({"observations": [{}], "title": "t"}, text)
    assert fault is not None
    assert fault.path == "--set"


def test_setting_of_a_method_given_by_its_name() -> None:
    fault = override({"posterior": ["Laplace", "SVGD"]}, "posterior.1.particles=50")
    assert fault is not None
    assert "--set 'posterior.1={use=\"SVGD\", particles=50}'" in fault.message
