"""The control: from the whitened vector χ to everything that is estimated."""

import abc
import math
from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from assim.problem.arrays import Array, Params, State
from assim.problem.covariance import AbstractStateCovariance, check_invertible
from assim.problem.model_error import ModelError
from assim.problem.observation import ErrorScale
from assim.problem.prior import AbstractPrior

White = dict[str, dict[str, Array]]

FEW_VALUES = 20  # of a parameter or field, up to which each is looked at by itself


class Physical(NamedTuple):
    """What χ stands for; η and later states have the leading dimension groups."""

    state: State  # initial
    parameters: Params  # of the model, estimated or not
    scales: Params  # factors on errors that are estimated
    biases: Params  # coefficients of the bias corrections
    model_error: State  # η of the fields that have some; empty where `later` is the control
    later: State  # states at the groups' ends, where they are the control


class AbstractParts(eqx.Module):
    """What makes a vector χ of its parts, of every kind and name."""

    @abc.abstractmethod
    def blank(self) -> White:
        """The parts of χ as a tree of zeros."""

    def size(self) -> int:
        """Length of χ."""
        tree = jax.eval_shape(self.blank)
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))

    def split(self, chi: Array) -> White:
        """The parts of χ by kind and name."""
        return ravel_pytree(self.blank())[1](chi)


