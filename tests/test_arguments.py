"""Every class refuses an argument in the same words."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from assim.arguments import (
    a_share,
    check_names,
    check_settings,
    hint,
    not_negative,
    positive,
    valid_name,
)


class Bound(SimpleNamespace):
    """Anything with arguments."""


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: check_settings(Bound(n=0), n=1), "Bound: n must be at least 1, got 0"),
        (
            lambda: check_settings(Bound(n=3, kind="x"), n=3, kind=("a", "b")),
            "Bound: kind must be one of ('a', 'b'), got 'x'",
        ),
        (lambda: positive(Bound(s=-2.0), "s"), "Bound: s must be positive and finite, got -2.0"),
        (
            lambda: positive(Bound(s=float("inf")), "s"),
            "Bound: s must be positive and finite, got inf",
        ),
        (
            lambda: positive(Bound(s=float("nan")), "s"),
            "Bound: s must be positive and finite, got nan",
        ),
        (
            lambda: positive(Bound(a=1.0, s=np.array([1.0, 0.0])), "a", s="stdev"),
            "Bound: stdev must be positive and finite, got [1. 0.]",
        ),
        (lambda: not_negative(Bound(t=-1), "t"), "Bound: t must not be negative, got -1"),
        (lambda: a_share(Bound(p=1.0), "p"), "Bound: p must lie between 0 and 1, got 1.0"),
    ],
)
def test_refusals_name_class_argument_and_value(check, words):
    with pytest.raises(ValueError) as refused:
        check()
    assert str(refused.value) == words


def test_what_is_allowed_passes():
    check_settings(Bound(n=1, kind="a"), n=1, kind=("a", "b"))
    positive(Bound(s=np.array([1.0, 2.0]), b=1e-9), "s", b="bandwidth")
    not_negative(Bound(t=0.0), "t")
    a_share(Bound(p=0.5), "p")


def test_a_name_is_answered_by_the_nearest_or_by_all():
    assert hint("hares", ["hare", "lynx"], "it has") == "did you mean 'hare'?"
    assert hint("wolf", ["hare", "lynx"], "it has") == "it has hare, lynx"


@pytest.mark.parametrize("name", ["x", "σ", "a b", "1x", "_", "q (2)", "x" * 200])
def test_names_that_netcdf_has_are_taken(name, tmp_path):
    assert valid_name(name) == name
    xr.Dataset({name: 1.0}).to_netcdf(tmp_path / "x.nc")


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "-x", "(x)", "a\nb", "a/b", "x" * 201])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="ErrorScale: name must be a name"):
        check_names("ErrorScale", "name", "good", name)
