"""The compiled piece between XLA and plain C functions, built at first use into the cache."""

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
import warnings
from functools import cache
from importlib import resources
from pathlib import Path

import jax

from assim.cache import cache_directory
from assim.couple.compilers import compiler

TARGET = "assim_call"
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-O2", "-std=c++17", "-w", "-shared", "-fPIC", "-pthread")


@cache
def library() -> ctypes.CDLL | None:
    """The trampoline, known to XLA; None where none can be built, which a warning says once."""
    try:
        path = _built()
        loaded = ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        warnings.warn(
            f"models outside JAX are called back through Python, about a hundred times slower "
            f"for small states, as no C++ compiler could build what calls them: {said.strip()}; "
            "install g++ or clang++, or name one in the environment variable CXX",
            stacklevel=2,
        )
        return None
    loaded.assim_add.restype = loaded.assim_failures.restype = ctypes.c_int64
    loaded.assim_add.argtypes = [*4 * [ctypes.c_void_p], ctypes.c_int]
    loaded.assim_failures.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_int64)]
    loaded.assim_explain.argtypes = [ctypes.c_int64, ctypes.c_char_p]
    loaded.assim_explain.restype = None
    handler = jax.ffi.pycapsule(loaded.assim_call)
    jax.ffi.register_ffi_target(TARGET, handler, platform="cpu")
    return loaded


def _built() -> Path:
    """The file of the trampoline for this jaxlib, compiled unless it is in the cache."""
    source = resources.files("assim.couple").joinpath("trampoline.cpp").read_bytes()
    found = compiler("CXX", _COMPILERS)
    if found is None:
        named = os.environ.get("CXX")
        raise FileNotFoundError(f"there is none of {named or ', '.join(_COMPILERS)}")
    said = (*_FLAGS, found, platform.machine(), jax.lib.__version__)
    digest = hashlib.sha256(source + "\0".join(said).encode()).hexdigest()[:16]
    folder = cache_directory() or Path(tempfile.mkdtemp(prefix="assim-"))
    path = folder / f"trampoline-{digest}.so"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        text, made = Path(scratch) / "trampoline.cpp", Path(scratch) / path.name
        text.write_bytes(source)
        command = [found, *_FLAGS, f"-I{jax.ffi.include_dir()}", str(text), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        os.replace(made, path)  # whole or not there, whoever else compiles it now
    return path


def add(step: int, tangent: int, adjoint: int, context: int, parallel: bool) -> int | None:
    """The number of these functions in the trampoline's table; None where there is no trampoline.

    Raises:
        ValueError: the table is full.
    """
    loaded = library()
    if loaded is None:
        return None
    own: int = loaded.assim_add(step, tangent, adjoint, context, parallel)
    if own < 0:
        raise ValueError("a process has room for 4096 models outside JAX: make each once")
    return own


def failures(number: int) -> tuple[int, int]:
    """Calls of a model that failed, and the last code that was not 0."""
    loaded, code = library(), ctypes.c_int64()
    return (0, 0) if loaded is None else (loaded.assim_failures(number, code), code.value)


def explain(number: int, words: str) -> None:
    """Give the words with which a model stops the program."""
    if (loaded := library()) is not None:
        loaded.assim_explain(number, words.encode()[:500])
