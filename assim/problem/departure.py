"""The one function of a data-assimilation problem: χ → (d, c, v)."""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from assim.devices import in_space
from assim.problem.arrays import Array, Grid, Params, State, Trajectory, TrajectoryFunction
from assim.problem.control import Control, Physical
from assim.problem.digital_filter import DigitalFilter
from assim.problem.distance import Radius, distances
from assim.problem.model import AbstractDynamics
from assim.problem.model_error import parallel_states, sequential_states
from assim.problem.numbers import numbers_of
from assim.problem.observation import Observations
from assim.problem.points import Located
from assim.problem.volume import volume, volume_by_jacobian
from assim.problem.window import Window, integrate


class Departures(NamedTuple):
    """Value of the departure function: J(χ) = ½ χᵀWχ + ½ dᵀd + c + v.

    c = Σ_k (m_k log s_k + log |R_k^(1/2)|) over the instruments whose error scale is estimated,
    and N log s over jumps of estimated amplitude where states are the control. v = ½ log |W + GᵀG|
    over the trajectory's part of χ where an error scale, or the amplitude of model error, is
    estimated over a trajectory with model error. Both are 0 else. The density is exp(v - J).
    """

    normalised: Array  # d: of observations, of a digital filter, of jumps where states are control
    normaliser: Array  # c
    volume: Array  # v


class Simulation(NamedTuple):
    """A trajectory with what every instrument would read of it."""

    control: Physical
    trajectory: Trajectory
    predictions: dict[str, Array]
    before: State  # states before jumps, where observations see those; else empty

    @property
    def seen(self) -> Trajectory:
        """The trajectory as observations see it."""
        return _seen(self.trajectory, self.before)


class _Parts(NamedTuple):
    """Departures and normalisers by origin."""

    observed: list[Array]
    normaliser: Array
    filtered: list[Array]  # of the digital filter, or none
    jumps: list[Array]
    jump_normaliser: Array

    def departures(self) -> Array:
        """All in one vector."""
        return jnp.concatenate([*self.observed, *self.filtered, *self.jumps])

    def value(self, volume: Array) -> Departures:
        """With c and this v."""
        return Departures(self.departures(), self.normaliser + self.jump_normaliser, volume)


