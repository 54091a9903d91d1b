"""Names that no NetCDF file can have are refused where things are made in Python."""

from types import SimpleNamespace

import pytest

from assim.analysis.methods import named
from assim.problem.arrays import Label, Labels
from assim.problem.bias import BiasCorrection
from assim.problem.observation import ErrorScale, Observations
from assim.problem.prior import LogNormal, Normal
from assim.problem.scalars import check_derived
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
