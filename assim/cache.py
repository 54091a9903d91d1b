"""Where compiled programs are kept between runs."""

import os
from pathlib import Path


def cache_directory() -> Path | None:
    """Where compiled programs are kept between runs; None where ASSIM_CACHE_DIR is "off"."""
    chosen = os.environ.get("ASSIM_CACHE_DIR", "")
    if chosen.lower() in {"off", "none", "0"}:
        return None
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "assim" / "xla"
