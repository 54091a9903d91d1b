"""Time-dependent inputs of a model."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import check_settings
from assim.problem.arrays import Array
from assim.problem.model import AbstractDynamics
from assim.problem.window import Window

INTERPOLATIONS = ("linear", "steps")
_SLACK = 1e-9  # of a span: rounding of times
_UNITS = 4  # of rounding of a time itself
_MUCH = 0.01  # of the range of a series: a change that makes an event
_LONG = 3.001  # median steps: over a longer gap a series is not taken for known; weekends are not


class Forcing(eqx.Module):
    """F(t), a time series that drives a model; NaN outside its span.

    Linear: the value at times[i] is values[i]. Steps: it is values[i] from times[i] to
    times[i + 1], as of means over intervals; times has one entry more than values.

    Args:
        times: in the model's time unit since the window's reference, increasing, shape (n,), or
            (n + 1,) for steps.
        values: one value or array a time (an interval), shape (n, ...), finite.
        units: unit of the values.
        interpolation: "linear" or "steps".
        rounding: how far a time may be off, as a file stores it, in the unit of time.
        conversion: factor and offset that brought the values here from the unit of their file.

    Raises:
        ValueError: times that do not increase or fit the values, values that are not finite, or
            no such interpolation.
    """

    times: Array = eqx.field(converter=lambda given: jnp.asarray(given, dtype=float))
    values: Array = eqx.field(converter=lambda given: jnp.asarray(given, dtype=float))
    units: str = eqx.field(default="1", static=True)
    interpolation: str = eqx.field(default="linear", static=True)
    rounding: float = eqx.field(default=0.0, static=True)
    conversion: tuple[float, float] = eqx.field(default=(1.0, 0.0), static=True)

    def __check_init__(self) -> None:
        check_settings(self, interpolation=INTERPOLATIONS)
        number = self.values.shape[0] if self.values.ndim else 0
        expected = number + (self.interpolation == "steps")
        if self.times.shape != (expected,) or expected < 2:
            raise ValueError(
                f"Forcing: {self.interpolation} interpolation of values of shape "
                f"{self.values.shape} needs {max(expected, 2)} times, got shape {self.times.shape}"
            )
        if not isinstance(self.times, jax.core.Tracer):
            _check_times(np.asarray(self.times))
        if not isinstance(self.values, jax.core.Tracer) and not np.all(np.isfinite(self.values)):
            flat = np.asarray(self.values).reshape(number, -1)
            where = int(np.argmax(~np.isfinite(flat).all(axis=1)))
            raise ValueError(
                f"Forcing: values must be finite, the first that is not has index {where}; fill "
                "the gap"
            )

    @staticmethod
    def constant(value: Any, units: str = "1") -> "Forcing":
        """The same value, a number or an array, at all times."""
        ends = jnp.array([-jnp.inf, jnp.inf])
        return Forcing(ends, jnp.asarray(value, dtype=float)[None], units, "steps")

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last time at which it has a value."""
        return float(self.times[0]), float(self.times[-1])

    def __call__(self, t: Array) -> Array:
        """The value at the time `t`, a scalar; the shape is that of one value."""
        slack = _UNITS * jnp.finfo(self.times.dtype).eps * jnp.abs(t)
        slack = jnp.maximum(_SLACK * (self.times[-1] - self.times[0]), slack)
        slack = jnp.maximum(slack, self.rounding)
        inside = (t >= self.times[0] - slack) & (t <= self.times[-1] + slack)
        index = jnp.searchsorted(self.times, t, side="right") - 1
        index = jnp.clip(index, 0, self.times.shape[0] - 2)
        value = self.values[index]
        if self.interpolation == "linear":
            before, after = self.times[index], self.times[index + 1]
            value = value + (t - before) / (after - before) * (self.values[index + 1] - value)
        return jnp.where(inside, value, jnp.nan)


def _check_times(times: np.ndarray) -> None:
    if not np.all(np.diff(times) > 0):  # NaN included
        where = int(np.argmax(~(np.diff(times) > 0)))
        raise ValueError(
            f"Forcing: times must increase, but {where} is {times[where]:g} and {where + 1} is "
            f"{times[where + 1]:g}; sort them and drop repeated ones"
        )


def forcings(model: eqx.Module) -> dict[str, Forcing]:
    """The inputs of a model, by the names of its fields."""
    return {name: value for name, value in vars(model).items() if isinstance(value, Forcing)}


