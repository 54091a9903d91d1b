"""Arrays as XLA's FFT takes them."""

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint


def in_order(values: jax.Array) -> jax.Array:
    """The same values, the last dimension contiguous in memory.

    XLA's FFT refuses any other order, which it may itself choose for a batch of columns, or for a
    matrix of them that is decomposed, back to the FFT of a model or a covariance.
    """
    return with_layout_constraint(jnp.asarray(values), Layout(tuple(range(values.ndim))))
