"""The compiled piece between XLA and plain C functions, built at first use into the cache."""

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
import threading
import warnings
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path

import jax

from assim.cache import cache_directory
from assim.couple.compilers import compiler

TARGET = "assim_call"
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-O2", "-std=c++17", "-w", "-shared", "-fPIC", "-pthread")


_LOADING = threading.Lock()  # XLA takes one handler of a name


class NoTrampolineError(OSError):
    """Why there is no trampoline, and what to do."""


def library() -> ctypes.CDLL | None:
    """The trampoline, known to XLA; None where there can be none, which a warning says once."""
    with _LOADING:
        return _library()


@cache
def _library() -> ctypes.CDLL | None:
    try:
        loaded = _loaded()
    except NoTrampolineError as error:
        warnings.warn(
            "models outside JAX are called back through Python, about a hundred times slower for "
            f"small states: {error}",
            stacklevel=3,
        )
        return None
    loaded.assim_add.restype = loaded.assim_failures.restype = ctypes.c_int64
    loaded.assim_add.argtypes = [ctypes.c_char_p, *4 * [ctypes.c_void_p], ctypes.c_int]
    loaded.assim_failures.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_int64)]
    loaded.assim_explain.argtypes = [ctypes.c_int64, ctypes.c_char_p]
    loaded.assim_explain.restype = None
    handler = jax.ffi.pycapsule(loaded.assim_call)
    jax.ffi.register_ffi_target(TARGET, handler, platform="cpu")
    return loaded


def _loaded() -> ctypes.CDLL:
    """From the cache, or from a folder that is gone once it is loaded.

    Raises:
        NoTrampolineError: no compiler, one that fails, or a system that does not load what it made.
    """
    found = compiler("CXX", _COMPILERS)
    if found is None:
        named = os.environ.get("CXX")
        raise NoTrampolineError(
            f"there is no C++ compiler ({named or ', '.join(_COMPILERS)}) for what calls them; "
            "install g++ or clang++, or name one in the environment variable CXX"
        )
    folder = cache_directory()
    if folder is not None:
        try:
            return _cached(found, folder)
        except NoTrampolineError:
            raise
        except OSError as error:
            warnings.warn(
                f"the compile cache {folder} cannot be written ({error.strerror}), so that what "
                "calls models outside JAX is compiled in every process; name another in the "
                'environment variable ASSIM_CACHE_DIR, or "off"',
                stacklevel=3,
            )
    with tempfile.TemporaryDirectory(prefix="assim-") as scratch:
        return _opened(_compiled(found, Path(scratch)))


def _cached(found: str, folder: Path) -> ctypes.CDLL:
    """The one for this jaxlib in the cache, compiled where it is not there or cannot be loaded."""
    said = (*_FLAGS, found, platform.machine(), jax.lib.__version__)
    digest = hashlib.sha256(_source() + "\0".join(said).encode()).hexdigest()[:16]
    path = folder / f"trampoline-{digest}.so"
    with suppress(OSError):
        return ctypes.CDLL(str(path))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = _compiled(found, Path(scratch))
        os.replace(made, path)  # whole or not there, whoever else compiles it now
    return _opened(path)


def _source() -> bytes:
    return resources.files("assim.couple").joinpath("trampoline.cpp").read_bytes()


def _compiled(found: str, folder: Path) -> Path:
    """The trampoline, made in a folder by this compiler."""
    text, made = folder / "trampoline.cpp", folder / "trampoline.so"
    text.write_bytes(_source())
    command = [found, *_FLAGS, f"-I{jax.ffi.include_dir()}", str(text), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NoTrampolineError(
            f"the C++ compiler {found} could not build what calls them: {done.stderr.strip()}; "
            "name another in the environment variable CXX"
        )
    return made


def _opened(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NoTrampolineError(
            f"what calls them is compiled, but this system does not load it: {error}; name a "
            "folder from which it does in the environment variable ASSIM_CACHE_DIR"
        ) from error


def add(
    name: str, step: int, tangent: int, adjoint: int, context: int, parallel: bool
) -> int | None:
    """The number of these functions in the trampoline's table; None where there is no trampoline.

    A model that is made again, of the same name and functions, has the number that it had.

    Raises:
        ValueError: the table is full.
    """
    loaded = library()
    if loaded is None:
        return None
    own: int = loaded.assim_add(_utf8(name), step, tangent, adjoint, context, parallel)
    if own < 0:
        raise ValueError("a process has room for a million models outside JAX: make each once")
    return own


def failures(number: int) -> tuple[int, int]:
    """Calls of a model that failed, and the last code above 0."""
    loaded, code = library(), ctypes.c_int64()
    return (0, 0) if loaded is None else (loaded.assim_failures(number, code), code.value)


def explain(number: int, words: str) -> None:
    """Give the words with which a model stops the program."""
    if (loaded := library()) is not None:
        loaded.assim_explain(number, _utf8(words))


def _utf8(words: str) -> bytes:
    return words.encode(errors="replace")