def event_times(model: eqx.Module, edges: Array) -> Array:
    """Times at which a series that drives the model jumps or bends by much, in ascending order.

    A jump is a difference of two steps, a bend what a slope that changes makes in the shorter of
    the intervals beside it; much is a hundredth of the range that the series has between the first
    and the last edge, or, times that interval, a hundredth of its integral there above its minimum.
    Other times of the series are infinite, so that their number is known where values are traced.
    """
    is_forcing = lambda node: isinstance(node, Forcing)  # noqa: E731
    series = [node for node in jax.tree.leaves(model, is_leaf=is_forcing) if is_forcing(node)]
    times = [_events(forcing, edges) for forcing in series if forcing.values.shape[0] > 1]
    return jnp.sort(jnp.concatenate(times)) if times else jnp.zeros(0)


def _events(forcing: Forcing, edges: Array) -> Array:
    values = forcing.values.reshape(forcing.values.shape[0], -1)
    change, inner = jnp.diff(values, axis=0), forcing.times[1:-1]
    lengths = jnp.diff(forcing.times)[:, None]
    shorter = jnp.minimum(lengths[1:], lengths[:-1])
    if forcing.interpolation == "linear":
        change = jnp.diff(change / lengths, axis=0) * shorter
    size, (extent, area) = jnp.abs(change), _extent(forcing, values, edges)
    much = (size > _MUCH * extent) | (size * shorter > _MUCH * area)
    within = (inner > edges[0]) & (inner < edges[-1])
    return jnp.where(within & jnp.any(much & (size > 0), axis=1), inner, jnp.inf)


def _extent(forcing: Forcing, values: Array, edges: Array) -> tuple[Array, Array]:
    """Range between the edges, and the integral there of what is above the smallest value."""
    times = forcing.times
    inside = jnp.minimum(times[1:], edges[-1]) - jnp.maximum(times[:-1], edges[0])
    length = jnp.maximum(inside, 0.0)[:, None]
    steps = forcing.interpolation == "steps"
    low, high = (values, values) if steps else (values[:-1], values[1:])
    least = jnp.min(jnp.where(length > 0, jnp.minimum(low, high), jnp.inf), axis=0)[None]
    most = jnp.max(jnp.where(length > 0, jnp.maximum(low, high), -jnp.inf), axis=0)[None]
    area = jnp.sum(jnp.where(length > 0, ((low + high) / 2 - least) * length, 0.0), axis=0)[None]
    return most - least, area


class Gap(NamedTuple):
    """A stretch of time without values, much longer than the usual step between them."""

    start: float
    end: float
    step: float


def gaps(forcing: Forcing, first: float, last: float) -> list[Gap]:
    """The gaps between `first` and `last` that are interpolated over, linearly."""
    if forcing.interpolation != "linear":
        return []
    times = np.asarray(forcing.times)
    steps = np.diff(times)
    step = float(np.median(steps))
    within = (steps > _LONG * step) & (times[1:] > first) & (times[:-1] < last)
    return [Gap(float(times[i]), float(times[i + 1]), step) for i in np.flatnonzero(within)]


class ShortSeriesError(ValueError):
    """An input of a model that does not span the window.

    Args:
        model: name of its class.
        series: name of the input.
        window: first and last time of the window, in the model's unit since the reference.
        span: those of the series.
        since: unit and reference in words, where time is physical.
    """

    def __init__(
        self,
        model: str,
        series: str,
        window: tuple[float, float],
        span: tuple[float, float],
        since: str = "",
    ) -> None:
        self.series, self.window, self.span = series, window, span
        super().__init__(
            f"{model}: the window runs from {window[0]:g} to {window[1]:g}{since}, but its input "
            f"{series!r} has values from {span[0]:g} to {span[1]:g} only; shorten the window, or "
            "give a longer series"
        )


def check_span(model: AbstractDynamics, window: Window) -> None:
    """Raise ShortSeriesError unless every input of the model has values in the whole window."""
    since = f" {model.labels().time_unit} since {window.reference}" if window.reference else ""
    first, last = float(window.edges[0]), float(window.edges[-1])
    rounding = _UNITS * float(jnp.finfo(window.edges.dtype).eps)
    least = max(_SLACK * (last - first), rounding * max(abs(first), abs(last)))
    for name, forcing in forcings(model).items():
        slack, (start, end) = max(least, forcing.rounding), forcing.span
        if start > first + slack or end < last - slack:
            kind = type(model).__name__
            raise ShortSeriesError(kind, name, (first, last), (start, end), since)
