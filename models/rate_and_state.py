"""Rate-and-state friction: a block pulled over a surface by a spring.

    f = μ0 + b ln(v0 θ / Dc)
    μ = a arcsinh( v/(2 v0) exp(f/a) )             strength, regularised
    μ = f + a ln(v/v0)                             classical: the same where μ >> a
    dθ/dt = 1 - v θ / Dc                           ageing law (Dieterich)
    dθ/dt = -(v θ / Dc) ln(v θ / Dc)               slip law (Ruina)
    dμ/dt = k (v_lp - v)                           spring, without inertia
    dv/dt = (μ - strength(v, θ)) / (k (T/2π)²)     with inertia

The state variable is integrated as ln θ: θ stays positive and its range of decades is one of
numbers of order ten. Without inertia the velocity is that at which strength is μ, the pull of the
spring divided by the normal force; with inertia it is integrated as ln v, and never turns back.

Sources: Dieterich (1979), J. Geophys. Res. 84, 2161-2168; Ruina (1983), J. Geophys. Res. 88,
10359-10370; Rice & Ben-Zion (1996), PNAS 93, 3811-3818 (regularised form); Rice & Tse (1986),
J. Geophys. Res. 91, 521-530 (inertia).
"""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim import (
    AbstractIntegrator,
    AbstractODE,
    Adaptive,
    Array,
    Forcing,
    Label,
    Labels,
    Params,
    State,
)

LAWS = ("ageing", "slip")
FORMS = ("regularised", "classical")
_VELOCITY = "m s-1"
_DEFAULTS = {"a": 0.01, "b": 0.009, "D_c": 1e-5, "k": 1e3, "mu_0": 0.6, "v_0": 1e-6}
_LOAD_VELOCITY, _PERIOD = 1e-5, 0.01  # m/s, s
_NOT_GIVEN: Any = None


class RateAndState(AbstractODE):
    """Spring-block with rate-and-state friction, pulled at any velocity of the load point.

    Velocities load_velocity_0, load_velocity_1, ... of the load point hold before, between and
    after the step times; or `load` is its velocity, times the parameter load_scale. With `rise`, a
    step follows a logistic curve that would take this time at its steepest, and the times of the
    middles are parameters. Without, steps are sudden: put a slot edge on each, so that no
    integration step crosses it.

    Args:
        load: velocity of the load point as a time series (m/s).
        step_times: when its velocity changes, increasing (s).
        rise: time that each change takes at its steepest (s).
        law: how the state evolves, "ageing" or "slip".
        form: of the strength, "regularised" (finite at rest) or "classical".
        inertia: whether the block has a mass; then its velocity is integrated as well, by an
            implicit solver unless told otherwise.
        integrator: how the equations are integrated.
        parameters: values in place of the defaults, by name.

    Raises:
        ValueError: no such law or form, step times that do not increase by `rise` at least or
            come with a time series, or an unknown parameter.
    """

    load: Forcing
    step_times: Array
    rise: float = eqx.field(static=True)
    law: str = eqx.field(static=True)
    form: str = eqx.field(static=True)
    inertia: bool = eqx.field(static=True)
    integrator: AbstractIntegrator
    parameters: Params
    _series: bool = eqx.field(static=True)

    def __init__(
        self,
        load: Forcing = _NOT_GIVEN,
        step_times: Sequence[float] = (),
        rise: float = 0.0,
        law: str = "ageing",
        form: str = "regularised",
        inertia: bool = False,
        integrator: AbstractIntegrator = _NOT_GIVEN,
        parameters: Params = _NOT_GIVEN,
    ) -> None:
        """Name the parameters that the history of the load point and inertia need."""
        self._series = load is not _NOT_GIVEN
        _check(law, form, np.asarray(step_times, float), rise, self._series)
        self.load = load if self._series else Forcing.constant(0.0, _VELOCITY)
        self.step_times = jnp.asarray(step_times, dtype=float)
        self.rise, self.law, self.form, self.inertia = float(rise), law, form, inertia
        stiff = Adaptive(diffrax.Kvaerno5()) if inertia else Adaptive()
        self.integrator = stiff if integrator is _NOT_GIVEN else integrator
        defaults = dict(_DEFAULTS) | ({"period": _PERIOD} if inertia else {})
        defaults |= {"load_scale": 1.0} if self._series else _steps(step_times, self.rise)
        given = {} if parameters is _NOT_GIVEN else dict(parameters)
        if unknown := sorted(set(given) - set(defaults)):
            raise ValueError(
                f"RateAndState: no parameter {unknown[0]!r}; there are {', '.join(defaults)}"
            )
        merged = defaults | given
        self.parameters = {name: jnp.asarray(v, dtype=float) for name, v in merged.items()}

    def labels(self) -> Labels:
        """Two or three scalar fields."""
        moving = {"log_velocity": Label((), "1", "logarithm of slip velocity in m/s")}
        return Labels(
            state={
                "friction": Label((), "1", "pull of the spring over normal force"),
                "log_theta": Label((), "1", "logarithm of the state variable in s"),
                **(moving if self.inertia else {}),
            },
            parameters={name: _label(name) for name in self.parameters},
            inputs={"load": Label((), _VELOCITY, "velocity of the load point")},
            time_unit="seconds",
        )

    def tendency(self, x: State, theta: Params, t: Array) -> State:
        """Right-hand side."""
        if self.inertia:
            velocity = jnp.exp(x["log_velocity"])
        else:
            velocity = _slip_velocity(x["friction"], x["log_theta"], theta, self.form)
        change = {
            "friction": theta["k"] * (self.load_velocity(theta, t) - velocity),
            "log_theta": _evolution(velocity, x["log_theta"], theta, self.law),
        }
        if not self.inertia:
            return change
        excess = x["friction"] - _strength(x["log_velocity"], x["log_theta"], theta, self.form)
        mass = theta["k"] * (theta["period"] / (2 * jnp.pi)) ** 2
        return {**change, "log_velocity": excess / (mass * velocity)}

    def load_velocity(self, theta: Params, t: Array) -> Array:
        """v_lp(t), m/s."""
        if self._series:
            return theta["load_scale"] * self.load(t)
        velocity = theta["load_velocity_0"]
        for j in range(1, self.step_times.size + 1):
            change = theta[f"load_velocity_{j}"] - theta[f"load_velocity_{j - 1}"]
            velocity = velocity + change * self._passed(j, theta, t)
        return velocity

    def _passed(self, j: int, theta: Params, t: Array) -> Array:
        """How much of the j-th step is done: 0 before, 1 after, 1/2 at a time with a rise."""
        if self.rise == 0:
            return jnp.where(t >= self.step_times[j - 1], 1.0, 0.0)
        return jax.nn.sigmoid(4 * (t - theta[f"step_time_{j}"]) / self.rise)


