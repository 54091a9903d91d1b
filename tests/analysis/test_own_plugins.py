"""A plug-in that a user writes and that says the same as a built-in gets the same numbers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import assim
from assim.analysis.cycle.batches import in_batches
from assim.analysis.cycle.scheme import check_independent
from assim.models import LotkaVolterra
from assim.problem.cycled import Rows
from assim.problem.observation import Observations
from assim.problem.predictive import predictive
from assim.run.finite import non_finite
from tests.cycle.toy import BACKGROUND, STEP, Linear

SLOTS = 4


# ---- delegates -----------------------------------------------------------------------------------


class OwnCovariance(assim.covariance.AbstractCovariance):
    """Another covariance, in a class of its own."""

    inner: assim.covariance.AbstractCovariance

    def on(self, shape, axes=()):
        return type(self)(self.inner.on(shape, axes))

    def size(self):
        return self.inner.size()

    def sqrt(self, w):
        return self.inner.sqrt(w)

    def variance(self):
        return self.inner.variance()

    def no_inverse(self):
        return self.inner.no_inverse()

    def whiten(self, field):
        return self.inner.whiten(field)

    def log_sqrt_determinant(self):
        return self.inner.log_sqrt_determinant()

    def independent_stdev(self):
        return self.inner.independent_stdev()

    def causal(self, times):
        return self.inner.causal(times)

    def rows(self, keep):
        kept = self.inner.rows(keep)
        return None if kept is None else type(self)(kept)


class OwnStateCovariance(assim.covariance.AbstractStateCovariance):
    """Another covariance of several fields, in a class of its own."""

    inner: assim.covariance.AbstractStateCovariance

    def on(self, labels):
        return type(self)(self.inner.on(labels))

    def fields(self):
        return self.inner.fields()

    def sizes(self):
        return self.inner.sizes()

    def sqrt(self, white):
        return self.inner.sqrt(white)

    def variance(self):
        return self.inner.variance()

    def no_inverse(self):
        return self.inner.no_inverse()

    def whiten(self, state):
        return self.inner.whiten(state)

    def log_sqrt_determinant(self):
        return self.inner.log_sqrt_determinant()

    def own(self):
        return self.inner.own()


class OwnOperator(assim.operator.AbstractOperator):
    """Another operator, in a class of its own."""

    inner: assim.operator.AbstractOperator

    def __call__(self, trajectory, points):
        return self.inner(trajectory, points)

    def units(self, labels):
        return self.inner.units(labels)

    def dims(self, labels):
        return self.inner.dims(labels)

    def needs_intervals(self):
        return self.inner.needs_intervals()

    def reads_intervals(self):
        return self.inner.reads_intervals()


class OwnPrior(assim.prior.AbstractPrior):
    """Another prior, in a class of its own."""

    inner: assim.prior.AbstractPrior

    def __call__(self, w):
        return self.inner(w)

    def inverse(self, value):
        return self.inner.inverse(value)

    def mean(self):
        return self.inner.mean()

    def stdev(self):
        return self.inner.stdev()

    def weight(self):
        return self.inner.weight()


class OwnIntegrator(assim.AbstractIntegrator):
    """Another integrator, in a class of its own."""

    inner: assim.AbstractIntegrator

    def states(self, ode, x, theta, edges, steps):
        return self.inner.states(ode, x, theta, edges, steps)

    def slot_steps(self, length):
        return self.inner.slot_steps(length)

    def derivatives(self, columns):
        return self.inner.derivatives(columns)

    def reverse_of_forward(self):
        return self.inner.reverse_of_forward()

    def may_end_early(self):
        return self.inner.may_end_early()

    def absolute_tolerance(self):
        return self.inner.absolute_tolerance()

    def of_size(self, sizes):
        return OwnIntegrator(self.inner.of_size(sizes))


class OwnMinimiser(assim.minimiser.AbstractMinimiser):
    """Another minimiser, in a class of its own."""

    inner: assim.minimiser.AbstractMinimiser
    n_outer: int = eqx.field(default=50, static=True)
    n_inner: int = eqx.field(default=100, static=True)
    tolerance: float = eqx.field(default=1e-6, static=True)

    def init(self, problem, chi):
        return self.inner.init(problem, chi)

    def step(self, problem, state):
        return self.inner.step(problem, state)

    def exact_hessian(self, state):
        return self.inner.exact_hessian(state)


# ---- covariances as R ----------------------------------------------------------------------------

TIMES = STEP * np.array([1.0, 1.5, 2.0, 3.0, 3.5, 4.0])
GAP = TIMES[:, None] - TIMES
ERRORS = {
    "diagonal": lambda: assim.covariance.Diagonal([0.3, 0.2, 0.3, 0.4, 0.2, 0.3]),
    "autoregressive": lambda: assim.covariance.Autoregressive(0.7, [0.3, 0.2, 0.3, 0.4, 0.2, 0.3]),
    "dense": lambda: assim.covariance.Dense(0.09 * np.exp(-((GAP / 0.6) ** 2)) + 0.01 * np.eye(6)),
    "low-rank": lambda: assim.covariance.LowRank(np.ones((1, 6)), [0.05], 0.3),
    "diffusion": lambda: assim.covariance.Diffusion(0.3, 0.6, iterations=4),
    "independent blocks": lambda: assim.covariance.Blocks(
        [assim.covariance.Diagonal(0.3), assim.covariance.Diagonal(0.2)], [2, 4]
    ),
    "blocks": lambda: assim.covariance.Blocks(
        [assim.covariance.Diagonal(0.3), assim.covariance.Autoregressive(0.7, 0.2)], [2, 4]
    ),
}


def readings(covariance: assim.covariance.AbstractCovariance) -> Observations:
    values = np.array([0.4, 1.2, -0.3, 0.8, 0.5, -1.0])
    points = assim.Points.at(TIMES, {"place": np.array([0.0, 1.0, 0.5, 2.0, 3.0, 1.5])})
    return Observations("x", values, points, assim.operator.PointSample("x"), covariance=covariance)


def posed(*observations: Observations, **given: Any):
    model = Linear()
    window = assim.Window.regular(model, SLOTS)
    arguments = {
        "background": {"x": BACKGROUND},
        "covariance": assim.covariance.Diagonal(1.0),
        **given,
    }
    return assim.strong_constraint(model, window, observations=observations, **arguments)


def same(one, other):
    """Equal leaf by leaf, classes apart."""
    leaves, others = jax.tree.leaves(one), jax.tree.leaves(other)
    assert len(leaves) == len(others) > 0
    for leaf, mate in zip(leaves, others, strict=True):
        np.testing.assert_allclose(leaf, mate, rtol=1e-12, atol=1e-13)


def numbers(record):
    """The numbers of a record of results, texts and names left out."""
    return [np.asarray(x) for x in jax.tree.leaves(unpacked(record)) if not isinstance(x, str)]


def unpacked(record):
    if dataclasses.is_dataclass(record):
        return {f.name: unpacked(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {name: unpacked(part) for name, part in record.items()}
    return record


@pytest.fixture(params=ERRORS)
def pair(request):
    """Observations with a covariance, and with a user's class that says the same."""
    made = ERRORS[request.param]()
    return readings(made), readings(OwnCovariance(made))


