"""Observations of one instrument."""

from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from assim.arguments import check_names
from assim.problem.arrays import Array, Coordinate, Labels, Trajectory
from assim.problem.bias import BiasCorrection
from assim.problem.covariance import AbstractCovariance, Diagonal
from assim.problem.covariance.explicit import of_rows
from assim.problem.covariance.root import Axes, check_invertible
from assim.problem.interpolation import located
from assim.problem.likelihood import AbstractLikelihood, Gaussian
from assim.problem.operator import AbstractOperator, one_each
from assim.problem.points import Located, Points
from assim.problem.prior import AbstractPrior
from assim.problem.window import Window


class ErrorScale(eqx.Module):
    """A factor on an instrument's error that is estimated with everything else.

    The error covariance is scale²·R. Instruments that name the same scale share it.

    Args:
        name: name of the scale in results.
        prior: its prior, on positive values.

    Raises:
        ValueError: a name that no NetCDF file can have.
    """

    name: str = eqx.field(static=True)
    prior: AbstractPrior

    def __check_init__(self) -> None:
        check_names("ErrorScale", "name", self.name)


class Observations(eqx.Module):
    """Values of one instrument with their operator, error covariance and likelihood.

    Args:
        name: name of the observed variable, as in files and reports.
        values: observed values, shape (m,), finite.
        points: where and when they were taken.
        operator: H, from a trajectory to predicted values.
        stdev: standard deviations of independent errors (of the logarithms for `LogNormal`), a
            number or shape (m,); 1 where neither it nor `covariance` is given.
        likelihood: how values scatter about predictions.
        scale: an estimated factor on the errors, or None.
        units: unit of the values.
        covariance: R of the errors where they are correlated, in place of `stdev`; it must have
            an inverse.
        bias: a correction added to what the operator predicts, or None.
        weight: w, power of every value's likelihood p(y_i | x), shape (m,): 0 for a value that does
            not count, which is as if it were not there, 1/k for one that enters k overlapping
            windows; None for 1. Where errors are correlated a value has no likelihood of its own,
            and one weight is the power of that of all values.
    """

    name: str = eqx.field(static=True)
    values: Array
    points: Points
    operator: AbstractOperator
    covariance: AbstractCovariance
    likelihood: AbstractLikelihood
    scale: ErrorScale | None
    bias: BiasCorrection | None
    weight: Array | None
    units: str = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        values: Array | np.ndarray,
        points: Points,
        operator: AbstractOperator,
        stdev: float | Array | np.ndarray | None = None,
        likelihood: AbstractLikelihood | None = None,
        scale: ErrorScale | None = None,
        units: str = "1",
        *,
        covariance: AbstractCovariance | None = None,
        bias: BiasCorrection | None = None,
        weight: Array | np.ndarray | None = None,
    ) -> None:
        """Check the values and fit the error covariance to their number.

        Raises:
            ValueError: a name that no NetCDF file can have, no values, values that are not finite
                or that the likelihood excludes,
                both a standard deviation and a covariance, a covariance that does not fit or
                has no inverse, predictors of the bias or weights that do not fit, or weights that
                differ between values with correlated errors.
        """
        check_names("Observations", "name", name)
        self.name, self.points, self.operator, self.units = name, points, operator, units
        self.values = jnp.asarray(values, dtype=float)
        self.likelihood = Gaussian() if likelihood is None else likelihood
        self.scale, self.bias = scale, bias
        if self.values.ndim != 1 or self.values.size == 0:
            raise ValueError(f"{name}: observed values must be a list, got {self.values.shape}")
        if not np.all(np.isfinite(self.values)):
            raise ValueError(f"{name}: observed values must be finite; drop the missing ones")
        if (problem := self.likelihood.check(self.values)) is not None:
            raise ValueError(f"{name}: {problem}, got {_impossible(self.values, self.likelihood)}")
        if scale is not None and not self.likelihood.uses_covariance:
            kind = type(self.likelihood).__name__
            raise ValueError(f"{name}: {kind} errors have no error scale to estimate; drop it")
        if bias is not None:
            if (problem := bias.check(self.values.size)) is not None:
                raise ValueError(f"{name}: {problem}")
            if not bias.known(self.values.size).all():
                raise ValueError(f"{name}: the predictors of its bias must be finite")
        self.weight = _weights(name, weight, self.values.shape)
        self.covariance = fitted(name, stdev, covariance, self.values.shape, points)
        _check_weights(name, self.weight, self.covariance)

    def place(self, labels: Labels, window: Window) -> Located | None:
        """Where its values lie on a grid and slot edges; None while tracing, or without places."""
        dims, points = self.operator.dims(labels), self.points
        if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((points, window.edges))):
            return None
        if any(dim not in points.coordinates for dim in dims):
            return None
        return located(points, window.edges, {dim: labels.coordinates[dim] for dim in dims})

    def on(self, place: Located | None) -> "Observations":
        """The same, with where its values lie on the grid and slot edges of a problem."""
        if place is None:
            return self
        none = lambda leaf: leaf is None  # noqa: E731
        return eqx.tree_at(lambda o: o.points.located, self, place, is_leaf=none)

    def correction(
        self, trajectory: Trajectory, biases: Mapping[str, Array] | None = None
    ) -> Array:
        """b(β) of the coefficients `biases`, shape (m,); zero where there is no correction."""
        if self.bias is None:
            return jnp.zeros(self.values.shape)
        return self.bias(trajectory, self.points, biases or {})

    def predict(self, trajectory: Trajectory, biases: Mapping[str, Array] | None = None) -> Array:
        """H(trajectory) + b(β), shape (m,)."""
        whose = f"{self.name}: {type(self.operator).__name__}"
        predicted = one_each(self.operator(trajectory, self.points), self.values.shape, whose)
        return predicted if self.bias is None else predicted + self.correction(trajectory, biases)

    def departures(
        self,
        trajectory: Trajectory,
        scales: Mapping[str, Array],
        biases: Mapping[str, Array] | None = None,
    ) -> Array:
        """Normalised departures √w d, shape (m,)."""
        return self.normalised(self.predict(trajectory, biases), scales)

    def normalised(self, predicted: Array, scales: Mapping[str, Array]) -> Array:
        """√w d of what is predicted, shape (m,); 0 for a value that does not count."""
        scale = self.factor(scales)
        if self.weight is None:
            return self._distances(predicted, scale)
        counts = self.weight > 0  # a value that does not count may lie where there is no log
        predicted = jnp.where(counts, predicted, self.values)
        return jnp.where(counts, jnp.sqrt(self.weight) * self._distances(predicted, scale), 0.0)

    def _distances(self, predicted: Array, scale: Array) -> Array:
        d = self.likelihood.departures(self.values, predicted, self.covariance, scale)
        return one_each(d, self.values.shape, f"{self.name}: {type(self.likelihood).__name__}")

    def is_density(self, predicted: Array, scales: Mapping[str, Array]) -> Array:
        """Where what counts has a normalised density p(y | Hx), booleans of shape (m,)."""
        given = (self.values, predicted, self.covariance, self.factor(scales))
        return (self.powers() == 0) | self.likelihood.is_density(*given)

    def factor(self, scales: Mapping[str, Array]) -> Array:
        """The scale of its errors; 1 where none is estimated."""
        return jnp.ones(()) if self.scale is None else scales[self.scale.name]

    def powers(self) -> Array:
        """w of every value, shape (m,)."""
        return jnp.ones(self.values.shape) if self.weight is None else self.weight

    def read_times(self) -> tuple[Array, ...]:
        """The times of every value that H may look at: of its interval, or its own."""
        points = self.points
        return (points.starts, points.ends) if self.operator.reads_intervals() else (points.times,)

    def count(self) -> Array:
        """Σ w: how many values there are, as the likelihood counts them."""
        return jnp.asarray(self.values.size) if self.weight is None else jnp.sum(self.weight)

    def counted(self) -> np.ndarray:
        """Which values count, w > 0, booleans of shape (m,)."""
        return np.asarray(self.powers()) > 0

    def share(self, rows: Array) -> Array:
        """Of Σ w that of these rows, booleans of shape (m,); 0 where there is none."""
        total = self.count()
        return jnp.sum(self.powers() * rows) / jnp.where(total > 0, total, 1.0)

    def counted_once(self) -> Array:
        """Whether every weight is 0 or 1, so that errors are as R says; traceable."""
        w = self.powers()
        return jnp.all((w == 0) | (w == 1))

    def normaliser(self, scales: Mapping[str, Array]) -> Array:
        """c = Σ w log scale + log|R^(1/2)|, the latter by weight; 0 where no scale is estimated."""
        if self.scale is None:
            return jnp.zeros(())
        return self.count() * jnp.log(scales[self.scale.name]) + self._log_sqrt_determinant()

    def log_constant(self) -> Array:
        """log p(y | x)^w + ½ dᵀd + c, which does not depend on the control."""
        constant = self._weighted(
            lambda stdev: self.likelihood.log_constants(self.values, stdev),
            lambda: self.likelihood.log_constant(self.values, self.covariance),
        )
        return constant if self.scale is None else constant + self._log_sqrt_determinant()

    def _log_sqrt_determinant(self) -> Array:
        """log|R^(1/2)| of the values as they count."""
        return self._weighted(jnp.log, self.covariance.log_sqrt_determinant)

    def _weighted(self, each: Callable[[Array], Array], whole: Callable[[], Array]) -> Array:
        """Σ w_i f_i(stdev_i) where errors are independent, w f of all together where not."""
        if self.weight is None:
            return whole()
        stdev = self.covariance.independent_stdev()
        logs = whole()[None] if stdev is None else each(stdev)
        w = self.weight[:1] if stdev is None else self.weight
        return jnp.sum(jnp.where(w > 0, w * logs, 0.0))

    def subset(self, keep: np.ndarray) -> "Observations":
        """Those of the values that `keep`, booleans of shape (m,), chooses.

        Raises:
            ValueError: correlated errors of many values, of which a matrix would be formed.
        """
        weight = None if self.weight is None else np.asarray(self.weight)[keep]
        covariance = of_rows(self.covariance, np.asarray(keep))
        return self._with_rows(lambda column: np.asarray(column)[keep], covariance, weight)

    def padded(self, rows: int) -> "Observations":
        """The same with copies of its first value, of weight 0, up to `rows` values.

        Windows whose numbers of values differ have one shape this way, and share what is compiled.

        Raises:
            ValueError: more values than `rows`, or correlated errors, of which a copy is no
                independent value.
        """
        extra = rows - self.values.size
        if extra < 0:
            raise ValueError(f"{self.name}: {self.values.size} values do not fit {rows} rows")
        stdev = self.covariance.independent_stdev()
        if stdev is None:
            raise ValueError(
                f"{self.name}: only values with independent errors can be padded, got "
                f"{type(self.covariance).__name__}"
            )

        def longer(column: Array | np.ndarray) -> np.ndarray:
            column = np.asarray(column)
            return np.concatenate([column, np.repeat(column[:1], extra, axis=0)])

        weight = np.concatenate([np.asarray(self.powers()), np.zeros(extra)])
        return self._with_rows(longer, Diagonal(jnp.asarray(longer(stdev))), weight)

    def _with_rows(
        self,
        of: Callable[[Array | np.ndarray], np.ndarray],
        covariance: AbstractCovariance,
        weight: np.ndarray | None,
    ) -> "Observations":
        """The same of other rows: a column ↦ its values in these, their R and their weights."""
        bias = self.bias
        if bias is not None:
            bias = bias.replaced({name: of(p) for name, p in bias.columns().items()})
        return Observations(
            self.name,
            of(self.values),
            jax.tree.map(of, self.points),
            self.operator,
            likelihood=self.likelihood,
            scale=self.scale,
            units=self.units,
            covariance=covariance,
            bias=bias,
            weight=weight,
        )


