"""A heat model behind the Basic Model Interface: steps, state, and cycles by the ensemble route."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import assim
from tests.cycle.toy import STEP, Linear, in_turn, twin

WINDOWS = 2
LABELS = Linear().labels()
X = {"x": jnp.asarray([1.0, -1.0, 0.5, 0.0])}
DRIFT = {"drift": jnp.asarray(0.2)}


class Heat:
    """A bar that is cooled at its first place; BMI as codes have it, without any way back."""

    types = {"temperature": np.zeros(4), "source": np.zeros(1)}  # noqa: RUF012

    def __init__(self):
        self.t = 0.0
        self.values = {name: value.copy() for name, value in self.types.items()}

    def get_component_name(self):
        return "heat"

    def get_input_var_names(self):
        return tuple(self.types)

    def get_var_type(self, name):
        return "float64"

    def get_var_units(self, name):
        return {"temperature": "1", "source": "-"}[name]

    def get_var_itemsize(self, name):
        return 8

    def get_var_nbytes(self, name):
        return self.types[name].nbytes

    def get_value(self, name, dest):
        dest[:] = self.values[name]
        return dest

    def set_value(self, name, src):
        self.values[name][:] = src

    def get_time_units(self):
        return "s"

    def get_time_step(self):
        return STEP

    def get_current_time(self):
        return self.t

    def update(self):
        u = self.values["temperature"]
        u += 0.1 * (np.roll(u, 1) - 2 * u + np.roll(u, -1))
        u[0] += self.values["source"][0]
        self.t += STEP

    def update_until(self, time):
        while self.t < time - 1e-9:
            self.update()


class InJax(Linear):
    """The same."""

    def step(self, x, theta, t):
        u = x["x"]
        u = u + 0.1 * (jnp.roll(u, 1) - 2 * u + jnp.roll(u, -1))
        return {"x": u + theta["drift"] * jnp.eye(4)[0]}


class Counting(Heat):
    """It cools ever more with every update: a count that is no field."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def update(self):
        super().update()
        self.values["temperature"] -= self.count
        self.count += 1


class Saved(Counting):
    """The same, which can be put back."""

    def save_state(self):
        return self.count

    def restore_state(self, saved):
        self.count = saved


class Whole(Heat):
    """Its state is one thing, by no variable; and it has an adjoint."""

    types = {"source": np.zeros(1)}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.values["temperature"] = np.zeros(4)

    def get_state(self):
        return {"x": self.values["temperature"]}

    def set_state(self, state, time):
        self.values["temperature"], self.t = state["x"], time

    def vector_jacobian_product(self, state, parameters, time, by):
        w = by["x"]
        bx = w + 0.1 * (np.roll(w, 1) - 2 * w + np.roll(w, -1))
        return {"x": bx}, {"drift": w[0]}


VARIABLES = {"x": "temperature", "drift": "source"}


def model(bmi, **given):
    return assim.foreign.BMIModel(bmi, LABELS, variables=VARIABLES, **given)


def after(given, x=X):
    return given.step(x, DRIFT, 0.0)["x"]


@pytest.mark.parametrize("kind", [Heat, Saved, Whole])
def test_a_step_is_that_of_the_model_in_jax(kind):
    own = model(kind())
    for factor in (1.0, 3.0):
        x = {"x": factor * X["x"]}
        np.testing.assert_allclose(after(own, x), after(InJax(), x), rtol=1e-14)
    assert own.lacks() == (("tangent",) if kind is Whole else ("tangent", "adjoint"))
    assert own.dt == STEP and float(own.parameters["drift"]) == 0.0


def test_a_longer_step():
    once = after(InJax())
    own = model(Heat(), dt=2 * STEP)
    np.testing.assert_allclose(after(own), after(InJax(), {"x": once}), rtol=1e-14)
    assert own.slot_steps(4 * STEP) == 2


def test_its_adjoint_and_differences():
    total = lambda m: jax.grad(lambda x: jnp.sum(after(m, {"x": x}) ** 2))(X["x"])  # noqa: E731
    np.testing.assert_allclose(total(model(Whole())), total(InJax()), rtol=1e-13)
    push = lambda m: jax.jvp(lambda x: after(m, {"x": x}), (X["x"],), (X["x"][::-1],))[1]  # noqa: E731
    np.testing.assert_allclose(push(model(Heat(), tangent="differences")), push(InJax()), rtol=1e-9)
    with pytest.raises(assim.ModelContractError, match=r"BMIModel\(heat\): this needs the tangent"):
        push(model(Heat()))


def test_what_is_kept_beside_the_fields_is_found():
    failed = lambda own: [t.name for t in own.trials(X, DRIFT, 0.0) if t.passed is False]  # noqa: E731
    assert "same again" in failed(model(Counting()))
    assert failed(model(Saved())) == failed(model(Heat())) == []


def test_an_ensemble_cycle_is_that_of_the_model_in_jax():
    """With its source estimated, and no derivative."""
    prior = {"drift": assim.prior.Normal(0.0, 0.3)}
    given = twin(assim.scheme.ETKF(members=8), assim.scheme.Plan(1, 1), WINDOWS, prior)
    found = []
    for own in (model(Heat()), InJax()):
        problem = dataclasses.replace(given.cycle.problem, model=own)
        cycle = dataclasses.replace(given.cycle, problem=problem)
        found.append(in_turn(given._replace(cycle=cycle), WINDOWS))
    for ours, theirs in zip(*found, strict=True):
        assert not eqx.tree_equal(ours[1].analysis, ours[1].background)
        for a, b in zip(*(jax.tree.leaves(w[1]) for w in (ours, theirs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"variables": {"y": "temperature"}}, "variables: no 'y'"),
        ({"variables": {"x": "heat", "drift": "source"}}, "no input variable 'heat'"),
        ({"variables": {"x": "source", "drift": "source"}}, r"'source' has 1 values.*\(4,\)"),
        ({"dt": 0.0}, "dt must be positive"),
        ({"tangent": "exact"}, "tangent must be"),
    ],
)
def test_refusals(change, words):
    with pytest.raises(ValueError, match=words):
        assim.foreign.BMIModel(Heat(), LABELS, **{"variables": VARIABLES, **change})


def test_units_are_compared():
    state = {"x": assim.Label(("place",), "K")}
    labels = dataclasses.replace(LABELS, state=state)
    with pytest.raises(ValueError, match=r"'temperature' is in '1', its label says 'K'"):
        assim.foreign.BMIModel(Heat(), labels, variables=VARIABLES)
    with pytest.raises(ValueError, match="counts time in 's', its labels in 'days'"):
        other = dataclasses.replace(LABELS, time_unit="days")
        assim.foreign.BMIModel(Heat(), other, variables=VARIABLES)
