"""What `assim check` asks of a model that JAX does not see into: each step by itself."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from assim.devices import program
from assim.findings.derivatives import IdentityTest, TaylorTest, adjoint_test, tangent_linear_test
from assim.problem.departure import Problem
from assim.problem.model import Trial

Result = Trial | TaylorTest | IdentityTest


def step_checks(problem: Problem, chi: Any) -> Iterator[Result]:
    """Trials of the model where the window starts, and derivatives of one step.

    Args:
        problem: the question.
        chi: where.
    """
    model, start = problem.model, program(problem.control)(chi)
    x, theta, t = start.state, start.parameters, float(problem.window.edges[0])
    results = list(model.trials(x, theta, t))
    yield from results
    if not results:
        return
    sizes = {"x": x, "theta": {name: theta[name] for name in model.labels().parameters}}
    blank = {kind: {n: jnp.zeros_like(v) for n, v in own.items()} for kind, own in sizes.items()}

    def moved(away: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """The step from where fields and parameters are away by shares of their size."""
        near = {
            kind: {n: v + away[kind][n] * _size(v) for n, v in own.items()}
            for kind, own in sizes.items()
        }
        step = getattr(model, model.written)(near["x"], near["theta"], jnp.asarray(t, float))
        return {n: value / _size(x[n]) for n, value in step.items()}

    if "tangent" not in model.lacks():
        yield tangent_linear_test(moved, blank, magnitude=1.0, name="tangent of a step")
    if not model.lacks():
        yield adjoint_test(moved, blank, name="adjoint of a step")


def _size(value: Any) -> Any:
    """Root mean square, or 1."""
    size = jnp.sqrt(jnp.mean(value**2))
    return jnp.where(size > 0, size, 1.0)
