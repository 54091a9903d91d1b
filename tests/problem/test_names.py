"""Names that no file of results can have, or that it has for something else, are refused."""

from types import SimpleNamespace

import numpy as np
import pytest

from assim.analysis.methods import named
from assim.models import Lorenz63
from assim.problem.arrays import Coordinate, Label, Labels
from assim.problem.bias import BiasCorrection
from assim.problem.constraint import strong_constraint
from assim.problem.covariance import Diagonal
from assim.problem.observation import ErrorScale, Observations
from assim.problem.operator import PointSample
from assim.problem.points import Points
from assim.problem.prior import LogNormal, Normal
from assim.problem.scalars import check_derived
from assim.problem.window import Window
from assim.solve.posterior.laplace import Laplace

NOTHING = SimpleNamespace(control=None)
MAKERS = {
    "scale": lambda name: ErrorScale(name, LogNormal(1.0, 0.5)),
    "instrument": lambda name: Observations(name, [1.0], None, None),
    "bias": lambda name: BiasCorrection({name: Normal(0.0, 1.0)}),
    "field": lambda name: Labels({name: Label()}),
    "parameter": lambda name: Labels({"x": Label()}, {name: Label()}),
    "quantity": lambda name: check_derived(NOTHING, {name: None}),
    "posterior": lambda name: named({name: Laplace()}),
}


@pytest.mark.parametrize("name", ["", " a", "a/b"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_names_that_no_file_can_have_are_refused(make, name):
    with pytest.raises(ValueError, match="name must be a name that a NetCDF file can have"):
        make(name)


LABEL = Label()


@pytest.mark.parametrize(
    ("state", "parameters", "dims", "held"),
    [
        (["x"], ["weight"], [], "the weights of draws under the name 'weight'"),
        (["weight"], [], [], "the weights of draws"),
        (["x"], [], ["realization"], "the numbers of draws"),
        (["x"], ["x_prior"], [], "draws from the prior of 'x' under the name 'x_prior'"),
        (["x", "x_stddev"], [], [], "the standard deviation of 'x'"),
        (["x", "x_mean"], [], [], "the mean of 'x'"),
    ],
)
def test_names_under_which_results_have_something_else_are_refused(state, parameters, dims, held):
    axes = {dim: Coordinate(np.arange(2.0)) for dim in dims}
    with pytest.raises(ValueError, match=f"Labels: files of results hold {held}"):
        Labels(dict.fromkeys(state, LABEL), dict.fromkeys(parameters, LABEL), axes)


def test_names_that_only_end_so_are_free():
    Labels(dict.fromkeys(["annual_mean", "u_prior"], LABEL), {"weights": LABEL})


@pytest.mark.parametrize(("name", "what"), [("weight", "weights"), ("x_prior", "prior of 'x'")])
def test_scales_biases_and_quantities_likewise(name, what):
    """A scale called weight came back as 0.02 in every draw; so would a forecast have read it."""
    model = Lorenz63()
    window = Window.regular(model, slots=1)

    def posed(**parts):
        o = Observations("x", [1.0], Points.at(window.edges[1:]), PointSample("x"), 1.0, **parts)
        return strong_constraint(model, window, dict.fromkeys("xyz", 1.0), Diagonal(1.0), [o])

    for parts in (
        {"scale": ErrorScale(name, LogNormal(1.0, 1.0))},
        {"bias": BiasCorrection({name: Normal(0.0, 1.0)})},
    ):
        with pytest.raises(ValueError, match=f"files of results hold .*{what}"):
            posed(**parts)
    with pytest.raises(ValueError, match=f"analyse: files of results hold .*{what}"):
        check_derived(posed(), [name])
