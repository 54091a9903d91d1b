"""Every concrete public class of the problem is in the registry, and so meets its laws."""

import importlib
import inspect
import pkgutil

import pytest

import assim.models
import assim.problem
from assim.problem.covariance import AbstractCovariance, AbstractStateCovariance
from assim.problem.likelihood import AbstractLikelihood
from assim.problem.model import AbstractDynamics, AbstractIntegrator
from assim.problem.operator import AbstractOperator
from assim.problem.prior import AbstractPrior
from tests import registry

KINDS = {
    AbstractCovariance: [entry.make for entry in registry.COVARIANCES.values()],
    AbstractStateCovariance: list(registry.STATE_COVARIANCES.values()),
    AbstractPrior: [entry.make for entry in registry.PRIORS.values()],
    AbstractLikelihood: [entry.make for entry in registry.LIKELIHOODS.values()],
    AbstractOperator: list(registry.OPERATORS.values()),
    AbstractIntegrator: list(registry.INTEGRATORS.values()),
    AbstractDynamics: [entry.make for entry in registry.MODELS.values()],
}


def classes(*packages):
    """Public classes defined in the packages."""
    for package in packages:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                here = inspect.isclass(value) and value.__module__ == module.__name__
                if here and not name.startswith("_"):
                    yield value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_complete(kind):
    there = {
        value
        for value in classes(assim.problem, assim.models)
        if issubclass(value, kind) and not inspect.isabstract(value)
    }
    missing = there - {type(make()) for make in KINDS[kind]}
    assert not missing, f"tests/registry.py lacks {sorted(value.__name__ for value in missing)}"
    assert there


def test_every_model_is_exported():
    models = {v.__name__ for v in classes(assim.models) if issubclass(v, AbstractDynamics)}
    assert models <= set(vars(assim.models))
