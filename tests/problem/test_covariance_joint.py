"""Covariances between fields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from assim.problem.covariance import (
    Diagonal,
    Diffusion,
    Ensemble,
    GaspariCohn,
    Joint,
    Kronecker,
    Regression,
)
from assim.problem.covariance.gaspari_cohn import gaspari_cohn
from assim.problem.covariance.state import Independent
from tests.registry import SLOPES, STATE_COVARIANCES, VARIABLES
from tests.registry import STATE_LABELS as LABELS

joint, regression = STATE_COVARIANCES["joint"], STATE_COVARIANCES["regression"]
X = LABELS.coordinates["x"]


def correlation():
    factor = jax.vmap(Diffusion(1.0, 1.0, iterations=4).on((4,), (X,)).sqrt)(jnp.eye(4))
    return np.asarray(factor.T @ factor)


def joint_matrix():
    return np.kron(VARIABLES, correlation()), ["u", "a"]


def regression_matrix():
    """Cov(u), Cov(v) = S Cov(u) S + D, … by hand, in blocks u, v, a."""
    u, v, a = 2.25 * correlation(), 0.09 * np.eye(4), np.eye(4) + 0.5
    s = np.diag(SLOPES)
    vu, vv = s @ u, s @ u @ s + v
    au = 2 * u - 0.7 * vu
    av = 2 * vu.T - 0.7 * vv
    aa = 4 * u - 1.4 * (vu + vu.T) + 0.49 * vv + a
    return np.block([[u, vu.T, au.T], [vu, vv, av.T], [au, av, aa]]), ["u", "v", "a"]


def independent_matrix():
    return scipy.linalg.block_diag(2.25 * correlation(), 0.09 * np.eye(4), 4.0), ["v", "a", "c"]


MATRICES = {
    "independent": independent_matrix,
    "joint": joint_matrix,
    "regression": regression_matrix,
}


@pytest.fixture(params=STATE_COVARIANCES)
def case(request):
    return STATE_COVARIANCES[request.param]().on(LABELS), *MATRICES[request.param]()


def white(covariance):
    draw = np.random.default_rng(0).normal
    return {name: jnp.asarray(draw(size=n)) for name, n in covariance.sizes().items()}


def root(covariance, order):
    """L as a matrix, by columns of the blocks one after another."""
    blank = {name: jnp.zeros(n) for name, n in covariance.sizes().items()}
    columns = [
        np.concatenate([jnp.ravel(covariance.sqrt({**blank, name: e})[field]) for field in order])
        for name, n in covariance.sizes().items()
        for e in np.eye(n)
    ]
    return np.stack(columns, axis=1)


def test_it_is_the_matrix_written_by_hand(case):
    covariance, matrix, order = case
    factor = root(covariance, order)
    np.testing.assert_allclose(factor @ factor.T, matrix, rtol=1e-12, atol=1e-13)
    variance = np.concatenate([np.ravel(covariance.variance()[name]) for name in order])
    np.testing.assert_allclose(variance, np.diag(matrix), rtol=1e-12)


def test_inverse_and_determinant(case):
    covariance, matrix, _ = case
    assert not covariance.no_inverse()
    w = white(covariance)
    back = covariance.whiten(covariance.sqrt(w))
    assert back.keys() == w.keys()
    for name in w:
        np.testing.assert_allclose(back[name], w[name], rtol=1e-11, atol=1e-12)
    _, logarithm = np.linalg.slogdet(matrix)
    np.testing.assert_allclose(covariance.log_sqrt_determinant(), logarithm / 2, rtol=1e-11)


def test_transpose(case):
    covariance, _, _ = case
    w = white(covariance)
    v = jax.tree.map(lambda field: field + 1.0, covariance.sqrt(w))
    (back,) = jax.linear_transpose(covariance.sqrt, w)(v)
    one = sum(np.vdot(a, v[name]) for name, a in covariance.sqrt(w).items())
    other = sum(np.vdot(a, back[name]) for name, a in w.items())
    assert abs(one - other) <= 1e-13 * abs(one)


def test_names_of_fields_and_blocks():
    assert joint().on(LABELS).sizes() == {"u+a": 8}
    assert joint().fields() == ("u", "a")
    assert regression().on(LABELS).sizes() == {"u": 4, "v": 4, "a": 4}
    assert regression().fields() == ("u", "v", "a")


def test_the_order_survives_a_compiled_function():
    covariance = regression().on(LABELS)
    w = white(covariance)
    through = jax.jit(lambda c, w: c.sqrt(w))(covariance, w)
    np.testing.assert_allclose(through["a"], covariance.sqrt(w)["a"], rtol=1e-12)


def test_an_ensemble_keeps_what_fields_have_in_common():
    """Members stacked, with a localisation that is none between the fields."""
    stack = np.random.default_rng(2).normal(size=(30, 2, 4))
    stack[:, 1] += stack[:, 0]
    fitted = Joint(["u", "a"], Ensemble(stack, GaspariCohn([0.0, 1.0]))).on(LABELS)
    factor = root(fitted, ["u", "a"])
    x = np.asarray(X.values)
    rho = gaspari_cohn(np.subtract.outer(x, x))
    expected = np.cov(stack.reshape(30, 8).T) * np.kron(np.ones((2, 2)), rho)
    np.testing.assert_allclose(factor @ factor.T, expected, atol=1e-11)


def test_a_part_without_an_inverse_is_told():
    members = np.random.default_rng(1).normal(size=(3, 4))
    assert "square" in Joint(["u"], Kronecker([Diagonal(1.0), Ensemble(members)])).no_inverse()
    assert "square" in Regression({"u": Ensemble(members)}, {}).no_inverse()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Joint(["u", "u"], Diagonal(1.0)), "Joint.*different"),
        (lambda: Joint(["u", "w"], Diagonal(1.0)).on(LABELS), "Joint.*no field 'w'"),
        (lambda: Joint(["u", "c"], Diagonal(1.0)).on(LABELS), "Joint.*dimensions.*Regression"),
        (lambda: Regression({"u": Diagonal(1.0)}, {"u": {"v": 1.0}}), "u cannot depend on v"),
        (lambda: Regression({"u": Diagonal(1.0)}, {}, ["v"]), "order"),
        (lambda: Regression({"w": Diagonal(1.0)}, {}).on(LABELS), "no field 'w'"),
        (lambda: Independent({"w": Diagonal(1.0)}).on(LABELS), "no field 'w'; it has a, c, u, v"),
        (lambda: Joint(["uu"], Diagonal(1.0)).on(LABELS), "no field 'uu'; did you mean 'u'"),
        (
            lambda: Regression({"u": Diagonal(1.0), "c": Diagonal(1.0)}, {"c": {"u": 1.0}}).on(
                LABELS
            ),
            "point by point",
        ),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