class Problem(eqx.Module):
    """A data-assimilation problem as the function d(χ) of the whitened control vector.

        d(χ) = R^(-1/2) (y - H(M(x(χ))))

    Args:
        model: M.
        window: the slots of the trajectory.
        control: the prior transform x(χ).
        observations: one entry an instrument.
        horizon: time until which observations count, where a window is lengthened; None for all.
        digital_filter: Jc, fitted to the window; None for none.
        derived: scalar functions of the trajectory that are published with the rest, by name.
        located: of every instrument where its values lie on slot edges and grid, or None; () if it
            is found anew in every evaluation. Who changes the window's edges leaves it out.
    """

    model: AbstractDynamics
    window: Window
    control: Control
    observations: tuple[Observations, ...]
    horizon: Array | None = None
    digital_filter: DigitalFilter | None = None
    derived: dict[str, TrajectoryFunction] = eqx.field(default_factory=dict)
    located: tuple[Located | None, ...] = ()

    def __call__(self, chi: Array) -> Departures:
        """Normalised departures of all instruments, the log-normaliser c(χ) and the volume v(χ)."""
        return self._parts(chi).value(self._volume(chi))

    def without_volume(self, chi: Array) -> Departures:
        """The same with v = 0."""
        return self._parts(chi).value(jnp.zeros(()))

    def size(self) -> int:
        """Length of χ."""
        return self.control.size()

    def weight(self) -> Array:
        """Diagonal of W, shape of χ."""
        return self.control.weight()

    def scalars(self, chi: Array) -> dict[str, Array]:
        """Parameters, error scales, biases and initial fields of one value, in physical units.

        Then the derived quantities.
        """
        values, control = self.control.scalars(chi), self.control
        single = [n for n in control.covariance.fields() if control.state[n].size == 1]
        if any(name not in values for name in single):
            state = control(chi).state
            values = values | {name: jnp.reshape(state[name], ()) for name in single}
        if self.derived:
            values = values | numbers_of(self.derived, self.trajectory(chi))
        return values

    def has_normaliser(self) -> bool:
        """Whether c or v depends on χ: an error scale or an amplitude is estimated."""
        return bool(self.control.scales)

    def proper(self) -> bool:
        """Whether the prior of everything estimated integrates to one.

        States under weak constraint have no prior of their own, but their jumps do.
        """
        return self.control.proper()

    def workspace(self) -> int:
        """Numbers that one evaluation holds: the trajectory, χ and the departures."""
        state = sum(value.size for value in self.control.state.values())
        observed = sum(o.values.size for o in self.observations)
        return state * (self.window.slots + 1) + self.size() + observed

    def distances(self, radius: Radius) -> Array:
        """|δ/c| of every departure from every entry of χ, shape (m, n), as `distances` has it."""
        return distances(self, radius)

    def lengthened(self, stages: int) -> tuple["Problem", ...]:
        """The problem with the first 1/stages of its window observed, 2/stages, … and all of it.

        All have one structure, so that what is compiled for one serves all. The model stands still
        after the horizon, and departures of later observations are zero.

        Raises:
            ValueError: fewer than one stage, or correlated errors of which departures up to a time
                cannot be told from later ones.
        """
        if stages < 1:
            raise ValueError(f"lengthened: at least one stage is needed, got {stages}")
        for o in self.observations:
            if not o.covariance.causal(o.points.ends):
                raise ValueError(
                    f"lengthened: the errors of {o.name!r} are correlated so that departures up to "
                    "a time depend on later values; sort its rows by time and give Autoregressive "
                    "or Dense errors, or minimise the window at once"
                )
        start, end = self.window.edges[0], self.window.edges[-1]
        ends = [*(start + (end - start) * (k + 1) / stages for k in range(stages - 1)), end]
        return tuple(dataclasses.replace(self, horizon=end) for end in ends)

    def as_forcing(self) -> "Problem":
        """The same problem with model errors as the control, where it has later states."""
        if not self.control.later:
            return self
        return eqx.tree_at(lambda p: p.control.later, self, {})

    def as_states(self) -> "Problem":
        """The same problem with states at the groups' ends as the control, about the background's.

        Raises:
            ValueError: there is no model error, or one that does not fit: none in some field, a
                covariance that cannot be inverted, or errors that do not act as jumps.
        """
        error = self.control.model_error
        if error is None:
            raise ValueError("as_states: without model error states are no control")
        error.check_states(self.control.state)
        if self.control.later:
            return self
        start = self.control(jnp.zeros(self.size()))
        run = eqx.filter_jit(integrate)(self.model, start.state, start.parameters, self.window)
        ends = error.free(error.at_jumps(run.states))
        later = {name: jnp.where(jnp.isfinite(value), value, 0.0) for name, value in ends.items()}
        return eqx.tree_at(lambda p: p.control.later, self, later)

    def moved(self, chi: Array, to: "Problem") -> Array:
        """χ of the same trajectory and scalars in another formulation of this problem.

        White η and states are in one to one: χ_k = s Q_t^(1/2) χ_η + …, whose determinant is that
        of s Q_t^(1/2), which c and `log_constant` account for.

        Args:
            chi: of this problem.
            to: this problem, `as_states` or `as_forcing`.
        """
        error, states = self.control.model_error, bool(to.control.later)
        if error is None or states == bool(self.control.later):
            return chi
        physical = self.control(chi)
        trajectory, jumps = self._follow(physical)
        if states:
            ends = error.free(error.at_jumps(trajectory.states))
            away = {name: ends[name] - value for name, value in to.control.later.items()}
            parts = {"later": jax.vmap(error.joint.whiten)(away), "model_error": {}}
        else:
            s = self.control.amplitude(physical.scales)
            white = {name: value / s for name, value in error.whiten(jumps).items()}
            parts = {"later": {}, "model_error": white}
        return to.control.join({**self.control.split(chi), **parts})

    def of_trajectory(self) -> np.ndarray:
        """Which entries of χ are neither parameters nor error scales, shape of χ."""
        kinds = self.control.blank().items()
        inside = {k: k not in ("parameters", "scales") for k, _ in kinds}
        marks = {k: {n: jnp.full_like(v, inside[k]) for n, v in part.items()} for k, part in kinds}
        return np.asarray(self.control.join(marks)) > 0

    def apart(self) -> np.ndarray:
        """Entries of χ that are parameters, error scales, biases or of fields of few values."""
        return self.control.apart()

    def guess(self, state: State, parameters: Params) -> Array:
        """χ of an initial state and parameters, from which to start.

        Parameters that are not given, error scales and bias coefficients are at their prior median;
        model errors are zero.

        Raises:
            ValueError: a background covariance that cannot be inverted.
        """
        chi = self.control.whiten(state, parameters)
        error = self.control.model_error
        if error is None or not self.control.later:
            return chi
        given = self.control(chi)
        free = integrate(self.model, given.state, given.parameters, self.window)
        ends = error.free(error.at_jumps(free.states))
        moved = {name: value - self.control.later[name] for name, value in ends.items()}
        white = self.control.split(chi)
        return self.control.join({**white, "later": jax.vmap(error.joint.whiten)(moved)})

    def log_constant(self) -> Array:
        """log p(y | χ) + ½ dᵀd + c, which does not depend on χ.

        NaN with a digital filter: its prior N(0, I) exp(-Jc) has an integral that is not known, so
        that there is no evidence.
        """
        if self.digital_filter is not None:
            return jnp.array(jnp.nan)
        constant = sum((o.log_constant() for o in self.observations), jnp.zeros(()))
        error = self.control.model_error
        if not self.control.later or error is None or error.in_time is None:
            return constant
        series = sum(error.joint.sizes().values())
        return constant - series * error.in_time.log_sqrt_determinant()

    def trajectory(self, chi: Array) -> Trajectory:
        """M(x(χ)), model error included."""
        return self._follow(self.control(chi))[0]

    def model_error(self, chi: Array) -> State:
        """η of every field that has model error, leading dimension groups."""
        physical = self.control(chi)
        return self._follow(physical)[1] if self.control.later else physical.model_error

    def simulate(self, chi: Array) -> Simulation:
        """Control, trajectory and predictions of every instrument for one χ."""
        physical = self.control(chi)
        trajectory, jumps = self._follow(physical)
        physical = physical._replace(model_error=jumps) if self.control.later else physical
        before = self._before(trajectory, physical.model_error)
        seen = _seen(trajectory, before)
        predictions = {o.name: o.predict(seen, physical.biases) for o in self._instruments()}
        return Simulation(physical, trajectory, predictions, before)

    def cost_terms(self, chi: Array) -> dict[str, Array]:
        """J by origin: background, observation, model error, parameters (error scales and bias
        coefficients included), the digital filter and the volume where there are such, and the
        total.
        """
        white = self.control.split(chi)
        weight = self.control.split(self.weight())
        half = {
            kind: sum((jnp.sum(weight[kind][n] * w**2) / 2 for n, w in part.items()), jnp.zeros(()))
            for kind, part in white.items()
        }
        parts = self._parts(chi)
        squares = lambda several: sum((jnp.sum(d**2) / 2 for d in several), jnp.zeros(()))  # noqa: E731
        terms = {
            "background": half["background"] + half["fields"],
            "observation": squares(parts.observed) + parts.normaliser,
            "model_error": half["model_error"] + squares(parts.jumps) + parts.jump_normaliser,
            "parameters": half["parameters"] + half["scales"] + half["biases"],
        }
        if self.digital_filter is not None:
            terms["digital_filter"] = squares(parts.filtered)
        if self.control.has_volume:
            terms["volume"] = self._volume(chi)
        return {**terms, "total": sum(terms.values(), jnp.zeros(()))}

    def _follow(self, physical: Physical) -> tuple[Trajectory, State]:
        """The trajectory, and the jumps where states are the control."""
        model, window, error = self.model, self.window, self.control.model_error
        x0, theta = in_space(physical.state), physical.parameters
        jumps: State = {}
        if error is None and self.horizon is None:
            states = model.states(x0, theta, window.edges, window.steps)
        elif error is not None and self.control.later:
            states, jumps = parallel_states(model, x0, theta, window, error, physical.later)
        else:
            eta = physical.model_error
            states = sequential_states(model, x0, theta, window, error, eta, self.horizon)
        return Trajectory(window.edges, states, theta, Grid.of(model.labels())), jumps

    def _parts(self, chi: Array) -> _Parts:
        physical = self.control(chi)
        trajectory, jumps = self._follow(physical)
        seen = _seen(trajectory, self._before(trajectory, jumps or physical.model_error))
        scales, none = physical.scales, jnp.zeros(())
        observed, normalisers = [], []
        for o in self._instruments():
            departures = o.departures(seen, scales, physical.biases)
            normaliser = o.normaliser(scales)
            if self.horizon is not None:
                slack = 1e-6 * (self.window.edges[-1] - self.window.edges[0])
                counted = o.points.ends <= self.horizon + slack
                departures = jnp.where(counted, departures, 0.0)
                normaliser = normaliser * o.share(counted)
            observed.append(departures)
            normalisers.append(normaliser)
        normaliser, filtered = sum(normalisers, none), self._filtered(trajectory)
        if self.control.model_error is None or not jumps:
            return _Parts(observed, normaliser, filtered, [], none)
        s = self.control.amplitude(scales)
        white = self.control.model_error.whiten(jumps)
        normalised = [w.ravel() / s for _, w in sorted(white.items())]
        fixed = self.control.amplitude_scale is None
        logarithms = none if fixed else sum(part.size for part in normalised) * jnp.log(s)
        return _Parts(observed, normaliser, filtered, normalised, logarithms)

    def _instruments(self) -> tuple[Observations, ...]:
        places = self.located or (None,) * len(self.observations)
        return tuple(o.on(place) for o, place in zip(self.observations, places, strict=True))

    def _before(self, trajectory: Trajectory, jumps: State) -> State:
        """States before jumps where observations see those; else none."""
        error = self.control.model_error
        if error is None or error.observed == "after":
            return {}
        return error.before(trajectory.states, jumps)

    def _filtered(self, trajectory: Trajectory) -> list[Array]:
        """Departures of the digital filter; zeros until the horizon has reached its end."""
        if self.digital_filter is None:
            return []
        departures = self.digital_filter.departures(trajectory.states)
        ended = True if self.horizon is None else self.horizon >= self.window.edges[-1]
        return [jnp.where(ended, departures, 0.0)]

    def _volume(self, chi: Array) -> Array:
        """v = ½ log |W + GᵀG| over the entries of χ that make the trajectory at given parameters.

        The joint mode, of exp(v - J) over the trajectory and the scales, does not identify the
        amplitude of model error: the larger it is, the smaller white η do. Nor does it identify
        the scale of observation errors: the trajectory comes closer to the values than it should.
        Integrating the trajectory out by Laplace's method adds this term, exact where the
        departures are linear in it: parameters and scales are then at their own mode.
        """
        if not self.control.has_volume:
            return jnp.zeros(())
        if self.model.reverse_of_forward():
            return self._volume_of_trajectory(chi)
        return volume_by_jacobian(self, Problem._volume_of_trajectory, chi)

    def _volume_of_trajectory(self, chi: Array) -> Array:
        white, weight = self.control.split(chi), self.control.split(self.weight())
        kinds = ("background", "fields", "later", "model_error")
        block, unravel = ravel_pytree({kind: white[kind] for kind in kinds})
        prior, _ = ravel_pytree({kind: weight[kind] for kind in kinds})

        def departures(block: Array) -> Array:
            return self._parts(self.control.join({**white, **unravel(block)})).departures()

        return volume(departures, block, prior)


def _seen(trajectory: Trajectory, before: State) -> Trajectory:
    """The trajectory with the states before jumps, where there are such."""
    return dataclasses.replace(trajectory, states=before) if before else trajectory
