"""Covariances of several fields at once."""

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from assim.arguments import hint
from assim.problem.arrays import Array, Coordinate, Labels, State
from assim.problem.covariance.root import AbstractCovariance, AbstractRoot


class AbstractStateCovariance(AbstractRoot):
    """Covariance of some fields of a state, C = L Lᵀ, known by the action of L.

    White vectors come in named blocks, one array each, so that a part of χ can be told by name.
    """

    @abc.abstractmethod
    def on(self, labels: Labels) -> Self:
        """This covariance on the fields of a model; ValueError where it does not fit."""

    @abc.abstractmethod
    def fields(self) -> tuple[str, ...]:
        """Names of the fields."""

    @abc.abstractmethod
    def sizes(self) -> dict[str, int]:
        """Length of each white block, by its name."""

    @abc.abstractmethod
    def sqrt(self, white: Mapping[str, Array]) -> State:
        """L w: the fields from white blocks."""

    @abc.abstractmethod
    def whiten(self, state: State) -> dict[str, Array]:
        """L⁻¹ v: white blocks from the fields; ValueError where `no_inverse` has a reason."""

    @abc.abstractmethod
    def variance(self) -> State:
        """Diagonal of C, by field."""

    def own(self) -> Mapping[str, AbstractCovariance]:
        """Covariance of each field that its own white block alone makes, a block of its name."""
        return {}


class Independent(AbstractStateCovariance):
    """Fields whose errors are independent of one another; `parts` has the covariance of each."""

    parts: dict[str, AbstractCovariance] = eqx.field(converter=dict)

    def on(self, labels: Labels) -> Self:
        """Each part on its field."""
        check_fields("covariance", self.parts, labels)
        fitted = {}
        for name, part in self.parts.items():
            fitted[name] = part.on(labels.shape(name), labels.axes(name))
        return type(self)(fitted)

    def fields(self) -> tuple[str, ...]:
        """Those that have a part."""
        return tuple(self.parts)

    def sizes(self) -> dict[str, int]:
        """One block a field, of the same name."""
        return {name: part.size() for name, part in self.parts.items()}

    def sqrt(self, white: Mapping[str, Array]) -> State:
        """Each L_i on its block."""
        return {name: part.sqrt(white[name]) for name, part in self.parts.items()}

    def no_inverse(self) -> str:
        """The first part's reason."""
        return next((why for part in self.parts.values() if (why := part.no_inverse())), "")

    def whiten(self, state: State) -> dict[str, Array]:
        """Each L_i⁻¹ on its field."""
        return {name: part.whiten(state[name]) for name, part in self.parts.items()}

    def variance(self) -> State:
        """Variances of the parts."""
        return {name: part.variance() for name, part in self.parts.items()}

    def log_sqrt_determinant(self) -> Array:
        """Sum over the parts."""
        logs = (part.log_sqrt_determinant() for part in self.parts.values())
        return sum(logs, jnp.zeros(()))

    def own(self) -> Mapping[str, AbstractCovariance]:
        """Every part."""
        return self.parts


class Joint(AbstractStateCovariance):
    """One covariance over fields of the same dimensions, stacked along a new first dimension.

    With `Kronecker([Dense(variables), space], [1, d])` the correlation of two fields is the same
    everywhere, and that of two places the same for all fields.

    Args:
        names: the fields, in the order of the first dimension.
        covariance: of the stack, shape (number of fields, *field shape).
    """

    names: tuple[str, ...] = eqx.field(converter=tuple, static=True)
    covariance: AbstractCovariance

    def __check_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"Joint: names must be different fields, got {self.names}")

    def on(self, labels: Labels) -> Self:
        """The stack on the fields' common grid."""
        check_fields("Joint", self.names, labels)
        first = self.names[0]
        for name in self.names:
            if labels.state[name].dims != labels.state[first].dims:
                raise ValueError(
                    f"Joint: {name} has the dimensions {labels.state[name].dims}, but {first} has "
                    f"{labels.state[first].dims}; use Regression, or covariances of their own"
                )
        variables = Coordinate(np.arange(float(len(self.names))), long_name="variable")
        axes = (variables, *labels.axes(first))
        shape = (len(self.names), *labels.shape(first))
        return type(self)(self.names, self.covariance.on(shape, axes))

    def fields(self) -> tuple[str, ...]:
        """Those stacked."""
        return self.names

    def sizes(self) -> dict[str, int]:
        """One block, named after the fields."""
        return {self._block: self.covariance.size()}

    def sqrt(self, white: Mapping[str, Array]) -> State:
        """L w, taken apart."""
        return self._apart(self.covariance.sqrt(white[self._block]))

    def no_inverse(self) -> str:
        """The covariance's reason."""
        return self.covariance.no_inverse()

    def whiten(self, state: State) -> dict[str, Array]:
        """L⁻¹ of the stack."""
        stack = jnp.stack([state[name] for name in self.names])
        return {self._block: self.covariance.whiten(stack)}

    def variance(self) -> State:
        """The stack's, taken apart."""
        return self._apart(self.covariance.variance())

    def log_sqrt_determinant(self) -> Array:
        """The covariance's."""
        return self.covariance.log_sqrt_determinant()

    @property
    def _block(self) -> str:
        return "+".join(self.names)

    def _apart(self, stack: Array) -> State:
        return {name: stack[i] for i, name in enumerate(self.names)}


