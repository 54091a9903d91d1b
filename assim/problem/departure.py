"""The one function of a data-assimilation problem: χ → (d, c)."""

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Labels, State, Trajectory
from assim.problem.control import Control, Physical
from assim.problem.covariance import AbstractCovariance
from assim.problem.fit import check_fit
from assim.problem.model import AbstractDynamics, check_model
from assim.problem.observation import Observations
from assim.problem.prior import AbstractPrior
from assim.problem.window import Window, integrate


class Departures(NamedTuple):
    """Value of the departure function: J(χ) = ½ χᵀWχ + ½ dᵀd + c."""

    normalised: Array
    normaliser: Array


class Simulation(NamedTuple):
    """A trajectory with what every instrument would read of it."""

    control: Physical
    trajectory: Trajectory
    predictions: dict[str, Array]


class Problem(eqx.Module):
    """A data-assimilation problem as the function d(χ) of the whitened control vector.

        d(χ) = R^(-1/2) (y - H(M(x(χ))))

    Args:
        model: M.
        window: the slots of the trajectory.
        control: the prior transform x(χ).
        observations: one entry an instrument.
    """

    model: AbstractDynamics
    window: Window
    control: Control
    observations: tuple[Observations, ...]

    def __call__(self, chi: Array) -> Departures:
        """Normalised departures of all instruments, and the log-normaliser c(χ)."""
        physical = self.control(chi)
        trajectory = integrate(self.model, physical.state, physical.parameters, self.window)
        parts = [o.departures(trajectory, physical.scales) for o in self.observations]
        normaliser = sum((o.normaliser(physical.scales) for o in self.observations), jnp.zeros(()))
        return Departures(jnp.concatenate(parts), normaliser)

    def size(self) -> int:
        """Length of χ."""
        return self.control.size()

    def weight(self) -> Array:
        """Diagonal of W, shape of χ."""
        return self.control.weight()

    def has_normaliser(self) -> bool:
        """Whether c depends on χ: an error scale is estimated."""
        return bool(self.control.scales)

    def workspace(self) -> int:
        """Numbers that one evaluation holds: the trajectory, χ and the departures."""
        state = sum(value.size for value in self.control.state.values())
        observed = sum(o.values.size for o in self.observations)
        return state * (self.window.slots + 1) + self.size() + observed

    def log_constant(self) -> Array:
        """log p(y | χ) + ½ dᵀd + c, which does not depend on χ."""
        return sum((o.log_constant() for o in self.observations), jnp.zeros(()))

    def trajectory(self, chi: Array) -> Trajectory:
        """M(x(χ))."""
        physical = self.control(chi)
        return integrate(self.model, physical.state, physical.parameters, self.window)

    def simulate(self, chi: Array) -> Simulation:
        """Control, trajectory and predictions of every instrument for one χ."""
        trajectory = self.trajectory(chi)
        predictions = {o.name: o.predict(trajectory) for o in self.observations}
        return Simulation(self.control(chi), trajectory, predictions)

    def cost_terms(self, chi: Array) -> dict[str, Array]:
        """J by origin: background, parameters (error scales included), observation, total."""
        white = self.control.split(chi)
        weight = self.control.split(self.weight())
        half = {
            kind: sum((jnp.sum(weight[kind][n] * w**2) / 2 for n, w in part.items()), jnp.zeros(()))
            for kind, part in white.items()
        }
        departures = self(chi)
        terms = {
            "background": half["background"] + half["fields"],
            "observation": jnp.sum(departures.normalised**2) / 2 + departures.normaliser,
            "model_error": jnp.zeros(()),
            "parameters": half["parameters"] + half["scales"],
        }
        return {**terms, "total": sum(terms.values(), jnp.zeros(()))}


