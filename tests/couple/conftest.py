"""The trampoline is compiled once for all processes of a session."""

import os
from pathlib import Path

import pytest

from assim.couple import trampoline


@pytest.fixture(autouse=True, scope="session")
def _one_trampoline():
    folder, before = Path(os.environ["ASSIM_TESTS_COMPILED"]), trampoline.cache_directory
    trampoline.cache_directory = lambda: before() or folder
    yield
    trampoline.cache_directory = before
