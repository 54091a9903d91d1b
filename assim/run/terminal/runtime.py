"""Device, precision and compile cache, set before JAX is imported; and what `assim info` prints."""

import logging
import math
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from assim.cache import cache_directory
from assim.case.failure import CaseError, Fault
from assim.case.names import kinds, names, words

_PACKAGES = (
    "assim",
    "jax",
    "jaxlib",
    "equinox",
    "diffrax",
    "blackjax",
    "numpy",
    "xarray",
    "netCDF4",
)
_EXTRAS = ("matplotlib",)


_LAUNCHERS = (  # variables with the number of a process, and how many were launched together
    ("JAX_PROCESS_ID", "JAX_NUM_PROCESSES"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)


def launched() -> tuple[int, int]:
    """The number of this process among those that a launcher started together, and how many."""
    for pair in _LAUNCHERS:
        if all(variable in os.environ for variable in pair):
            number, processes = map(_count, pair)
            if number >= processes:
                what = f"must be below {pair[1]} = {processes}, got {number}; the first has 0"
                raise CaseError([Fault(pair[0], what)])
            return number, processes
    return 0, 1


def _count(variable: str) -> int:
    """The whole number that an environment variable holds."""
    text = os.environ[variable]
    if not text.isdecimal():
        what = f"the environment variable must be a whole number from 0, got {text!r}; unset it"
        raise CaseError([Fault(variable, what)])
    return int(text)


def configure(
    device: str = "cpu",
    precision: str = "float64",
    shares: Mapping[str, int] = MappingProxyType({}),
    together: bool = False,
) -> None:
    """Import JAX on this device and with this precision, quietly, with the compile cache on.

    Args:
        device: "cpu", "gpu", or whatever JAX finds.
        precision: of all numbers.
        shares: devices by axis of the mesh, "member" and "space"; on a CPU so many are made.
        together: whether they are those of all processes that were launched with this one.
    """
    if device == "cpu":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("jax").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"jax\..*")
    import jax

    jax.config.update("jax_enable_x64", precision == "float64")
    _cache(jax.config.update)
    if device == "gpu":
        try:
            jax.devices("gpu")
        except RuntimeError as error:
            what = "JAX finds no GPU here (`assim info` lists the devices); pip install "
            way = "'jax[cuda12]' or 'jax[cuda13]', or set runtime.device = \"cpu\""
            raise CaseError([Fault("runtime.device", what + way)]) from error
    if shares:
        _share(device, shares, launched() if together else (0, 1))


def _share(device: str, shares: Mapping[str, int], process: tuple[int, int]) -> None:
    import jax

    from assim.devices import POOL, mesh, threads, threads_for

    (number, processes), devices = process, math.prod(shares.values())
    if devices % processes:
        what = f"{devices} devices cannot be dealt out to the {processes} processes of this run"
        raise CaseError([Fault("runtime.mesh", f"{what}; choose a multiple")])
    if device == "cpu":
        os.environ[POOL] = str(max(threads(), threads_for(devices // processes)))
        with suppress(RuntimeError):  # JAX is in use already, with the devices that it has
            jax.config.update("jax_num_cpu_devices", devices // processes)
    try:
        if processes > 1:
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
            jax.distributed.initialize(num_processes=processes, process_id=number)
        mesh(**shares)
    except (ValueError, RuntimeError) as error:
        raise CaseError([Fault("runtime.mesh", str(error))]) from error


@contextmanager
def following(directory: Path) -> Iterator[Path | None]:
    """Where a process writes that follows another one, or None where it is alone or leads.

    All processes of a run compute the same; those that follow begin with a copy of what is in its
    directory, and what they write is thrown away.
    """
    import jax

    if jax.process_count() == 1:
        yield None
        return
    from jax.experimental.multihost_utils import sync_global_devices

    with tempfile.TemporaryDirectory(prefix="assim-") as scratch:
        own = Path(scratch) / "out" if jax.process_index() else None
        if own is not None and directory.is_dir():
            shutil.copytree(directory, own)
        sync_global_devices("copied")  # before the process that leads writes anything
        yield own


def _cache(update: Callable[[str, Any], None]) -> None:
    folder = cache_directory()
    if folder is None:
        return
    with suppress(OSError):  # a cache that cannot be kept is no reason to stop
        folder.mkdir(parents=True, exist_ok=True)
        update("jax_compilation_cache_dir", str(folder))
        update("jax_persistent_cache_min_compile_time_secs", 0.0)
        update("jax_persistent_cache_min_entry_size_bytes", -1)


def info_lines() -> list[str]:
    """What `assim info` prints."""
    import jax

    rows = [("Python", platform.python_version())]
    rows += [(name, _version(name)) for name in (*_PACKAGES, *_EXTRAS)]
    rows.append(
        ("devices", ", ".join(f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()))
    )
    rows.append(("compile cache", _cache_words()))
    rows += [(f"{kind}s", ", ".join((*names(kind), *words(kind)))) for kind in kinds()]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cache_words() -> str:
    folder = cache_directory()
    if folder is None:
        return "off (ASSIM_CACHE_DIR)"
    files = [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files) / 2**20
    return f"{folder} ({len(files)} programs, {size:.1f} MiB)"
