"""Covariances of several fields at once."""

import abc
import difflib
from collections.abc import Iterable, Mapping
from typing import Self

import equinox as eqx
import jax.numpy as jnp

from assim.problem.arrays import Array, Labels, State
from assim.problem.covariance.root import AbstractCovariance


class AbstractStateCovariance(eqx.Module):
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
    def no_inverse(self) -> str:
        """Why L⁻¹ is not known, in words for a message; empty where it is."""

    @abc.abstractmethod
    def whiten(self, state: State) -> dict[str, Array]:
        """L⁻¹ v: white blocks from the fields; ValueError where `no_inverse` has a reason."""

    @abc.abstractmethod
    def variance(self) -> State:
        """Diagonal of C, by field."""

    @abc.abstractmethod
    def log_sqrt_determinant(self) -> Array:
        """log |L|."""

    def own(self) -> Mapping[str, AbstractCovariance]:
        """Covariance of each field that its own white block alone makes, a block of its name."""
        return {}


class Independent(AbstractStateCovariance):
    """Fields whose errors are independent of one another.

    Args:
        parts: covariance of each field, by name.
    """

    parts: dict[str, AbstractCovariance] = eqx.field(converter=dict)

    def on(self, labels: Labels) -> Self:
        """Each part on its field."""
        check_fields("covariance", self.parts, labels)
        fitted = {}
        for name, part in self.parts.items():
            axes = tuple(labels.coordinates[dim] for dim in labels.state[name].dims)
            fitted[name] = part.on(labels.shape(name), axes)
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


def check_fields(called: str, names: Iterable[str], labels: Labels) -> None:
    """Raise ValueError, naming the nearest, where one is no field of the model."""
    for name in names:
        if name not in labels.state:
            near = difflib.get_close_matches(name, labels.state, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(labels.state)}"
            raise ValueError(f"{called}: the model has no field {name!r}; {hint}")


StateCovariance = AbstractStateCovariance | AbstractCovariance | Mapping[str, AbstractCovariance]


def state_covariance(given: StateCovariance, names: Iterable[str]) -> AbstractStateCovariance:
    """What users give as a covariance: one for each field, one for all alike, or a joint one."""
    if isinstance(given, AbstractStateCovariance):
        return given
    if isinstance(given, AbstractCovariance):
        return Independent({name: given for name in names})
    return Independent(dict(given))
