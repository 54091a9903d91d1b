"""The strict JAX that every test runs under: double precision, no silent broadcasting of ranks."""

import atexit
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("PJRT_NPROC", "8")  # threads that two devices need, and XLA reads at first
os.environ["ASSIM_CACHE_DIR"] = "off"  # not the user's: see COMPILED
if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes that all use every core wait for one another: a factorisation can take 10 × as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax

COMPILED = "ASSIM_TESTS_COMPILED"  # the folder in which this session's processes keep programs
if COMPILED not in os.environ:
    os.environ[COMPILED] = tempfile.mkdtemp(prefix="assim-tests-")
    atexit.register(shutil.rmtree, os.environ[COMPILED], ignore_errors=True)

gc.set_threshold(50_000)  # as the command line does: tracing makes many objects and few circles
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)  # for tests of devices; all others use the first
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", os.environ[COMPILED])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_configure(config: pytest.Config) -> None:
    """Compile quickly, and without most optimisations in all but the slow tests.

    XLA reads its flags when it first computes; that of its CPU halves the time of compiling.
    """
    jax.config.update("jax_disable_most_optimizations", "not slow" in config.option.markexpr)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of codes outside JAX are those of `make test-coupling`."""
    for item in items:
        if item.path.parent.name in ("couple", "host"):
            item.add_marker("coupling")


@pytest.fixture(autouse=True, scope="module")
def _forget_compiled() -> Iterator[None]:
    """Drop what a module compiled: thousands of programs exhaust the memory maps of a process."""
    yield
    jax.clear_caches()


@pytest.fixture
def conventions(tmp_path: Path) -> Callable[[Path], list[list[str]]]:
    """What a file does that the CF conventions forbid; nothing where all is well."""
    runner = pytest.importorskip("compliance_checker.runner")
    runner.CheckSuite.load_all_available_checkers()

    def broken(file: Path) -> list[list[str]]:
        report = tmp_path / "report.json"
        runner.ComplianceChecker.run_checker(
            str(file),
            ["cf:1.11"],
            0,
            "strict",
            skip_checks=["check_domain_variables"],
            output_filename=str(report),
            output_format="json",
        )
        found = json.loads(report.read_text())["cf:1.11"]["high_priorities"]
        return [check["msgs"] for check in found if check["msgs"]]

    return broken
