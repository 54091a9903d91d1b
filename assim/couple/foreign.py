"""What models outside JAX share: a step that is a primitive, and what they say of themselves."""

from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp

from assim.arguments import nearest
from assim.couple import primitives
from assim.couple.code import ADJOINT, TANGENT, AbstractCode, Code
from assim.couple.trials import trials
from assim.problem.arrays import Array, Labels, Params, State
from assim.problem.model import AbstractModel, ModelContractError, Trial

DIFFERENCES = "differences"  # of steps, for a tangent


class AbstractForeignModel(AbstractModel):
    """A model whose step is that of a code outside JAX."""

    code: eqx.AbstractVar[Code]

    def labels(self) -> Labels:
        """Those that it was made with."""
        return self.code.labels

    def step(self, x: State, theta: Params, t: Array) -> State:
        """One step of the code.

        Raises:
            ModelContractError: a field or parameter that is not there, of another shape than
                `labels` says, or not in double precision.
        """
        check_given(self.code, x, theta)
        return primitives.step(self.code, x, theta, jnp.asarray(t, float))

    def derivatives(self, columns: int) -> str:
        """By the code's own tangent and adjoint, as far as it brings them."""
        del columns
        code, own = self.code, ("its own {}", "no {}")
        tangent = "differences of steps" if code.by_differences else own[not code.has(TANGENT)]
        adjoint = own[not code.has(ADJOINT)].format("adjoint")
        return (
            f"through the steps by {tangent.format('tangent')} and {adjoint}; "
            f"{self.second_derivatives()}"
        )

    def second_derivatives(self) -> str:
        """By differences, as no code brings them."""
        return "with the model's second derivatives by differences of its tangents and adjoints"

    def lacks(self) -> tuple[str, ...]:
        """What the code does not bring."""
        code = self.code
        no_tangent = not (code.has(TANGENT) or code.by_differences)
        return ("tangent",) * no_tangent + ("adjoint",) * (not code.has(ADJOINT))

    def code_files(self) -> tuple[Path, ...]:
        """Those of the code."""
        return self.code.files

    def trials(self, x: State, theta: Params, t: float) -> Iterator[Trial]:
        """Its calls repeated, in another order, by several threads, and timed."""
        yield from trials(self.code, x, theta, t)

    def may_end_early(self) -> str:
        """That steps failed, where some did."""
        calls, code = self.code.failures()
        return (
            f"{calls} steps of {self.code.name} failed, the last with code {code}" if calls else ""
        )


def defaults(called: str, labels: Labels, parameters: Params | None) -> Params:
    """The parameters' defaults, as arrays.

    Raises:
        ValueError: a parameter of the labels without one, one of no parameter, or of another shape.
    """
    given = parameters or {}
    for name in labels.parameters:
        if name not in given:
            raise ValueError(
                f"{called}: the labels have a parameter {name!r}, for which `parameters` gives no "
                f"default; give one, as parameters={{{name!r}: ...}}, which an estimate overrides"
            )
    for name in given:
        if name not in labels.parameters:
            near = nearest(name, labels.parameters)
            raise ValueError(f"{called}: the labels have no parameter {name!r}; {near}")
    values = {name: jnp.asarray(given[name], float) for name in labels.parameters}
    for name, value in values.items():
        if value.shape != (shape := labels.shape(name)):
            raise ValueError(
                f"{called}: the default of {name!r} has the shape {value.shape}, and its labels "
                f"say {shape}"
            )
    return values


def check_given(code: AbstractCode, x: State, theta: Params) -> None:
    """Raise ModelContractError unless every field and parameter is there as the labels say."""
    for what, names, given in (("field", code.fields, x), ("parameter", code.parameters, theta)):
        for name in names:
            if name not in given:
                have = ", ".join(given) or "none"
                raise ModelContractError(f"{code.name}: no {what} {name!r} was given, but {have}")
            _check(code, what, name, jnp.asarray(given[name]))


def _check(code: AbstractCode, what: str, name: str, value: Array) -> None:
    """Refuse an array of another shape or type than the code reads from its memory."""
    shape = code.labels.shape(name)
    if value.shape != shape:
        raise ModelContractError(
            f"{code.name}: {what} {name!r} has shape {value.shape}, and its labels say {shape}"
        )
    if value.dtype != jnp.float64:
        raise ModelContractError(
            f"{code.name}: {what} {name!r} is {value.dtype}, and the code computes in double "
            'precision: jax.config.update("jax_enable_x64", True), or runtime.precision = "float64"'
        )