def outcome(call):
    """What a call gives, or what it says instead."""
    try:
        return call()
    except ValueError as error:
        return str(error).replace("OwnCovariance", "·")


def test_departures_and_predictions_of_the_same_errors(pair):
    chi, key = jnp.linspace(-1.0, 1.0, 8).reshape(2, 4), jax.random.key(0)
    built, own = (posed(o) for o in pair)
    same(built(chi[0]), own(chi[0]))
    same(built.log_constant(), own.log_constant())
    drawn, mine = predictive(built, chi, key), predictive(own, chi, key)
    assert drawn.log_densities.keys() == mine.log_densities.keys()
    same(drawn, mine)


def test_rows_of_the_same_errors(pair):
    keep = np.array([True, False, True, True, False, True])
    built, own = (o.subset(keep) for o in pair)
    vector = jnp.arange(4.0) + 1
    same(built.covariance.sqrt(vector), own.covariance.sqrt(vector))
    same(built.covariance.whiten(vector), own.covariance.whiten(vector))


def test_windows_are_lengthened_with_the_same_errors(pair):
    several = [outcome(lambda o=o: posed(o).lengthened(2)) for o in pair]
    if isinstance(several[0], str):
        assert several[0] == several[1]
        return
    for built, own in zip(*several, strict=True):
        same(built(jnp.ones(4)), own(jnp.ones(4)))


