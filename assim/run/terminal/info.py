"""`assim info`: what is installed, where it runs, and which models can be named."""

import platform
from importlib.metadata import PackageNotFoundError, version

from assim.case.names import names
from assim.run.terminal.runtime import cache_directory
from assim.run.terminal.screen import Screen

_PACKAGES = ("assim", "jax", "jaxlib", "equinox", "diffrax", "numpy", "xarray", "netCDF4")
_EXTRAS = ("matplotlib", "blackjax")


def print_info(screen: Screen) -> int:
    """Print what `assim info` prints; 0."""
    import jax

    rows = [("Python", platform.python_version())]
    rows += [(name, _version(name)) for name in (*_PACKAGES, *_EXTRAS)]
    rows.append(
        ("devices", ", ".join(f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()))
    )
    rows.append(("compile cache", _cache()))
    rows += [(f"{kind}s", ", ".join(names(kind))) for kind in _KINDS]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        screen.say(f"{name:<{width}}  {value}")
    return 0


_KINDS = ("model", "operator", "likelihood", "prior", "minimiser", "integrator", "scheme")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cache() -> str:
    folder = cache_directory()
    if folder is None:
        return "off (ASSIM_CACHE_DIR)"
    files = [path for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files) / 2**20
    return f"{folder} ({len(files)} programs, {size:.1f} MiB)"
