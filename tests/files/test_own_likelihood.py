"""A user's likelihood that says the same as one of assim's gets the same numbers everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim import Points, analyse, finding, strong_constraint
from assim.files.errors import DataError
from assim.files.read.quality import QualityControl, stdev_units
from assim.files.read.tables import open_observations
from assim.files.read.windows import read_window
from assim.files.write.feedback import feedback_dataset
from assim.problem.assumed import gaussian_values, is_gaussian
from assim.problem.covariance import Diagonal
from assim.problem.likelihood import (
    AbstractLikelihood,
    Gaussian,
    Huber,
    LogNormal,
    Poisson,
    StudentT,
    VariationalQC,
)
from assim.problem.observation import ErrorScale, Observations
from assim.problem.operator import PointSample
from assim.problem.predictive import samples_its_density
from assim.problem.prior import Jeffreys
from assim.solve.posterior.laplace import Laplace
from tests.files.toy import UNITS, made, observation_file, toy

BUILT_IN = [Gaussian(), LogNormal(), StudentT(), Huber(), VariationalQC(), Poisson()]
IDS = [type(one).__name__ for one in BUILT_IN]
QUICK = Poisson
ANALYSED = [
    pytest.param(one, marks=() if isinstance(one, QUICK) else pytest.mark.slow, id=name)
    for one, name in zip(BUILT_IN, IDS, strict=True)
]
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
VALUES = (4.0, 6.0, 5.0, 7.0)


class Own(AbstractLikelihood):
    """What another one says, error variances aside: they are left to the base class."""

    own: AbstractLikelihood

    logarithmic = property(lambda self: self.own.logarithmic)
    additive = property(lambda self: self.own.additive)
    chi_squared = property(lambda self: self.own.chi_squared)
    uses_covariance = property(lambda self: self.own.uses_covariance)
    samples_density = property(lambda self: self.own.samples_density)

    def departures(self, *given):
        return self.own.departures(*given)

    def log_constant(self, *given):
        return self.own.log_constant(*given)

    def log_constants(self, *given):
        return self.own.log_constants(*given)

    def check(self, observed):
        return self.own.check(observed)

    def sample(self, *given):
        return self.own.sample(*given)

    def variance(self):
        return self.own.variance()

    def is_density(self, *given):
        return self.own.is_density(*given)


def table(likelihood):
    file = observation_file(VALUES)
    file["u_stddev"] = 0 * file["u_stddev"] + 0.2
    file["u_stddev"].attrs["units"] = stdev_units(UNITS, likelihood)
    return open_observations(file, "u", toy().labels())


def everything(likelihood):
    """The instrument, its analysis with all diagnostics, and the problem's numbers."""
    model = toy()
    window = read_window(observation_file(), model)
    instrument = made(table(likelihood), model, window, likelihood=likelihood)
    start = {"u": np.full((2, 3), 5.0), "c": np.asarray(5.5)}
    problem = strong_constraint(model, window, start, Diagonal(0.4), instrument.observations)
    found = analyse(problem, posterior=Laplace(members=20, certificate=0))
    return instrument, found.with_findings(
        finding.consistency(found),
        finding.observation_impact(found, finding.ForecastError({"c": 5.0})),
        finding.predictive_checks(found, draws=20),
    )


@pytest.fixture(scope="module", params=ANALYSED)
def both(request):
    return everything(request.param), everything(Own(request.param))


def test_diagnostics_and_innovations(both):
    (_, first), (_, own) = both
    assert is_gaussian(first.problem) == is_gaussian(own.problem)
    assert gaussian_values(first.problem).keys() == gaussian_values(own.problem).keys()
    expected = finding.innovation_stdev(first.problem)["u"]
    np.testing.assert_allclose(finding.innovation_stdev(own.problem)["u"], expected, **CLOSE)
    np.testing.assert_allclose(
        own.findings["impact"].total(), first.findings["impact"].total(), **CLOSE
    )
    pair = (first.findings["diagnostics"], own.findings["diagnostics"])
    np.testing.assert_allclose(pair[1].p_value, pair[0].p_value, **CLOSE)
    for name, expected in vars(pair[0].instruments["u"]).items():
        found = getattr(pair[1].instruments["u"], name)
        np.testing.assert_allclose(found, expected, err_msg=name, **CLOSE)


def test_predictions_and_feedback(both):
    (_, first), (_, own) = both
    assert samples_its_density(first.problem) == samples_its_density(own.problem)
    for name in ("coverage", "crps", "crps_prior", "log_score"):
        expected = getattr(first.findings["predictive"].instruments["u"], name)
        np.testing.assert_allclose(
            getattr(own.findings["predictive"].instruments["u"], name), expected, **CLOSE
        )
    expected, found = (feedback_dataset([instrument], one) for instrument, one in both)
    assert set(found.variables) == set(expected.variables)
    for name in expected.variables:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **CLOSE)
        told, ours = ({**data[name].attrs, "likelihood": ""} for data in (expected, found))
        assert {k: str(v) for k, v in ours.items()} == {k: str(v) for k, v in told.items()}
    assert found["u"].attrs["likelihood"] == "Own"


@pytest.mark.parametrize("likelihood", BUILT_IN, ids=IDS)
def test_what_is_refused(likelihood):
    """Means of what is not additive, and a scale where no covariance is used."""

    def refused(kind):
        model, given = toy(), {"quality": QualityControl(superob_time=2.0)}
        window = read_window(observation_file(), model)
        try:
            made(table(kind), model, window, likelihood=kind, **given)
        except DataError as error:
            assert "takes means of values with additive errors" in str(error)
            yield "means"
        scale, points = ErrorScale("s", Jeffreys()), Points.at(jnp.arange(4.0))
        try:
            Observations("u", VALUES, points, PointSample("c"), 0.2, kind, scale)
        except ValueError as error:
            assert "have no error scale to estimate" in str(error)
            yield "scale"

    expected = {LogNormal: ["means"], Poisson: ["means", "scale"]}.get(type(likelihood), [])
    assert list(refused(likelihood)) == list(refused(Own(likelihood))) == expected


@pytest.mark.parametrize("likelihood", BUILT_IN, ids=IDS)
def test_error_variances_are_those_of_the_density_where_it_peaks(likelihood):
    predicted, covariance = jnp.array([0.5, 2.0, 30.0]), Diagonal(0.2).on((3,))
    arguments = predicted, covariance, jnp.asarray(1.5)
    stated = 0.3**2 * np.ones(3)
    expected = {LogNormal: stated * predicted**2, Poisson: predicted}.get(type(likelihood), stated)
    np.testing.assert_allclose(likelihood.error_variance(*arguments), expected, rtol=1e-13)
    found = jax.jit(Own(likelihood).error_variance)(*arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_a_likelihood_that_says_nothing_promises_nothing():
    class Silent(Own):
        logarithmic, additive, chi_squared = (
            AbstractLikelihood.logarithmic,
            AbstractLikelihood.additive,
            AbstractLikelihood.chi_squared,
        )

    silent = Silent(StudentT(4.0))
    assert not (silent.additive or silent.chi_squared or silent.logarithmic)
    found = silent.error_variance(jnp.ones(2), Diagonal(0.2).on((2,)), jnp.ones(()))
    np.testing.assert_allclose(found, 0.2**2 * 4 / 5)  # of the t density: ν/(ν + 1)
