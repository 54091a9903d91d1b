"""The toy case of the commands."""

from tests.run.conftest import _on_the_cpu, shared, toy

__all__ = ["_on_the_cpu", "shared", "toy"]