def _impossible(values: Array, likelihood: AbstractLikelihood) -> str:
    """How many values a likelihood cannot have, and the first of them."""
    several = np.asarray(values)
    bad = [v for v in np.unique(several) if likelihood.check(jnp.asarray([v])) is not None]
    places = np.flatnonzero(np.isin(several, bad))
    if not places.size:  # they do not fit together
        return f"{several.size} values"
    first = f"{several[places[0]]:g} (number {places[0]})"
    return f"{places.size} of {several.size} that are not, the first {first}"


def _weights(name: str, given: Array | np.ndarray | None, shape: tuple[int, ...]) -> Array | None:
    if given is None:
        return None
    weight = jnp.asarray(given, dtype=float)
    if weight.shape != shape or not np.all(np.isfinite(weight) & (np.asarray(weight) >= 0)):
        raise ValueError(
            f"{name}: one weight for each of {shape[0]} values is needed, finite and not negative, "
            f"got weights of shape {weight.shape}"
        )
    return weight


def _check_weights(name: str, weight: Array | None, covariance: AbstractCovariance) -> None:
    """Refuse weights of single values whose errors are correlated."""
    if weight is None or covariance.independent() or np.ptp(np.asarray(weight)) == 0:
        return
    raise ValueError(
        f"{name}: errors with a {type(covariance).__name__} covariance are correlated, so that a "
        f"value has no likelihood of its own of which a weight could be the power; got weights "
        f"from {float(jnp.min(weight)):g} to {float(jnp.max(weight)):g}: give all values the same, "
        "or leave out by subset() those that do not count"
    )


