"""Device, precision and compile cache: set by the command line before JAX is imported."""

import logging
import os
import warnings
from pathlib import Path

from assim.case.failure import CaseError, Fault


def cache_directory() -> Path | None:
    """Where compiled programs are kept between runs; None where ASSIM_CACHE_DIR is "off"."""
    chosen = os.environ.get("ASSIM_CACHE_DIR", "")
    if chosen.lower() in {"off", "none", "0"}:
        return None
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "assim" / "xla"


def configure(device: str = "cpu", precision: str = "float64") -> None:
    """Import JAX on this device and with this precision, quietly, with the compile cache on.

    Raises:
        CaseError: a GPU is asked for and JAX finds none.
    """
    if device == "cpu":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("jax").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"jax\..*")
    import jax

    jax.config.update("jax_enable_x64", precision == "float64")
    _cache(jax.config)
    if device == "gpu":
        _require_gpu()


def _require_gpu() -> None:
    import jax

    try:
        jax.devices("gpu")
    except RuntimeError as error:
        what = "JAX finds no GPU here (`assim info` lists the devices); install "
        way = "'assim[cuda12]' or 'assim[cuda13]', or set runtime.device = \"cpu\""
        raise CaseError([Fault("runtime.device", what + way)]) from error


def _cache(config: object) -> None:
    folder = cache_directory()
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a cache that cannot be kept is no reason to stop
        return
    update = getattr(config, "update")  # noqa: B009
    update("jax_compilation_cache_dir", str(folder))
    update("jax_persistent_cache_min_compile_time_secs", 0.0)
    update("jax_persistent_cache_min_entry_size_bytes", -1)