class Regression(AbstractStateCovariance):
    """Fields that are partly explained by others: x_i = u_i + Σ_(j<i) K_ij ∘ x_j.

    The unbalanced parts u are independent of one another; K_ij are regression coefficients
    between fields of the same shape, point by point (the balance operator of Derber & Bouttier
    1999, with local coefficients). In stated order, so that it is lower triangular
    and inverted by substitution.

    Args:
        parts: covariance of each unbalanced part, by field, in order: a field may depend on those
            before it.
        coefficients: K by field and the field it depends on: a number or an array of their shape,
            in units of the one per unit of the other.
    """

    parts: dict[str, AbstractCovariance]
    coefficients: dict[str, dict[str, Array]]
    order: tuple[str, ...] = eqx.field(static=True)  # a pytree sorts the keys of a dict

    def __init__(
        self,
        parts: Mapping[str, AbstractCovariance],
        coefficients: Mapping[str, Mapping[str, Any]],
        order: Sequence[str] | None = None,
    ) -> None:
        """Check the order; that of `parts` where not given."""
        self.parts = dict(parts)
        self.order = tuple(parts if order is None else order)
        self.coefficients = {
            name: {predictor: jnp.asarray(k, dtype=float) for predictor, k in row.items()}
            for name, row in coefficients.items()
        }
        if sorted(self.order) != sorted(self.parts):
            raise ValueError(f"Regression: order {self.order} must name the fields of parts")
        for name, row in self.coefficients.items():
            before = self.order[: self.order.index(name)] if name in self.order else ()
            for predictor in row:
                if predictor not in before:
                    raise ValueError(
                        f"Regression: {name} cannot depend on {predictor}, which does not come "
                        f"before it in {self.order}"
                    )

    def on(self, labels: Labels) -> Self:
        """Each part on its field."""
        check_fields("Regression", self.order, labels)
        for name, row in self.coefficients.items():
            for predictor, k in row.items():
                shape = labels.shape(name)
                if labels.shape(predictor) != shape or k.shape not in ((), shape):
                    raise ValueError(
                        f"Regression: {name} of shape {shape} on {predictor} of shape "
                        f"{labels.shape(predictor)}: coefficients of shape {k.shape} do not fit, "
                        f"they act point by point"
                    )
        return eqx.tree_at(lambda c: c.parts, self, Independent(self.parts).on(labels).parts)

    def fields(self) -> tuple[str, ...]:
        """In their order."""
        return self.order

    def sizes(self) -> dict[str, int]:
        """One block for each unbalanced part, named after its field."""
        return {name: self.parts[name].size() for name in self.order}

    def sqrt(self, white: Mapping[str, Array]) -> State:
        """u_i = L_i w_i, and the fields from it."""
        state: State = {}
        for name in self.order:
            state[name] = self.parts[name].sqrt(white[name]) + self._explained(name, state)
        return state

    def no_inverse(self) -> str:
        """The first reason that a part has."""
        return next(filter(None, (part.no_inverse() for part in self.parts.values())), "")

    def whiten(self, state: State) -> dict[str, Array]:
        """L_i⁻¹ u_i, u_i = x_i - Σ K_ij ∘ x_j."""
        return {
            name: self.parts[name].whiten(state[name] - self._explained(name, state))
            for name in self.order
        }

    def variance(self) -> State:
        """diag of x = (I - K)⁻¹ u, point by point."""
        own = {name: self.parts[name].variance() for name in self.order}
        weights: dict[str, dict[str, Array]] = {}  # x_i = Σ_j weights_ij ∘ u_j
        for name in self.order:
            weights[name] = {name: jnp.ones(())}
            for predictor, k in self.coefficients.get(name, {}).items():
                for source, weight in weights[predictor].items():
                    weights[name][source] = weights[name].get(source, 0.0) + k * weight
        return {
            name: sum((a**2 * own[predictor] for predictor, a in row.items()), jnp.zeros(()))
            for name, row in weights.items()
        }

    def log_sqrt_determinant(self) -> Array:
        """Sum over the parts: the regression has determinant 1."""
        logs = (part.log_sqrt_determinant() for part in self.parts.values())
        return sum(logs, jnp.zeros(()))

    def _explained(self, name: str, state: State) -> Array | float:
        """Σ_j K_ij ∘ x_j."""
        return sum((k * state[j] for j, k in self.coefficients.get(name, {}).items()), 0.0)


def check_fields(called: str, names: Iterable[str], labels: Labels) -> None:
    """Raise ValueError, naming the nearest, where one is no field of the model."""
    for name in names:
        if name not in labels.state:
            near = hint(name, labels.state)
            raise ValueError(f"{called}: the model has no field {name!r}; {near}")


StateCovariance = AbstractStateCovariance | AbstractCovariance | Mapping[str, AbstractCovariance]


def state_covariance(given: StateCovariance, names: Iterable[str]) -> AbstractStateCovariance:
    """What users give as a covariance: one for each field, one for all alike, or a joint one."""
    if isinstance(given, AbstractStateCovariance):
        return given
    if isinstance(given, AbstractCovariance):
        return Independent({name: given for name in names})
    return Independent(dict(given))
