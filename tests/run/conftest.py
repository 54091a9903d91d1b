"""Runs of one toy case in one process: nothing is kept between sessions."""

import os
from pathlib import Path

import pytest

from tests.run.toy import Toy


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", "cpu"))


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "toy")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A toy whose model file never changes, so that what it compiles is shared."""
    return Toy(tmp_path_factory.mktemp("shared") / "toy").write()
