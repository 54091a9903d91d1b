"""Scalar functions of the control: of the analysed trajectory, or of a forecast from its end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp

from assim.arguments import check_free, check_names
from assim.problem.arrays import Array, State, Trajectory, TrajectoryFunction
from assim.problem.departure import Problem
from assim.problem.numbers import numbers_of
from assim.problem.window import Window, integrate


@dataclass(frozen=True)
class Derived:
    """A scalar function of the trajectory (its states, times and parameters) to report.

    Args:
        function: Trajectory ↦ a scalar.
        units: its unit.
        long_name: words for people and plots.
    """

    function: TrajectoryFunction
    units: str = "1"
    long_name: str = ""


def check_derived(problem: Problem, names: Iterable[str]) -> None:
    """Raise ValueError where one has the name of a field, parameter, error scale or bias.

    So it does where no NetCDF file can have its name.
    """
    names = list(names)
    check_names("analyse", "a quantity's name", *names)
    control = problem.control
    taken = {*control.state, *control.fixed, *control.scales, *control.biases}
    for name in names:
        if name in taken:
            raise ValueError(
                f"analyse: quantity {name!r}: a field, parameter, error scale or bias has this "
                "name; choose another"
            )
    check_free("analyse", (*taken, *names))


def check_forecast(window: Window, forecast: Window | None) -> None:
    """Raise ValueError unless a forecast goes on from the end of a window, in the same time."""
    if forecast is None:
        return
    end, start = float(window.edges[-1]), float(forecast.edges[0])
    first = float(window.edges[0])
    rounding = 4 * float(jnp.finfo(window.edges.dtype).eps) * max(abs(first), abs(end))
    same = forecast.reference == window.reference
    if not same or abs(start - end) > max(1e-9 * (end - first), rounding):
        raise ValueError(
            f"observation_impact: the forecast must start where the analysed window ends, at "
            f"{end:g} since {window.reference}, got {start:g} since {forecast.reference}; give "
            "Window.regular(..., start=float(window.edges[-1]), reference=window.reference)"
        )


def scalar_units(problem: Problem) -> dict[str, str]:
    """Units of everything estimated that may be a scalar, by name, in the order given.

    A bias has that of the values where its predictor is the constant 1; otherwise, as an error
    scale has, "1".
    """
    control, labels = problem.control, problem.model.labels()
    units = {n: label.units for n, label in {**labels.state, **labels.parameters}.items()}
    for o in problem.observations:
        constant = o.bias is not None and [n for n in o.bias.priors if n not in o.bias.predictors]
        units |= {name: o.units for name in constant or ()}
    names = [*control.parameters, *control.state, *control.scales, *control.biases]
    return {name: units.get(name, "1") for name in names}


def scalar_fields(problem: Problem) -> list[str]:
    """Initial fields of one value that have a background error."""
    control = problem.control
    return [name for name in control.covariance.fields() if control.state[name].size == 1]


class OfInitial(eqx.Module):
    """χ ↦ initial fields of one value, by name."""

    problem: Problem
    fields: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, chi: Array) -> dict[str, Array]:
        """Every field of the initial state of χ."""
        state = self.problem.control(chi).state
        return {name: jnp.reshape(state[name], ()) for name in self.fields}


class OfTrajectory(eqx.Module):
    """χ ↦ functions of its trajectory, scalars by name."""

    problem: Problem
    functions: dict[str, TrajectoryFunction]

    def __call__(self, chi: Array) -> dict[str, Array]:
        """Every function of the trajectory of χ."""
        return numbers_of(self.functions, self.problem.trajectory(chi))


class OfForecast(eqx.Module):
    """χ ↦ e, a measure of the forecast that starts from the end of its trajectory."""

    problem: Problem
    measure: TrajectoryFunction  # Trajectory ↦ e
    forecast: Window | None  # without model error; None to measure the analysed trajectory itself

    def __call__(self, chi: Array) -> Array:
        """e, a scalar."""
        trajectory = self.problem.trajectory(chi)
        if self.forecast is not None:
            start, theta = trajectory.at_end(), trajectory.parameters
            trajectory = integrate(self.problem.model, start, theta, self.forecast)
        return jnp.reshape(self.measure(trajectory), ())


class ForecastError(eqx.Module):
    """e = Σ w (x - x^v)² over fields of the state at the end of a trajectory.

    Args:
        verifying: x^v, the fields that count.
        weights: w of each field, a number or an array of its shape; 1 where not given.
    """

    verifying: State
    weights: State

    def __init__(
        self, verifying: Mapping[str, Array], weights: Mapping[str, Array | float] | None = None
    ) -> None:
        """Keep the fields that count.

        Raises:
            ValueError: a weight of a field that is not verified.
        """
        given = dict(weights or {})
        if unknown := sorted(set(given) - set(verifying)):
            raise ValueError(
                f"ForecastError: weight of {unknown[0]!r}, which is not verified; the fields are "
                f"{', '.join(sorted(verifying))}"
            )
        self.verifying = {n: jnp.asarray(v, dtype=float) for n, v in sorted(verifying.items())}
        self.weights = {n: jnp.asarray(given.get(n, 1.0), dtype=float) for n in self.verifying}

    def __call__(self, trajectory: Trajectory) -> Array:
        """e of the last state."""
        end = trajectory.at_end()
        parts = [
            jnp.sum(self.weights[name] * (end[name] - value) ** 2)
            for name, value in self.verifying.items()
        ]
        return sum(parts, jnp.zeros(()))
