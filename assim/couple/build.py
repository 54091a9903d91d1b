"""libassim for programs in C, C++ and Fortran: its sources, compiled into a directory."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from assim.couple.compilers import compiler

SOURCES = ("assim.h", "assim.c", "assim.f90", "descriptor.c")
_C, _FORTRAN = ("cc", "gcc", "clang"), ("gfortran", "flang-new", "ifx")
_PC = """prefix=${{pcfiledir}}/../..
libdir=${{prefix}}/lib
includedir=${{prefix}}/include

Name: {name}
Description: {words}
Version: {version}
Requires: {requires}
Cflags: -I${{includedir}}
Libs: -L${{libdir}} -Wl,-rpath,${{libdir}} -l{name}
"""
_CMAKE = """get_filename_component(_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET assim::assim)
  add_library(assim::assim SHARED IMPORTED)
  set_target_properties(assim::assim PROPERTIES
    IMPORTED_LOCATION "${_prefix}/lib/libassim.so"
    INTERFACE_INCLUDE_DIRECTORIES "${_prefix}/include")
  if(EXISTS "${_prefix}/lib/libassim_fortran.a")
    add_library(assim::fortran STATIC IMPORTED)
    set_target_properties(assim::fortran PROPERTIES
      IMPORTED_LOCATION "${_prefix}/lib/libassim_fortran.a"
      INTERFACE_INCLUDE_DIRECTORIES "${_prefix}/include"
      INTERFACE_LINK_LIBRARIES assim::assim)
  endif()
endif()
"""


class BuildError(OSError):
    """A library that cannot be built here."""


def build(directory: Path, version: str, say: Callable[[str], None]) -> list[Path]:
    """Write the sources into a directory and compile them there.

    Its layout is that of an installation: include/, lib/ with pkgconfig/ and cmake/, and src/. The
    library is of this Python, which is the one that it starts.

    Args:
        directory: where everything goes; it may exist.
        version: of assim.
        say: is told what is left out, and why.

    Returns:
        what a user needs to know of: the header, the libraries and the packages.

    Raises:
        BuildError: no C compiler, a Python without a shared library, or a compiler that fails.
    """
    source, include, lib = (directory / name for name in ("src", "include", "lib"))
    for folder in (source, include, lib / "pkgconfig", lib / "cmake" / "assim"):
        folder.mkdir(parents=True, exist_ok=True)
    held = resources.files("assim.couple").joinpath("sources")
    for name in SOURCES:
        (source / name).write_bytes(held.joinpath(name).read_bytes())
    shutil.copy(source / "assim.h", include)
    paths = [include / "assim.h", _library(source, lib)]
    packages = {"assim": ("Data assimilation inside a program", "")}
    if (fortran := compiler("FC", _FORTRAN)) is None:
        say("No Fortran compiler here (gfortran; FC names another): the Fortran module is left out")
    else:
        paths += _module(fortran, source, include, lib)
        packages["assim_fortran"] = ("The Fortran module of assim", "assim")
    for name, (words, requires) in packages.items():
        given = {"name": name, "words": words, "version": version, "requires": requires}
        paths.append(lib / "pkgconfig" / f"{name}.pc")
        paths[-1].write_text(_PC.format(**given), encoding="utf-8")
    paths.append(lib / "cmake" / "assim" / "assim-config.cmake")
    paths[-1].write_text(_CMAKE, encoding="utf-8")
    return paths


def _library(source: Path, lib: Path) -> Path:
    """libassim.so, linked to the shared library of this Python."""
    c = compiler("CC", _C)
    if c is None:
        raise BuildError("there is no C compiler here: install gcc, or name one in CC")
    folder = Path(str(sysconfig.get_config_var("LIBDIR")))
    shared = folder / str(sysconfig.get_config_var("LDLIBRARY"))
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or not shared.exists():
        raise BuildError(
            f"{sys.executable} has no shared library (expected {shared}), which a program needs to "
            "start it: install it (libpython3-dev), or build Python with --enable-shared"
        )
    made = lib / "libassim.so"
    _run(
        *(c, "-O2", "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-frounding-math"),
        f"-I{sysconfig.get_path('include')}",
        *(f'-DASSIM_PYTHON="{sys.executable}"', f'-DASSIM_LIBPYTHON="{shared}"'),
        *(str(source / "assim.c"), "-o", str(made), str(shared), f"-Wl,-rpath,{folder}"),
        *("-ldl", "-lm"),
    )
    return made


def _module(fortran: str, source: Path, include: Path, lib: Path) -> list[Path]:
    """assim.mod and what it calls."""
    c = compiler("CC", _C)
    assert c is not None
    parts = [source / "module.o", source / "descriptor.o"]
    into = "-J" if "gfortran" in Path(fortran).name else "-module-dir"
    module = (*("-c", str(source / "assim.f90")), into, str(include), "-o", str(parts[0]))
    _run(fortran, "-O2", "-fPIC", *module)
    _run(c, "-O2", "-fPIC", "-c", str(source / "descriptor.c"), "-o", str(parts[1]))
    made = lib / "libassim_fortran.a"
    made.unlink(missing_ok=True)
    _run("ar", "rcs", str(made), *map(str, parts))
    for part in parts:
        part.unlink()
    return [include / "assim.mod", made]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise BuildError(f"{command[0]} failed with code {done.returncode}:\n{said}")