def test_a_cycle_takes_the_same_errors(pair):
    edges = STEP * np.arange(SLOTS + 1)
    ways = (
        lambda o: jax.tree.leaves(in_batches(o, edges, 2)),
        lambda o: o.padded(8).departures(posed(o).trajectory(jnp.ones(4)), {}),
        lambda o: Rows.of(o.padded(8)).placed(o.padded(8)).covariance.whiten(jnp.ones(8)),
        lambda o: check_independent("LETKF", posed(o)),
    )
    for way in ways:
        built, own = (outcome(lambda o=o, way=way: way(o)) for o in pair)
        if isinstance(built, str):
            assert built.split(type(pair[0].covariance).__name__)[0] == own.split("·")[0]
        elif built is None:
            assert own is None
        else:
            same(built, own)


def test_which_built_in_errors_are_independent():
    """So that the pairs above do not agree in refusing everything."""
    independent = [
        name for name, make in ERRORS.items() if readings(make()).covariance.independent()
    ]
    assert independent == ["diagonal", "independent blocks"]


def test_blocks_of_independent_errors_are_padded_with_weight_zero():
    o = readings(ERRORS["independent blocks"]())
    longer = o.padded(8)
    np.testing.assert_array_equal(longer.covariance.stdev[:6], [0.3, 0.3, 0.2, 0.2, 0.2, 0.2])
    short, padded = (posed(which)(jnp.ones(4)).normalised for which in (o, longer))
    same(padded[:6], short)
    assert not np.any(padded[6:])


def test_an_analysis_with_the_same_errors():
    """And what follows from it: spread, diagnostics, checks of predictions."""
    own = assim.analyse(posed(readings(OwnCovariance(ERRORS["blocks"]()))))
    built = assim.analyse(posed(readings(ERRORS["blocks"]())))
    same(built.solution.chi, own.solution.chi)
    same(built.state_stdev, own.state_stdev)
    same(numbers(assim.finding.consistency(built)), numbers(assim.finding.consistency(own)))
    same(built.cost_analysis, own.cost_analysis)


# ---- operators -----------------------------------------------------------------------------------

OPERATORS = {
    "point-sample": lambda: assim.operator.PointSample("x"),
    "time-mean": lambda: assim.operator.TimeMean("x"),
    "time-integral": lambda: assim.operator.TimeIntegral("x"),
    "time-difference": lambda: assim.operator.TimeDifference("x", -1.0),
    "function": lambda: assim.operator.Function(
        lambda trajectory, points: assim.operator.sample(trajectory, "x", points), needs=("place",)
    ),
}


def file_of(bounds: bool) -> xr.Dataset:
    """Readings of which the first interval begins before the window."""
    ends = np.array([1.0, 1.5, 2.0])
    content = {"x": ("obs", [0.4, 1.2, -0.3], {"units": "1"})}
    words = {"units": "1"}
    if bounds:
        content["time_bnds"] = (("obs", "nv"), np.stack([ends - 1.25, ends], axis=1))
        words["bounds"] = "time_bnds"
    place = ("obs", [0.0, 1.0, 2.0], {"units": "1"})
    return xr.Dataset(content, {"time": ("obs", ends, words), "place": place})


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("bounds", [True, False])
def test_operators_read_the_same(name, bounds):
    """Of files with intervals and without, the same rows are used, or the same refusal made."""
    model = Linear()
    window = assim.Window.regular(model, SLOTS)
    made = OPERATORS[name]()

    def read(operator):
        o = assim.read_observations(file_of(bounds), model, window, operator=operator, stdev=0.3)
        return o.values, posed(o)(jnp.ones(4)).normalised

    def told(operator):
        return str(outcome(lambda: read(operator))).replace(type(operator).__name__, "·")

    assert told(made) == told(OwnOperator(made))


def test_intervals_matter_to_the_rows_that_are_used():
    """What the pairs above agree in: a point reading needs none, and ignores those there are."""
    model = Linear()
    window = assim.Window.regular(model, SLOTS)
    used = {}
    for name, make in OPERATORS.items():
        given = {"operator": make(), "stdev": 0.3}
        used[name] = assim.read_observations(file_of(True), model, window, **given).values.size
    assert used == {**dict.fromkeys(OPERATORS, 2), "point-sample": 3}
    with pytest.raises(ValueError, match="needs the interval"):
        assim.read_observations(
            file_of(False),
            model,
            window,
            operator=OwnOperator(assim.operator.TimeMean("x")),
            stdev=0.3,
        )


