"""A model in NumPy inside the engine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from assim.couple import trampoline

N = 5
LABELS = assim.Labels(
    {"u": assim.Label(("x",), "K"), "total": assim.Label((), "J")},
    {"rate": assim.Label((), "s-1"), "source": assim.Label(("x",), "K")},
    {"x": assim.Coordinate(np.arange(float(N)))},
)
DEFAULTS = {"rate": 0.5, "source": np.linspace(0.0, 1.0, N)}


def step(x, theta, t):
    u = x["u"] * np.exp(-theta["rate"]) + theta["source"] * t
    return {"total": x["total"] + np.sum(u**2), "u": u}


def tangent(x, theta, t, dx, dtheta):
    decay = np.exp(-theta["rate"])
    u = x["u"] * decay + theta["source"] * t
    du = (dx["u"] - x["u"] * dtheta["rate"]) * decay + dtheta["source"] * t
    return {"u": du, "total": dx["total"] + 2 * np.sum(u * du)}


def adjoint(x, theta, t, by):
    decay = np.exp(-theta["rate"])
    u = x["u"] * decay + theta["source"] * t
    bu = by["u"] + 2 * u * by["total"]
    rate = -np.sum(bu * x["u"]) * decay
    return {"u": bu * decay, "total": by["total"]}, {"rate": rate, "source": bu * t}


class InJax(assim.AbstractModel):
    parameters: assim.Params
    dt: float = 1.0

    def labels(self):
        return LABELS

    def step(self, x, theta, t):
        u = x["u"] * jnp.exp(-theta["rate"]) + theta["source"] * t
        return {"total": x["total"] + jnp.sum(u**2), "u": u}


def model(function=step, **given):
    given = {"tangent": tangent, "adjoint": adjoint, **given}
    return assim.foreign.PythonModel(function, LABELS, 1.0, DEFAULTS, **given)


X = {"u": jnp.asarray([1.0, -2.0, 0.5, 3.0, 0.2]), "total": jnp.asarray(0.3)}


def differs(function, given):
    ours, theirs = (function(m) for m in (given, InJax(given.parameters)))
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs)


def trajectory(m, x, theta):
    return m.states(x, theta, jnp.array([0.0, 2.0, 4.0]), 2)


def slope(m):
    end = lambda x, theta: jnp.sum(trajectory(m, x, theta)["total"])  # noqa: E731
    return jax.jit(jax.grad(end, (0, 1)))(X, m.parameters)


def several(m):
    members = {name: jnp.stack([value, 2 * value]) for name, value in X.items()}
    return jax.jit(jax.vmap(lambda x: trajectory(m, x, m.parameters)))(members)


def jacobian(m):
    return jax.jit(jax.jacfwd(lambda theta: trajectory(m, X, theta)["u"]))(m.parameters)


def hessian(m):
    j = lambda x: jnp.sum(trajectory(m, x, m.parameters)["total"])  # noqa: E731
    return jax.jit(jax.hessian(j))(X)


@pytest.mark.parametrize("function", [slope, several, jacobian, hessian])
def test_is_the_model_in_jax(function):
    assert differs(function, model()) < (1e-9 if function is hessian else 1e-12)


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(trampoline, "library", lambda: None)
    assert differs(slope, model()) < 1e-12
    with pytest.raises(Exception, match=r"PythonModel\(lost\): KeyError: 'v'"):
        jax.block_until_ready(jax.jit(lambda: model(lost).step(X, model().parameters, 0.0))())


def test_differences_for_the_tangent():
    assert differs(jacobian, model(tangent="differences")) < 1e-9


def test_whole_analysis():
    given = model()
    window = assim.Window.regular(given, slots=3)
    rng = np.random.default_rng(0)
    points = assim.Points.at(np.repeat([1.0, 2.0, 3.0], N), {"x": np.tile(np.arange(5.0), 3)})

    def analysed(m):
        seen = assim.Observations(
            "u", rng.standard_normal(3 * N), points, assim.operator.PointSample("u"), stdev=0.3
        )
        posed = assim.strong_constraint(
            m,
            window,
            background=X,
            covariance=assim.covariance.Diagonal(1.0),
            observations=seen,
            parameters={"rate": assim.prior.LogNormal(0.4, 0.5)},
        )
        return assim.analyse(
            posed,
            assim.minimiser.GaussNewton(tolerance=1e-10),
            assim.posterior.Laplace(certificate=0),
        )

    ours = analysed(given)
    rng = np.random.default_rng(0)
    theirs = analysed(InJax(given.parameters))
    np.testing.assert_allclose(ours.solution.chi, theirs.solution.chi, atol=1e-9)
    np.testing.assert_allclose(
        ours.laplace.gaussian.stdev(), theirs.laplace.gaussian.stdev(), rtol=1e-8
    )


def run(given, **changed):
    step = jax.jit(lambda x: given.step(x, given.parameters, 0.0))
    return jax.block_until_ready(step({**X, **changed}))


def overflowing(x, theta, t):
    with np.errstate(all="raise"):
        return {"u": np.exp(1e3 * x["u"]), "total": x["total"]}


def lost(x, theta, t):
    return {"u": x["v"], "total": x["total"]}


def misshapen(x, theta, t):
    return {"u": x["u"][1:], "total": x["total"]}


def nameless(x, theta, t):
    return {"u": x["u"]}


def writing(x, theta, t):
    x["u"][0] = 1.0


def test_arithmetic_error_is_a_failed_step():
    given = model(overflowing)
    assert np.isnan(run(given)["u"]).all()
    assert given.code.failures() == (1, 1)


@pytest.mark.parametrize(
    "function, words",
    [
        (lost, "KeyError: 'v'"),
        (misshapen, r"returned 'u' of shape \(4,\), and its labels say \(5,\)"),
        (nameless, r"must return \['total', 'u'\], it returned \['u'\]"),
        (writing, "read-only"),
    ],
)
def test_any_other_error_stops_and_is_told(function, words):
    with pytest.raises(Exception, match=rf"PythonModel\({function.__name__}\).*{words}"):
        run(model(function))


def wordy(x, theta, t):
    raise ValueError(f"{'é' * 400} is too long a word, and \udcff is none")


def test_words_are_told_whole_in_any_alphabet():
    with pytest.raises(Exception, match=r"é{400} is too long a word, and [?] is none"):
        run(model(wordy))


def test_refusals():
    with pytest.raises(ValueError, match="step must be a function, got 3"):
        model(3)
    with pytest.raises(ValueError, match="dt must be positive"):
        assim.foreign.PythonModel(step, LABELS, 0.0)


def sized(a, b, units="1", **given):
    """The step (a, b) → (a² / 1000 + b, b + a / 1000 + sin b), and a state."""
    at = assim.Label((), units)
    labels = assim.Labels({"a": at, "b": at}, {}, {})

    def step(x, theta, t):
        a, b = x["a"], x["b"]
        return {"a": a**2 / 1000 + b, "b": b + a / 1000 + np.sin(b)}

    given = {"tangent": "differences", **given}
    own = assim.foreign.PythonModel(step, labels, 1.0, **given)
    return lambda x: own.step(x, {}, 0.0), {"a": jnp.asarray(a), "b": jnp.asarray(b)}


@pytest.mark.parametrize("small", [0.0, 1e-13, 1e-10, 1e-6, 1e-2, 1.0])
def test_differences_beside_a_field_next_to_zero(small):
    once, x = sized(1000.0, small)
    _, got = jax.jvp(once, (x,), ({"a": jnp.asarray(1.0), "b": jnp.asarray(1.0)},))
    np.testing.assert_allclose(got["a"], 3.0, rtol=1e-8)
    np.testing.assert_allclose(got["b"], 1.001 + np.cos(small), rtol=1e-8)


@pytest.mark.parametrize("small", [1e-13, 1e-6])
def test_differences_along_a_field_next_to_zero_alone(small):
    once, x = sized(1000.0, small, units="K")
    _, got = jax.jvp(once, (x,), ({"a": jnp.asarray(0.0), "b": jnp.asarray(1.0)},))
    np.testing.assert_allclose(got["a"], 1.0, rtol=1e-7)


@pytest.mark.parametrize("little", [1e-12, 1e-6, 1e-3])
def test_differences_where_another_field_is_hardly_moved(little):
    once, x = sized(1.0, 1.0)
    _, got = jax.jvp(once, (x,), ({"a": jnp.asarray(little), "b": jnp.asarray(1.0)},))
    np.testing.assert_allclose(got["b"], 1 + little / 1000 + np.cos(1.0), rtol=1e-10)


def test_second_derivatives_beside_a_field_next_to_zero():
    def tangent(x, theta, t, dx, dtheta):
        a, b, da, db = x["a"], x["b"], dx["a"], dx["b"]
        return {"a": a * da / 500 + db, "b": db + da / 1000 + np.cos(b) * db}

    def adjoint(x, theta, t, by):
        a, b = x["a"], x["b"]
        return {
            "a": a * by["a"] / 500 + by["b"] / 1000,
            "b": by["a"] + (1 + np.cos(b)) * by["b"],
        }, {}

    once, x = sized(1000.0, 1e-10, tangent=tangent, adjoint=adjoint)
    squares = lambda x: sum(value**2 for value in once(x).values()) / 2  # noqa: E731
    v = {"a": jnp.asarray(1.0), "b": jnp.asarray(1.0)}
    _, got = jax.jvp(jax.grad(squares), (x,), (v,))
    of = lambda x: (x["a"] ** 2 / 1000 + x["b"], x["b"] + x["a"] / 1000 + jnp.sin(x["b"]))  # noqa: E731
    exact = lambda x: sum(value**2 for value in of(x)) / 2  # noqa: E731
    _, expected = jax.jvp(jax.grad(exact), (x,), (v,))
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-8)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, r"PythonModel: the labels have a parameter 'k', for which `parameters` gives no"),
        ({"k": 1.0, "kk": 2.0}, r"PythonModel: the labels have no parameter 'kk'; did you mean"),
        (
            {"k": [1.0, 2.0]},
            r"PythonModel: the default of 'k' has the shape \(2,\), and its labels",
        ),
    ],
)
def test_defaults_are_those_of_the_labels(parameters, words):
    labels = assim.Labels({"a": assim.Label()}, {"k": assim.Label()})
    with pytest.raises(ValueError, match=words):
        assim.foreign.PythonModel(lambda x, theta, t: x, labels, 1.0, parameters)
