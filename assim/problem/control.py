"""The control: from the whitened vector χ to initial state, parameters and error scales."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from assim.problem.arrays import Array, Params, State
from assim.problem.covariance import AbstractCovariance
from assim.problem.prior import AbstractPrior

White = dict[str, dict[str, Array]]


class Physical(NamedTuple):
    """What χ stands for: initial state, model parameters, observation-error scales."""

    state: State
    parameters: Params
    scales: Params


class Control(eqx.Module):
    """The prior transform x(χ), whose prior is χ ~ N(0, I).

    χ stacks, each in alphabetical order of names: Gaussian fields x^b + B^(1/2)χ, fields and
    parameters with a prior of their own T(χ), and error scales.

    Args:
        state: the background x^b of every field, whatever the value where `fields` has a prior;
            fields in neither `covariances` nor `fields` keep it.
        covariances: background-error covariance B of each Gaussian field.
        fields: prior of each field that has one of its own.
        parameters: prior of each estimated parameter.
        fixed: every model parameter's default; the estimated ones are overridden.
        scales: prior of each estimated error scale.
    """

    state: State
    covariances: dict[str, AbstractCovariance]
    fields: dict[str, AbstractPrior]
    parameters: dict[str, AbstractPrior]
    fixed: Params
    scales: dict[str, AbstractPrior]

    def blank(self) -> White:
        """The parts of χ as a tree of zeros."""
        return {
            "background": {
                name: jnp.zeros(covariance.size()) for name, covariance in self.covariances.items()
            },
            "fields": {name: jnp.zeros(self.state[name].shape) for name in self.fields},
            "parameters": {name: jnp.zeros(self.fixed[name].shape) for name in self.parameters},
            "scales": {name: jnp.zeros(()) for name in self.scales},
        }

    def size(self) -> int:
        """Length of χ."""
        return sum(value.size for part in self.blank().values() for value in part.values())

    def split(self, chi: Array) -> White:
        """The parts of χ by kind and name."""
        return ravel_pytree(self.blank())[1](chi)

    def join(self, white: White) -> Array:
        """χ from its parts."""
        return ravel_pytree(white)[0]

    def __call__(self, chi: Array) -> Physical:
        """x(χ)."""
        white = self.split(chi)
        gaussian = {name: self._gaussian(name)(w) for name, w in white["background"].items()}
        drawn = {name: self.fields[name](w) for name, w in white["fields"].items()}
        estimated = {name: self.parameters[name](w) for name, w in white["parameters"].items()}
        return Physical(
            {**self.state, **gaussian, **drawn},
            {**self.fixed, **estimated},
            {name: self.scales[name](w) for name, w in white["scales"].items()},
        )

    def scalars(self, chi: Array) -> dict[str, Array]:
        """What is estimated as a single number, by name; the fields are not formed."""
        white = self.split(chi)
        maps: list[tuple[str, Mapping[str, Callable[[Array], Array]]]] = [
            ("fields", self.fields),
            ("parameters", self.parameters),
            ("scales", self.scales),
            ("background", {n: self._gaussian(n) for n in self.covariances}),
        ]
        return {
            name: transform(white[kind][name]).reshape(())
            for kind, transforms in maps
            for name, transform in transforms.items()
            if white[kind][name].size == 1
        }

    def _gaussian(self, name: str) -> Callable[[Array], Array]:
        return lambda w: self.state[name] + self.covariances[name].sqrt(w)

    def weight(self) -> Array:
        """Diagonal of W: 1, or 0 where χ has no prior of its own."""
        white = self.blank()
        for kind, priors in self._priors():
            white[kind] = {
                name: jnp.full_like(white[kind][name], prior.weight())
                for name, prior in priors.items()
            }
        background = {name: jnp.ones_like(w) for name, w in white["background"].items()}
        return self.join({**white, "background": background})

    def stdev(self) -> Physical:
        """Prior standard deviations of what is estimated, in physical units."""
        gaussian = {name: jnp.sqrt(c.variance()) for name, c in self.covariances.items()}
        spread = {
            kind: {name: jnp.broadcast_to(p.stdev(), w[name].shape) for name, p in priors.items()}
            for (kind, priors), w in zip(
                self._priors(), [self.blank()[kind] for kind, _ in self._priors()], strict=True
            )
        }
        return Physical({**gaussian, **spread["fields"]}, spread["parameters"], spread["scales"])

    def names(self) -> list[str]:
        """A name for each entry of χ: 'alpha', or 'x[3]' for an entry of an array."""
        names = []
        for _, part in sorted(self.blank().items()):
            for name, value in sorted(part.items()):
                scalar = math.prod(value.shape) == 1
                names += [name] if scalar else [f"{name}[{i}]" for i in range(value.size)]
        return names

    def _priors(self) -> list[tuple[str, dict[str, AbstractPrior]]]:
        return [
            ("fields", self.fields),
            ("parameters", self.parameters),
            ("scales", self.scales),
        ]