def test_an_operator_over_empty_intervals_is_refused():
    points = assim.Points.at(TIMES, {"place": np.zeros(6)})
    o = Observations("x", np.ones(6), points, OwnOperator(assim.operator.TimeMean("x")), 0.3)
    with pytest.raises(ValueError, match=r"OwnOperator needs intervals of time; use Points\.over"):
        posed(o)


# ---- priors, state covariances, integrators, minimisers ------------------------------------------


@pytest.mark.slow
def test_an_analysis_with_the_same_prior():
    o = readings(assim.covariance.Diagonal(0.3))
    given = assim.prior.Normal(0.1, 0.5)
    built, own = (
        assim.analyse(posed(o, parameters={"drift": prior})) for prior in (given, OwnPrior(given))
    )
    same(built.solution.chi, own.solution.chi)
    same(numbers(built.quantities["drift"]), numbers(own.quantities["drift"]))


def test_scalars_of_the_same_state_covariance():
    """Fields of one value whose errors are independent are functions of one entry of χ."""
    model = LotkaVolterra()
    window = assim.Window.at(model, [0.0, 1.0])
    points = assim.Points.at([1.0])
    o = Observations("hare", [30.0], points, assim.operator.PointSample("hare"), 1.0)
    joint = assim.covariance.Independent(
        {"hare": assim.covariance.Diagonal(3.0), "lynx": assim.covariance.Diagonal(0.5)}
    )
    background = {"hare": 30.0, "lynx": 4.0}
    built, own = (
        assim.strong_constraint(model, window, background, covariance, o)
        for covariance in (joint, OwnStateCovariance(joint))
    )
    chi = jnp.array([0.3, -0.7])
    assert built.control.scalars(chi).keys() == {"hare", "lynx"}
    same(built.control.scalars(chi), own.control.scalars(chi))


def ode(integrator: assim.AbstractIntegrator, **given: Any):
    model = LotkaVolterra(integrator)
    window = assim.Window.at(model, [0.0, 0.5, 1.0], "1900-01-01")
    o = Observations(
        "hare", [30.0], assim.Points.at([1.0]), assim.operator.PointSample("hare"), 1.0
    )
    error = assim.ModelError(
        assim.covariance.Diagonal(0.1), scale=assim.ErrorScale("s", assim.prior.LogNormal(1.0, 0.5))
    )
    background = {"hare": 30.0, "lynx": 4.0}
    return assim.weak_constraint(
        model, window, background, assim.covariance.Diagonal(1.0), o, model_error=error, **given
    )


@pytest.mark.slow
def test_the_gradient_through_the_same_integrator():
    """That of the volume of an estimated amplitude, which needs a derivative of a derivative."""
    chi = jnp.linspace(-0.5, 0.5, 7)
    total = eqx.filter_jit(jax.grad(lambda problem, chi: problem(chi).volume, argnums=1))
    built, own = (ode(i) for i in (assim.Adaptive(), OwnIntegrator(assim.Adaptive())))
    gradient = total(built, chi)
    assert np.all(np.isfinite(gradient)) and np.any(gradient != 0)
    same(gradient, total(own, chi))
    assert built.model.derivatives(9) == own.model.derivatives(9)


def test_what_a_solution_that_ends_early_is_told_of():
    short = OwnIntegrator(assim.Adaptive(max_steps=3))
    problem = ode(short)
    reason = non_finite(problem, problem.simulate(jnp.zeros(7)))
    assert reason is not None and reason.endswith("run out of its max_steps = 3")


@pytest.mark.slow
def test_the_hessian_of_the_same_minimiser():
    """Where it is the exact one, Laplace's approximation is made of it and not formed again."""
    o = readings(assim.covariance.Diagonal(0.3))
    inner = assim.minimiser.NewtonCG()
    built, own = (assim.analyse(posed(o), m) for m in (inner, OwnMinimiser(inner)))
    same(built.laplace.gaussian, own.laplace.gaussian)
    state = own.solution.state
    assert OwnMinimiser(inner).exact_hessian(state) is state.hessian
    assert OwnMinimiser(assim.minimiser.GaussNewton()).exact_hessian(state) is None
