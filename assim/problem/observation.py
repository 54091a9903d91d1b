"""Observations of one instrument."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.problem.arrays import Array, Trajectory
from assim.problem.covariance import AbstractCovariance, Diagonal
from assim.problem.likelihood import AbstractLikelihood, Gaussian, Poisson
from assim.problem.operator import AbstractOperator, Points
from assim.problem.prior import AbstractPrior


class ErrorScale(eqx.Module):
    """A factor on an instrument's error that is estimated with everything else.

    The error covariance is scale²·R. Instruments that name the same scale share it.

    Args:
        name: name of the scale in results.
        prior: its prior, on positive values.
    """

    name: str = eqx.field(static=True)
    prior: AbstractPrior


class Observations(eqx.Module):
    """Values of one instrument with their operator, error and likelihood.

    Args:
        name: name of the observed variable, as in files and reports.
        values: observed values, shape (m,), finite.
        points: where and when they were taken.
        operator: H, from a trajectory to predicted values.
        error: covariance R of the observation errors (of the logarithms for `LogNormal`);
            a number is a standard deviation.
        likelihood: how values scatter about predictions.
        scale: an estimated factor on the errors, or None.
        units: unit of the values.
    """

    name: str = eqx.field(static=True)
    values: Array
    points: Points
    operator: AbstractOperator
    error: AbstractCovariance
    likelihood: AbstractLikelihood
    scale: ErrorScale | None
    units: str = eqx.field(static=True)

    def __init__(
        self,
        name: str,
        values: Array | np.ndarray,
        points: Points,
        operator: AbstractOperator,
        error: AbstractCovariance | float = 1.0,
        likelihood: AbstractLikelihood | None = None,
        scale: ErrorScale | None = None,
        units: str = "1",
    ) -> None:
        """Check the values and fit the error covariance to their number.

        Raises:
            ValueError: no values, values that are not finite or that the likelihood excludes,
                or an error covariance that does not fit.
        """
        self.name, self.points, self.operator, self.units = name, points, operator, units
        self.values = jnp.asarray(values, dtype=float)
        self.likelihood = Gaussian() if likelihood is None else likelihood
        self.scale = scale
        if self.values.ndim != 1 or self.values.size == 0:
            raise ValueError(f"{name}: observed values must be a list, got {self.values.shape}")
        if not np.all(np.isfinite(self.values)):
            raise ValueError(f"{name}: observed values must be finite; drop the missing ones")
        if (problem := self.likelihood.check(self.values)) is not None:
            raise ValueError(
                f"{name}: {problem}, got {float(jnp.min(self.values)):g} at least once"
            )
        if scale is not None and isinstance(self.likelihood, Poisson):
            raise ValueError(f"{name}: Poisson counts have no error scale to estimate; drop it")
        covariance = (
            error if isinstance(error, AbstractCovariance) else Diagonal(jnp.asarray(error))
        )
        self.error = covariance.on(self.values.shape)

    def predict(self, trajectory: Trajectory) -> Array:
        """H(trajectory), shape (m,)."""
        return self.operator(trajectory, self.points)

    def departures(self, trajectory: Trajectory, scales: dict[str, Array]) -> Array:
        """Normalised departures d, shape (m,)."""
        scale = jnp.ones(()) if self.scale is None else scales[self.scale.name]
        predicted = self.predict(trajectory)
        return self.likelihood.departures(self.values, predicted, self.error, scale)

    def normaliser(self, scales: dict[str, Array]) -> Array:
        """c = log|scale·R^(1/2)| where the scale is estimated, else 0."""
        if self.scale is None:
            return jnp.zeros(())
        logs = self.values.size * jnp.log(scales[self.scale.name])
        return logs + self.error.log_sqrt_determinant()

    def log_constant(self) -> Array:
        """log p(y | x) + ½ dᵀd + c, which does not depend on the control."""
        constant = self.likelihood.log_constant(self.values, self.error)
        return constant if self.scale is None else constant + self.error.log_sqrt_determinant()
