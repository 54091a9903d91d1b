"""Systematic resampling: as often as weights say, evenly where they are equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assim.statistics.resampling import systematic


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_as_often_as_weights_say(array):
    chosen = np.asarray(systematic(array([0.5, 0.0, 0.25, 0.25]), 1000))
    np.testing.assert_array_equal(np.bincount(chosen), [500, 0, 250, 250])


def test_equal_weights_are_thinned_evenly():
    np.testing.assert_array_equal(systematic(np.full(30, 1 / 30), 10), np.arange(1, 30, 3))


def test_weights_need_no_sum():
    weights = np.array([3.0, 1.0, 4.0])
    np.testing.assert_array_equal(systematic(weights, 8), systematic(weights / 8, 8))


def test_expected_numbers_are_exact_over_offsets():
    """Three members of 0.45, 0.35 and 0.2, two drawn: 0.9, 0.7 and 0.4 of them on average."""
    offsets = (np.arange(1000) + 0.5) / 1000
    weights = np.array([0.45, 0.35, 0.2])
    counts = [np.bincount(systematic(weights, 2, u), minlength=3) for u in offsets]
    np.testing.assert_allclose(np.mean(counts, axis=0), [0.9, 0.7, 0.4], atol=1e-12)


def test_traceable():
    weights = jnp.array([0.1, 0.6, 0.3])
    chosen = jax.jit(lambda w, u: systematic(w, 5, u))(weights, 0.2)
    np.testing.assert_array_equal(chosen, systematic(np.asarray(weights), 5, 0.2))
