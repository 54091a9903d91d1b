"""Cycles of a model outside JAX, of a step alone where the scheme asks for no more."""

import dataclasses

import jax
import numpy as np
import pytest

import assim
from tests.cycle.toy import STEP, Linear, in_turn, matrix, twin

WINDOWS, FIRST = 4, np.eye(4)[0]
MINIMISER = assim.minimiser.GaussNewton(n_outer=3, tolerance=1e-12)
PLAN = assim.scheme.Plan(2, 1)


def step(x, theta, t):
    return {"x": matrix() @ x["x"] + theta["drift"] * FIRST}


def tangent(x, theta, t, dx, dtheta):
    return {"x": matrix() @ dx["x"] + dtheta["drift"] * FIRST}


def adjoint(x, theta, t, by):
    return {"x": matrix().T @ by["x"]}, {"drift": by["x"][0]}


SCHEMES = {
    "ETKF": (assim.scheme.ETKF(members=6), assim.scheme.Plan(1, 1), {}),
    "LETKF": (assim.scheme.LETKF(members=6, radius=3.0), assim.scheme.Plan(1, 1), {}),
    "IEnKS": (assim.scheme.IEnKS(members=6), PLAN, {}),
    "FourDVar": (
        assim.scheme.FourDVar(minimiser=MINIMISER),
        PLAN,
        {"tangent": tangent, "adjoint": adjoint},
    ),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_cycle_is_that_of_the_model_in_jax(name):
    scheme, plan, brought = SCHEMES[name]
    theirs = twin(scheme, plan, WINDOWS)
    model = assim.foreign.PythonModel(step, Linear().labels(), STEP, {"drift": 0.0}, **brought)
    problem = dataclasses.replace(theirs.cycle.problem, model=model)
    ours = theirs._replace(cycle=dataclasses.replace(theirs.cycle, problem=problem))
    for mine, its in zip(in_turn(ours, WINDOWS), in_turn(theirs, WINDOWS), strict=True):
        pairs = zip(jax.tree.leaves(mine[1]), jax.tree.leaves(its[1]), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