def _at_reference(log_theta: Array, theta: Params) -> Array:
    """f, the strength at the velocity v0 for the classical form."""
    return theta["mu_0"] + theta["b"] * (log_theta + jnp.log(theta["v_0"] / theta["D_c"]))


def _slip_velocity(friction: Array, log_theta: Array, theta: Params, form: str) -> Array:
    """v at which strength equals friction; regularised: 2 v0 exp(-f/a) sinh(μ/a)."""
    excess = (friction - _at_reference(log_theta, theta)) / theta["a"]
    classical = theta["v_0"] * jnp.exp(excess)
    if form == "classical":
        return classical
    return -classical * jnp.expm1(-2 * friction / theta["a"])


def _strength(log_velocity: Array, log_theta: Array, theta: Params, form: str) -> Array:
    """Strength at a positive velocity."""
    f = _at_reference(log_theta, theta)
    relative = log_velocity - jnp.log(theta["v_0"])
    if form == "classical":
        return f + theta["a"] * relative
    return theta["a"] * _arcsinh_exp(relative - jnp.log(2.0) + f / theta["a"])


def _arcsinh_exp(z: Array) -> Array:
    """arcsinh(e^z), for any z without overflow."""
    small, large = jnp.exp(jnp.minimum(z, 0.0)), jnp.exp(-2 * jnp.maximum(z, 0.0))
    return jnp.where(z < 0, jnp.arcsinh(small), z + jnp.log1p(jnp.sqrt(1 + large)))


def _evolution(velocity: Array, log_theta: Array, theta: Params, law: str) -> Array:
    """d ln θ / dt; with |v|, as slip in either direction renews contacts."""
    rate = jnp.abs(velocity) / theta["D_c"]
    if law == "ageing":
        return jnp.exp(-log_theta) - rate
    least = jnp.finfo(rate.dtype).tiny  # a block at rest: 0 ln 0 = 0
    return -rate * (jnp.log(jnp.maximum(rate, least)) + log_theta)


def _steps(step_times: Sequence[float], rise: float) -> dict[str, float]:
    """Defaults of the velocities and, where they can be estimated, of the step times."""
    velocities = {f"load_velocity_{j}": _LOAD_VELOCITY for j in range(len(step_times) + 1)}
    times = {f"step_time_{j + 1}": float(t) for j, t in enumerate(step_times)}
    return velocities | (times if rise else {})


def _label(parameter: str) -> Label:
    kind, _, number = parameter.rpartition("_")
    if kind == "load_velocity":
        return Label((), _VELOCITY, f"velocity of the load point after {number} steps")
    if kind == "step_time":
        return Label((), "s", f"middle of step {number}, from the window's start")
    return {
        "a": Label((), "1", "direct effect"),
        "b": Label((), "1", "evolution effect"),
        "D_c": Label((), "m", "characteristic slip distance"),
        "k": Label((), "m-1", "stiffness over normal force"),
        "mu_0": Label((), "1", "steady friction at the reference velocity"),
        "v_0": Label((), _VELOCITY, "reference velocity"),
        "period": Label((), "s", "period of the block swinging freely on its spring"),
        "load_scale": Label((), "1", "factor on the velocity of the load point"),
    }[parameter]


def _check(law: str, form: str, step_times: np.ndarray, rise: float, series: bool) -> None:
    for name, given, allowed in (("law", law, LAWS), ("form", form, FORMS)):
        if given not in allowed:
            raise ValueError(f"RateAndState: {name} must be one of {allowed}, got {given!r}")
    if series and step_times.size:
        raise ValueError("RateAndState: give step_times or the time series `load`, not both")
    if not rise >= 0:
        raise ValueError(f"RateAndState: rise must not be negative, got {rise}")
    gaps = np.diff(step_times)
    if step_times.ndim != 1 or not (np.all(gaps > 0) and np.all(gaps >= rise)):
        raise ValueError(
            f"RateAndState: step_times must increase, by rise = {rise:g} at least, "
            f"got {step_times.tolist()}"
        )
