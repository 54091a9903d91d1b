"""First guesses from which J is minimised."""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def first_guesses(n: int, starts: int, key: Array, first: Array | None = None) -> Array:
    """The prior median, or `first` in its place, and draws from the prior, shape (starts, n).

    ValueError for fewer than one, or a first guess that does not fit or is not finite.
    """
    if starts < 1:
        raise ValueError(f"analyse: starts must be at least 1, got {starts}")
    median = np.zeros(n) if first is None else np.asarray(first, dtype=float)
    if median.shape != (n,):
        raise ValueError(
            f"analyse: first_guess must be a control vector of shape ({n},), got shape "
            f"{median.shape}; `problem.guess` makes one from a state and parameters"
        )
    if not np.all(np.isfinite(median)):
        where = int(np.argmax(~np.isfinite(median)))
        raise ValueError(
            f"analyse: first_guess must be finite, got {median[where]} at entry {where}, which "
            "`problem.control.names()` names: a prior may exclude the value it was made from"
        )
    draws = np.asarray(jax.random.normal(key, (starts - 1, n)))
    return jnp.asarray(np.concatenate([median[None], draws]))