def fitted(
    name: str,
    stdev: float | Array | np.ndarray | None,
    covariance: AbstractCovariance | None,
    shape: tuple[int, ...],
    points: Points,
) -> AbstractCovariance:
    """R on the values of one instrument, along their times: a coordinate if they increase.

    Raises:
        ValueError: a stdev and a covariance, or a covariance that does not fit or has no inverse.
    """
    if stdev is not None and covariance is not None:
        raise ValueError(f"{name}: give either stdev or covariance, not both")
    if isinstance(stdev, AbstractCovariance):
        raise ValueError(f"{name}: a covariance is given by covariance=..., not as the stdev")
    if covariance is not None and not isinstance(covariance, AbstractCovariance):
        raise ValueError(
            f"the error covariance of {name} must be one of a field, such as Diagonal or Dense, "
            f"got {type(covariance).__name__}: an instrument has one set of values, not fields"
        )
    given = (
        Diagonal(jnp.asarray(1.0 if stdev is None else stdev)) if covariance is None else covariance
    )
    times = np.asarray(points.times)
    axes: Axes = ()
    if times.shape == shape:
        axes = (Coordinate(times) if np.all(np.diff(times) > 0) else times,)
    try:
        fitted = given.on(shape, axes)
    except ValueError as error:
        raise ValueError(f"the error covariance of {name}: {error}") from error
    check_invertible(fitted, f"the error covariance of {name}")
    return fitted
