"""What keeps steps on grids fast on a CPU: walls against fusion, and shifts.

XLA's fusion on the CPU computes a value again in every operation that reads it. Along shifts of
shifts that multiplies: the gradient of a step on a grid takes hundreds of times the arithmetic that
it needs. A function compiled as a program of its own, called and not inlined, is a wall that no
fusion crosses, in the forward run as in its derivatives.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from assim.problem.arrays import Array

LARGE = 32  # values of a state from which a call costs less than what fusion repeats
_Value = TypeVar("_Value")


def is_walled(state: Any) -> bool:
    """Whether a function of this state is worth a wall: on a CPU, from `LARGE` values on."""
    values = sum(leaf.size for leaf in jax.tree.leaves(state))
    return jax.default_backend() == "cpu" and values >= LARGE


def walled(function: Callable[..., _Value], state: Any) -> Callable[..., _Value]:
    """The same function, walled off from XLA's fusion where that pays for states of this size.

    The wall stays in derivatives of every mode and order, under `vmap`, `checkpoint` and `scan`,
    and when sharded. Functions that are jitted inside, such as `jnp.roll`, are walled, too.

    Args:
        function: of arrays and dictionaries of arrays.
        state: fields whose size decides.
    """
    if not is_walled(state):
        return function
    program = jax.jit(lambda *args: function(*args))

    def call(*args: Any) -> _Value:
        with set_xla_metadata(inlineable="false"):
            return program(*args)

    return call


def shift(a: Array, n: int, axis: int = -1) -> Array:
    """Values `n` points before, round the end: entry i along `axis` is a_{i-n}, as `jnp.roll` has.

    Two slices forward, and two in the adjoint, which for `jnp.roll` fills whole arrays with zeros
    and adds them.

    Args:
        a: values, of any shape.
        n: by how many points, of either sign.
        axis: along which axis.

    Raises:
        ValueError: an axis that the array does not have.
    """
    if not -a.ndim <= axis < a.ndim:
        raise ValueError(f"shift: axis {axis} of an array of {a.ndim} dimensions")
    axis %= a.ndim
    n %= max(a.shape[axis], 1)
    return _shift(a, n, axis) if n else a


@partial(jax.jit, static_argnums=(1, 2))
def _shift(a: Array, n: int, axis: int) -> Array:
    return shift_p.bind(a, n=n, axis=axis)


def _two_slices(a: Array, *, n: int, axis: int) -> Array:
    size = a.shape[axis]
    last = jax.lax.slice_in_dim(a, size - n, size, axis=axis)
    return jnp.concatenate([last, jax.lax.slice_in_dim(a, 0, size - n, axis=axis)], axis)


def _transposed(cotangent: Any, a: Any, *, n: int, axis: int) -> list[Any]:
    if type(cotangent) is ad.Zero:
        return [ad.Zero(a.aval)]
    return [shift_p.bind(cotangent, n=a.aval.shape[axis] - n, axis=axis)]


def _batched(args: Any, dims: Any, *, n: int, axis: int) -> tuple[Array, int]:
    (a,), (dim,) = args, dims
    return shift_p.bind(a, n=n, axis=axis + (dim <= axis)), dim


shift_p = Primitive("shift")
shift_p.def_impl(_two_slices)
shift_p.def_abstract_eval(lambda a, *, n, axis: a)
ad.deflinear2(shift_p, _transposed)
batching.primitive_batchers[shift_p] = _batched
mlir.register_lowering(shift_p, mlir.lower_fun(_two_slices, multiple_results=False))
