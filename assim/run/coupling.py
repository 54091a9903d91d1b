"""What programs in other languages need to hold the engine, made where they want it."""

from pathlib import Path

from assim.case.failure import Exit
from assim.couple.build import BuildError, build
from assim.files.errors import DataError
from assim.files.netcdf import package_version
from assim.run.terminal.screen import Screen


def build_library(out: Path, screen: Screen) -> Exit:
    """Compile libassim, its header and its Fortran module into a directory."""
    try:
        paths = build(out.resolve(), package_version(), screen.say)
    except BuildError as error:
        raise DataError(str(error)) from error
    screen.written(out.resolve(), paths)
    return Exit.DONE
