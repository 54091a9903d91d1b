"""Which posteriors are run and which is reported, on problems of three controls."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.analysis import methods as choosing
from assim.analysis.methods import _check_ensemble, _disagreeing, _general, _ladder, best, named
from assim.analysis.minimum import about_minimum, search_of
from assim.models import Lorenz63
from assim.solve.minimise.loop import minimise
from assim.solve.posterior.ensemble import Ensemble
from tests.studies.known import FAMILIES

START = {"x": jnp.asarray(1.0), "y": jnp.asarray(1.0), "z": jnp.asarray(20.0)}


def problem(stdev):
    """Lorenz-63 over 1.2 units: the wider the background, the less Gaussian."""
    model = Lorenz63()
    window = assim.Window.regular(model, 4, 30)
    points = assim.Points.at(window.edges[1:])
    observed = assim.Observations(
        "x", [1.0, 5.0, 9.0, -6.0], points, assim.operator.PointSample("x"), 2.0
    )
    return assim.strong_constraint(model, window, START, assim.covariance.Diagonal(stdev), observed)


@pytest.fixture(scope="module")
def laplace():
    return assim.analyse(problem(0.01), posterior="auto")


def test_auto_stops_at_a_certified_laplace(laplace):
    assert list(laplace.posteriors) == ["laplace"] and laplace.chosen == "laplace"
    assert laplace.posterior.trust is assim.Trust.CERTIFIED
    assert "certified" in laplace.choice


@pytest.mark.slow
def test_auto_goes_on_where_laplace_is_not_certified():
    found = assim.analyse(problem(3.0), posterior="auto", starts=4)
    assert found.posteriors["laplace"].trust is not assim.Trust.CERTIFIED
    assert list(found.posteriors)[:2] == ["laplace", "tempered"] and "minima" in found.choice
    assert "directions are informed" in found.choice and found.chosen in found.choice
    if found.posterior.trust is assim.Trust.CERTIFIED:
        assert list(found.posteriors)[-1] == found.chosen
    stdev = np.std(found.posterior.chi, axis=0)
    assert np.all(np.isfinite(stdev)) and np.all(stdev > 0)


def test_two_settings_of_laplace_have_spreads_of_their_own():
    methods = {
        "newton": assim.posterior.Laplace(certificate=0, hessian="gauss_newton"),
        "exact": assim.posterior.Laplace(certificate=0, hessian="exact"),
    }
    found = assim.analyse(problem(0.5), posterior=methods).posteriors
    away = {
        n: one.trajectory_stdev["x"][0] / one.quantities["x"].stddev for n, one in found.items()
    }
    assert found["newton"].trajectory_stdev["x"][0] != found["exact"].trajectory_stdev["x"][0]
    np.testing.assert_allclose(list(away.values()), 1.0, rtol=1e-6)


def test_an_analysis_prints_as_its_answer(laplace):
    text = repr(laplace)
    assert text.startswith("Analysis(converged, J = ") and "laplace certified" in text
    name, one = next(iter(laplace.quantities.items()))
    assert f"{name} = {one.mean:.4g} ± {one.stddev:.3g}" in text


def test_the_one_reported_assumes_least(laplace):
    """Of those trusted most, chains come before particles and Gaussians."""

    def one(kind, trust):
        return dataclasses.replace(laplace.posterior, kind=kind, trust=trust)

    sure, unsure = assim.Trust.CERTIFIED, assim.Trust.DOUBTFUL
    both = {"a": one("svgd", sure), "b": one("nuts", sure), "c": one("laplace", sure)}
    assert best(both) == "b"
    assert best(both | {"b": one("nuts", unsure)}) == "a"
    assert best({"a": one("svgd", sure), "b": one("importance", sure)}) == "b"
    assert best({"a": one("laplace", unsure), "b": one("mclmc", unsure)}) == "b"


def test_certified_methods_that_differ_are_doubtful(laplace):
    """Two right ones are not a fifth of a standard deviation apart."""

    def one(shift):
        quantities = {
            name: dataclasses.replace(q, mean=q.mean + shift * q.stddev)
            for name, q in laplace.posterior.quantities.items()
        }
        return dataclasses.replace(laplace.posterior, quantities=quantities)

    alike = {"a": one(0.0), "b": one(0.15)}
    assert _disagreeing(alike) == [] and alike["b"].trust is assim.Trust.CERTIFIED
    apart = {"a": one(0.0), "b": one(0.3), "c": one(0.15)}
    (reason,) = _disagreeing(apart)
    assert "a and b are certified but differ in x" in reason
    trusts = [posterior.trust for posterior in apart.values()]
    assert trusts == [assim.Trust.DOUBTFUL] * 2 + [assim.Trust.CERTIFIED]


def test_auto_integrates_the_trajectory_out_before_it_runs_a_chain():
    """Where scales are estimated under weak constraint, and few of them."""
    model, prior = Lorenz63(), assim.prior.LogNormal(1.0, 1.0)
    scale = assim.ErrorScale("noise", prior)
    window = assim.Window.regular(model, 2, 5)
    points, x = assim.Points.at(window.edges[1:]), assim.operator.PointSample("x")
    observed = assim.Observations("x", [1.0, 2.0], points, x, 2.0, scale=scale)
    given = (model, window, START, assim.covariance.Diagonal(0.5), observed)
    weak = assim.weak_constraint(
        *given, model_error=assim.ModelError(assim.covariance.Diagonal(0.1))
    )
    methods, why = _ladder(30, weak)
    assert methods[0].name() == "nested" and "integrates out" in why
    assert [method.name() for method in methods[1:]] == ["mclmc", "nuts"]
    three = {name: assim.prior.Normal(value, 0.1) for name, value in model.parameters.items()}
    many = assim.weak_constraint(*given, three, model_error=weak.control.model_error)
    for other in (assim.strong_constraint(*given), problem(0.5), many):
        assert "nested" not in [method.name() for method in _ladder(30, other)[0]]


def test_the_ladder_of_many_controls_begins_where_few_directions_count():
    assert [method.name() for method in _general(5, 2000)[0]] == ["svgd", "mclmc", "nuts"]
    assert [method.name() for method in _general(50, 2000)[0]] == ["mclmc", "nuts"]


def test_few_controls_are_weighted_and_tempered():
    """Without gradients, and from mode to mode where several minima count."""
    names = lambda *given: [method.name() for method in _general(*given)[0]]  # noqa: E731
    assert names(1, 1) == ["importance", "nuts"]
    assert names(3, 8) == ["importance", "mclmc", "nuts"] and names(3, 9)[0] == "mclmc"
    assert names(3, 20, True) == ["tempered", "mclmc", "nuts"] and names(3, 21, True)[0] == "mclmc"


class Folded(assim.AbstractModel):
    """x after a step is a²."""

    parameters: dict = eqx.field(default_factory=lambda: {"a": jnp.asarray(1.0)})
    dt: float = eqx.field(default=1.0, static=True)

    def step(self, x, theta, t):
        return {"x": theta["a"] ** 2}

    def labels(self):
        return assim.Labels({"x": assim.Label()}, {"a": assim.Label()}, time_unit="1")


@pytest.fixture(scope="module")
def two_modes():
    """A square that was read as 2.5 ± 0.3, with the prior a ~ N(0.3, 1)."""
    model = Folded()
    x, points = assim.operator.PointSample("x"), assim.Points.at([1.0])
    observed = assim.Observations("x", [2.5], points, x, 0.3)
    window, law = assim.Window.regular(model, 1), {"a": assim.prior.Normal(0.3, 1.0)}
    return assim.strong_constraint(model, window, {"x": 0.0}, None, observed, law)


def test_no_method_about_one_minimum_is_certified_where_two_count(two_modes):
    """Both signs have the same likelihood, and masses in the ratio of their prior densities."""
    methods = {
        "laplace": assim.posterior.Laplace(),
        "of_settings_of_its_own": assim.posterior.Laplace(certificate=20_000),
        "importance": assim.posterior.Importance(),
    }
    analysis = assim.analyse(two_modes, posterior=methods)
    share = 1 / (1 + np.exp(2 * 0.3 * np.sqrt(2.5)))
    for posterior in analysis.posteriors.values():
        assert posterior.trust is not assim.Trust.CERTIFIED
        assert "Other minima" in posterior.advice
    own = analysis.posteriors["of_settings_of_its_own"].certificates
    assert own["elsewhere"] == analysis.laplace.elsewhere
    assert abs(analysis.laplace.elsewhere - share) < 0.05
    there = two_modes.control(jnp.asarray(analysis.laplace.others[0])).parameters["a"]
    np.testing.assert_allclose(there, -np.sqrt(2.5), rtol=0.05)
    alone = assim.analyse(two_modes, posterior=methods, starts=1)
    assert abs(alone.laplace.elsewhere - share) < 0.05


@pytest.mark.slow
def test_auto_finds_the_masses_of_two_modes(two_modes):
    a = np.linspace(-6.0, 6.0, 200_001)
    mass = np.exp(-(((a**2 - 2.5) / 0.3) ** 2) / 2 - (a - 0.3) ** 2 / 2)
    mass /= mass.sum()
    mean = mass @ a
    analysis = assim.analyse(two_modes, posterior="auto")
    assert analysis.chosen == "tempered" and analysis.posterior.trust is assim.Trust.CERTIFIED
    quantity = analysis.quantities["a"]
    stdev = np.sqrt(mass @ (a - mean) ** 2)
    assert abs(quantity.mean - mean) < 0.1 * stdev and abs(quantity.stddev / stdev - 1) < 0.05


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "is empty"),
        ("autp", '"auto" or None'),
        (
            [assim.posterior.Laplace(), assim.posterior.Laplace()],
            "two posteriors are called 'laplace'",
        ),
        (assim.minimiser.GaussNewton(), "must be settings such as"),
    ],
)
def test_what_is_no_posterior(given, said):
    with pytest.raises(ValueError, match=said):
        named(given)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0.5, 0.5, 0.5], r"mine: expected weights of sum one, got 1.5 of 3; divide them"),
        ([0.0, 0.0, 0.0], "mine: expected weights of sum one, got 0 of 3"),
        ([1.5, -0.5, 0.0], "mine: expected finite members with weights that are not negative"),
        ([1.0, np.nan, 0.0], "mine: expected finite members with weights"),
    ],
)
def test_weights_of_a_method_are_checked(weights, said):
    ensemble = Ensemble(jnp.zeros((3, 2)), jnp.asarray(weights), assim.Trust.CERTIFIED, "")
    with pytest.raises(ValueError, match=said):
        _check_ensemble("mine", ensemble, 2)
    third = jnp.full(3, 1 / 3, jnp.float32)
    _check_ensemble("mine", dataclasses.replace(ensemble, weights=third), 2)
    _check_ensemble("mine", dataclasses.replace(ensemble, trust=assim.Trust.FAILED), 2)


@pytest.mark.slow
def test_a_hierarchy_of_scales_is_reached_by_shorter_steps():
    """Five groups about a common mean, by quadrature; MCLMC and NUTS meet a tail too narrow."""
    known = FAMILIES["funnels"](np.random.default_rng([1001, 0]))
    analysis = assim.analyse(known.problem, posterior="auto")
    posterior = analysis.posteriors["nuts_careful"]
    assert posterior.trust is assim.Trust.CERTIFIED and analysis.posterior.kind == "nuts"
    assert all(
        analysis.posteriors[name].trust is assim.Trust.DOUBTFUL for name in ("mclmc", "nuts")
    )
    for name, exact in known.exact.items():
        quantity = posterior.quantities[name]
        assert abs(quantity.mean - exact.mean) < 0.06 * exact.stdev
        np.testing.assert_allclose(quantity.stddev, exact.stdev, rtol=0.045)


def test_the_other_of_two_modes_is_the_one_that_is_not_reported(two_modes):
    """Whichever of minima that tie is χ*, though it has not settled; no lines lead on from it."""
    laplace = assim.posterior.Laplace(certificate=0)
    given = (assim.minimiser.GaussNewton(), laplace, jax.random.key(0))
    search = search_of(two_modes, 4, None, jax.random.key(1), None)
    solve = partial(minimise, two_modes, given[0])
    solution = solve(jnp.array([[1.0], [-2.0]]))
    assert len(solution.minima) == 2
    for reported, other in (solution.minima, solution.minima[::-1]):
        tied = dataclasses.replace(solution, chi=reported.chi, cost=reported.cost)
        fitted = about_minimum(two_modes, given[0], tied, *given[1:], search, solve)[1]
        np.testing.assert_allclose(fitted.others, np.asarray(other.chi)[None], atol=1e-3)


def test_tempering_goes_between_regions_whichever_method_sees_them(two_modes, monkeypatch):
    """NUTS alone, as the last that was to be tried."""
    run, failures = [], {}

    def seen(name, method, asked):
        run.append(name)
        certified = assim.Trust.CERTIFIED if name == "tempered" else assim.Trust.DOUBTFUL
        return SimpleNamespace(trust=certified, certificates={"r_hat": 1.5})

    monkeypatch.setattr(choosing, "_run", seen)
    monkeypatch.setattr(choosing, "_ladder", lambda *_: ([assim.posterior.NUTS()], ""))
    fitted = SimpleNamespace(rank=lambda: 1, several=lambda: False)
    asked = SimpleNamespace(settings=None, fitted=fitted, problem=two_modes, report=None)
    choosing._automatic(asked, {}, failures)
    assert run == ["laplace", "nuts", "tempered"] and not failures