def strong_constraint(
    model: AbstractDynamics,
    window: Window,
    background: Mapping[str, Array | AbstractPrior],
    covariance: AbstractCovariance | Mapping[str, AbstractCovariance] | None = None,
    observations: Observations | Sequence[Observations] = (),
    parameters: Mapping[str, AbstractPrior] | None = None,
) -> Problem:
    """Strong-constraint 4D-Var: the model is exact, the initial state and parameters are not.

    Args:
        model: the forecast model M.
        window: its slots.
        background: for every field of the state either x^b or a prior of its own.
        covariance: background-error covariance B: one for all fields given as x^b, or one a
            field; fields without one keep their background value.
        observations: one or several instruments.
        parameters: prior of each parameter to estimate; the others keep the model's default.

    Raises:
        ModelContractError: the model breaks its contract.
        ValueError: names or shapes that do not belong to the model, nothing to estimate, or no
            observations.
    """
    labels = model.labels()
    instruments = (observations,) if isinstance(observations, Observations) else tuple(observations)
    _check_names("background", background, labels.state, "field", complete=True)
    _check_names("parameters", parameters or {}, model.parameters, "parameter")
    state, fields = _background(background, labels)
    covariances = _covariances(covariance, state, fields, labels)
    fixed = {name: jnp.asarray(value, dtype=float) for name, value in model.parameters.items()}
    scales = {o.scale.name: o.scale.prior for o in instruments if o.scale is not None}
    control = Control(state, covariances, fields, dict(parameters or {}), fixed, scales)
    _check_instruments(instruments, labels, window)
    _check_unique(control, instruments)
    if control.size() == 0:
        raise ValueError(
            "nothing to estimate: give a background covariance, or a prior for a field or parameter"
        )
    check_model(model, control.state, control.fixed)
    return Problem(model, window, control, instruments)


def _check_names(
    what: str, given: Mapping, known: Mapping, kind: str, complete: bool = False
) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}"
            raise ValueError(f"{what}: the model has no {kind} {name!r}; {hint}")
    missing = [name for name in known if name not in given]
    if complete and missing:
        raise ValueError(f"{what}: {kind} {missing[0]!r} of the model is missing; give every one")


def _background(
    background: Mapping[str, Array | AbstractPrior], labels: Labels
) -> tuple[State, dict[str, AbstractPrior]]:
    """Background values of every field (0 where it has a prior), and those priors."""
    state, fields = {}, {}
    for name, given in background.items():
        shape = labels.shape(name)
        if isinstance(given, AbstractPrior):
            fields[name] = given
            state[name] = jnp.zeros(shape)
            continue
        state[name] = jnp.asarray(given, dtype=float)
        if state[name].shape != shape:
            raise ValueError(
                f"background: field {name!r} has shape {state[name].shape}, "
                f"the model's labels say {shape}"
            )
        if not np.all(np.isfinite(state[name])):
            raise ValueError(f"background: field {name!r} has values that are not finite")
    return state, fields


def _covariances(
    covariance: AbstractCovariance | Mapping[str, AbstractCovariance] | None,
    state: State,
    fields: Mapping[str, AbstractPrior],
    labels: Labels,
) -> dict[str, AbstractCovariance]:
    """One covariance for each Gaussian field, fitted to its shape."""
    if covariance is None:
        return {}
    if isinstance(covariance, AbstractCovariance):
        covariance = {name: covariance for name in state if name not in fields}
    _check_names("covariance", covariance, labels.state, "field")
    for name in covariance:
        if name in fields:
            raise ValueError(f"covariance: field {name!r} already has a prior of its own")
    return {name: c.on(state[name].shape) for name, c in covariance.items()}


def _check_instruments(
    instruments: tuple[Observations, ...], labels: Labels, window: Window
) -> None:
    if not instruments:
        raise ValueError("observations: at least one instrument is needed")
    names = [o.name for o in instruments]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"observations: {names.count(name)} instruments are called {name!r}")
    for o in instruments:
        check_fit(o, labels, window)


def _check_unique(control: Control, instruments: tuple[Observations, ...]) -> None:
    """Names of what is estimated and of fields are keys of results: no two may be the same."""
    for name in control.scales:
        if name in control.state or name in control.fixed:
            raise ValueError(
                f"error scale {name!r}: a field or parameter has this name; choose another"
            )
        priors = [o.scale.prior for o in instruments if o.scale and o.scale.name == name]
        if any(not eqx.tree_equal(prior, priors[0]) for prior in priors[1:]):
            raise ValueError(f"error scale {name!r}: instruments that share it differ in its prior")
