"""Bias correction of an instrument, whose coefficients are estimated with everything else."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.arguments import check_names
from assim.problem.arrays import Array, Trajectory
from assim.problem.operator import AbstractOperator, one_each
from assim.problem.points import Points
from assim.problem.prior import AbstractPrior


class BiasCorrection(eqx.Module):
    """b(β) = Σ_k β_k p_k, added to what the operator predicts: y ≈ H(x) + b(β).

    The coefficients β are part of the control (variational bias correction: Dee 2005, QJRMS 131,
    3323-3343; Auligné, McNally & Dee 2007, QJRMS 133, 631-642). Instruments that name the same
    coefficient share it. Units: those of the values, divided by the predictor's.

    Args:
        priors: prior of each coefficient, by name.
        predictors: p_k of coefficients whose predictor is not the constant 1: numbers, shape
            (m,), or an operator evaluated on the trajectory.

    Raises:
        ValueError: no coefficient, one whose name no NetCDF file can have, or a predictor of a
            coefficient without a prior.
    """

    priors: dict[str, AbstractPrior]
    predictors: dict[str, Array | AbstractOperator]

    def __init__(
        self,
        priors: Mapping[str, AbstractPrior],
        predictors: Mapping[str, Array | np.ndarray | AbstractOperator] | None = None,
    ) -> None:
        """Keep the predictors in the order of their coefficients' names."""
        given = dict(predictors or {})
        if not priors:
            raise ValueError("BiasCorrection: at least one coefficient with its prior is needed")
        check_names("BiasCorrection", "a coefficient's name", *priors)
        if unknown := sorted(set(given) - set(priors)):
            raise ValueError(
                f"BiasCorrection: the predictor of {unknown[0]!r} has no prior; the coefficients "
                f"are {', '.join(sorted(priors))}"
            )
        self.priors = dict(sorted(priors.items()))
        self.predictors = {
            name: p if isinstance(p, AbstractOperator) else jnp.asarray(p, dtype=float)
            for name, p in sorted(given.items())
        }

    def __call__(
        self, trajectory: Trajectory, points: Points, coefficients: Mapping[str, Array]
    ) -> Array:
        """b(β), shape (m,)."""
        total = jnp.zeros(points.times.shape)
        for name in self.priors:
            predictor = self.predictors.get(name, 1.0)
            if isinstance(predictor, AbstractOperator):
                whose = f"the predictor of the bias {name!r}"
                predictor = one_each(predictor(trajectory, points), points.times.shape, whose)
            total = total + coefficients[name] * predictor
        return total

    def columns(self) -> dict[str, np.ndarray]:
        """The predictors that are numbers, by coefficient."""
        predictors = self.predictors.items()
        return {n: np.asarray(p) for n, p in predictors if not isinstance(p, AbstractOperator)}

    def check(self, number: int) -> str | None:
        """What is wrong with columns of numbers that are not `number` long."""
        for name, column in self.columns().items():
            if column.shape != (number,):
                return f"the predictor of {name!r} has shape {column.shape}, not ({number},)"
        return None

    def known(self, number: int) -> np.ndarray:
        """Which of `number` values have predictors that are finite."""
        return np.all([np.ones(number, bool), *map(np.isfinite, self.columns().values())], axis=0)

    def replaced(self, columns: Mapping[str, np.ndarray]) -> "BiasCorrection":
        """The same correction with other columns of numbers."""
        return BiasCorrection(self.priors, {**self.predictors, **columns})
