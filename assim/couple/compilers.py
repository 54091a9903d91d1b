"""Which compilers there are."""

import os
import shutil
from collections.abc import Sequence


def compiler(variable: str, known: Sequence[str]) -> str | None:
    """The path of the compiler that an environment variable names, else of the first known one."""
    named = os.environ.get(variable)
    return next(filter(None, map(shutil.which, (named,) if named else known)), None)