class Control(AbstractParts):
    """The prior transform x(χ), whose prior is χ ~ N(0, I).

    χ stacks in alphabetical order of kinds, then of names: Gaussian fields x^b + B^(1/2)χ
    ("background"), bias coefficients ("biases"), fields with a prior of their own ("fields"),
    states at the groups' ends ("later"), model errors sQ^(1/2)χ ("model_error"), parameters T(χ)
    and error scales ("scales").
    """

    state: State  # x^b of every field, whatever the value where `fields` has a prior
    covariance: AbstractStateCovariance  # B of the fields that are estimated about x^b
    fields: dict[str, AbstractPrior]  # prior of every field that has one of its own
    parameters: dict[str, AbstractPrior]  # of each estimated parameter
    fixed: Params  # value of every parameter; the estimated ones are overridden
    scales: dict[str, AbstractPrior]  # of each estimated error scale
    biases: dict[str, AbstractPrior]  # of each bias coefficient
    model_error: ModelError | None  # under weak constraint
    later: State  # g of states about which χ is centred where they, not η, are the control
    jumps: int = eqx.field(static=True)  # number of model errors of each field

    def blank(self) -> White:
        """The parts of χ as a tree of zeros."""
        error, number = self.model_error, self.jumps
        eta, later = {}, {}
        if error is not None and self.later:
            sizes = error.joint.sizes().items()
            later = {name: jnp.zeros((number, size)) for name, size in sizes}
        elif error is not None:
            eta = error.blank(number)
        sizes = self.covariance.sizes().items()
        return {
            "background": {name: jnp.zeros(size) for name, size in sizes},
            "biases": {name: jnp.zeros(()) for name in self.biases},
            "fields": {name: jnp.zeros(self.state[name].shape) for name in self.fields},
            "later": later,
            "model_error": eta,
            "parameters": {name: jnp.zeros(self.fixed[name].shape) for name in self.parameters},
            "scales": {name: jnp.zeros(()) for name in self.scales},
        }

    def join(self, white: White) -> Array:
        """χ from its parts."""
        return ravel_pytree(white)[0]

    def __call__(self, chi: Array) -> Physical:
        """x(χ)."""
        white = self.split(chi)
        increment = self.covariance.sqrt(white["background"])
        gaussian = {name: self.state[name] + part for name, part in increment.items()}
        drawn = {
            kind: {name: prior(white[kind][name]) for name, prior in priors.items()}
            for kind, priors in self._priors()
        }
        error, eta, later = self.model_error, {}, {}
        if error is not None and self.later:  # in units of Q^(1/2) about those of the background
            moved = jax.vmap(error.joint.sqrt)(white["later"])
            free = {name: self.later[name] + part for name, part in moved.items()}
            later = error.bounded(free)
        elif error is not None:
            s = self.amplitude(drawn["scales"])
            eta = {name: s * part for name, part in error.sqrt(white["model_error"]).items()}
        return Physical(
            {**self.state, **gaussian, **drawn["fields"]},
            {**self.fixed, **drawn["parameters"]},
            drawn["scales"],
            drawn["biases"],
            eta,
            later,
        )

    @property
    def amplitude_scale(self) -> ErrorScale | None:
        """The estimated factor s on model error; None where it is 1, or there is no model error."""
        return None if self.model_error is None else self.model_error.scale

    @property
    def has_volume(self) -> bool:
        """Whether a scale, of the observations or of the model, is estimated over model errors."""
        return self.model_error is not None and bool(self.scales)

    def amplitude(self, scales: Params) -> Array:
        """The factor s on model error."""
        scale = self.amplitude_scale
        return jnp.ones(()) if scale is None else scales[scale.name]

    def scalars(self, chi: Array) -> dict[str, Array]:
        """Scalars that depend on a single entry of χ, by name; other fields are not formed."""
        white = self.split(chi)
        from_priors = {
            name: prior(white[kind][name]).reshape(())
            for kind, priors in self._priors()
            for name, prior in priors.items()
            if white[kind][name].size == 1
        }
        own = {
            name: (part, white["background"][name]) for name, part in self.covariance.own().items()
        }
        single_points = {
            n: part.sqrt(w) for n, (part, w) in own.items() if w.size == self.state[n].size == 1
        }
        return {
            **from_priors,
            **{n: (self.state[n] + p).reshape(()) for n, p in single_points.items()},
        }

    def whiten(self, state: State, parameters: Params) -> Array:
        """χ of an initial state and parameters; 0, the prior median, where they say nothing."""
        check_invertible(self.covariance, "the control of a given state")
        increment = {name: state[name] - self.state[name] for name in self.covariance.fields()}
        white = self.blank()
        white["background"] = self.covariance.whiten(increment)
        white["fields"] = {n: prior.inverse(state[n]) for n, prior in self.fields.items()}
        for name in parameters:
            white["parameters"][name] = self.parameters[name].inverse(parameters[name])
        return self.join(white)

    def weight(self) -> Array:
        """Diagonal of W: 1, or 0 where χ has no prior of its own."""
        white = jax.tree.map(jnp.ones_like, self.blank())
        white["later"] = jax.tree.map(jnp.zeros_like, white["later"])
        for kind, priors in self._priors():
            white[kind] = {
                name: jnp.full_like(white[kind][name], prior.weight())
                for name, prior in priors.items()
            }
        return self.join(white)

    def proper(self) -> bool:
        """Whether every prior integrates to one."""
        return all(p.weight() == 1 for _, priors in self._priors() for p in priors.values())

    def stdev(self) -> Physical:
        """Prior standard deviations of what is estimated, in physical units.

        Those of η are for an amplitude s of 1; states under weak constraint have none.
        """
        gaussian = {name: jnp.sqrt(v) for name, v in self.covariance.variance().items()}
        white = self.blank()
        spread = {
            kind: {n: jnp.broadcast_to(p.stdev(), white[kind][n].shape) for n, p in priors.items()}
            for kind, priors in self._priors()
        }
        eta = {} if self.model_error is None else self.model_error.stdev(self.jumps)
        state = {**gaussian, **spread["fields"]}
        return Physical(
            state, spread["parameters"], spread["scales"], spread["biases"], eta, later={}
        )

    def apart(self) -> np.ndarray:
        """Entries of χ that are parameters, error scales, biases or of fields of up to 20 values.

        In this order; of a parameter with more values than 20 none.
        """
        first, places = 0, {}
        for kind, part in sorted(self.blank().items()):
            for name, value in sorted(part.items()):
                places[kind, name] = np.arange(first, first + value.size)
                first += value.size
        order = ("parameters", "scales", "biases", "fields", "background")
        few = [
            place
            for wanted in order
            for (kind, _), place in places.items()
            if kind == wanted and place.size <= FEW_VALUES
        ]
        return np.concatenate([np.arange(0), *few])

    def names(self) -> list[str]:
        """A name for each entry of χ: 'alpha', or 'x[3]' for an entry of an array."""
        names = []
        for kind, part in sorted(self.blank().items()):
            label = f"{kind}." if kind in ("later", "model_error") else ""
            for name, value in sorted(part.items()):
                scalar = math.prod(value.shape) == 1
                entries = [""] if scalar else [f"[{i}]" for i in range(value.size)]
                names += [f"{label}{name}{entry}" for entry in entries]
        return names

    def _priors(self) -> list[tuple[str, Mapping[str, AbstractPrior]]]:
        return [
            ("biases", self.biases),
            ("fields", self.fields),
            ("parameters", self.parameters),
            ("scales", self.scales),
        ]
