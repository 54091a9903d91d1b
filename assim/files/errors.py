"""What is wrong with data, said so that it can be put right."""

from collections.abc import Iterator
from contextlib import contextmanager


class DataError(ValueError):
    """Data that cannot be read, do not fit the model, or cannot be written.

    The message names the file and the variable, what was expected, what came, and the way out.
    The command line ends with exit code 3.
    """


class NothingToUseError(DataError):
    """Observations that can be read, of which none is to be used."""


def reason(error: Exception) -> str:
    """A library's own words on an error of a file, without the path that it repeats."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Say of which data a ValueError of the block is."""
    try:
        yield
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{what}: {error}") from error


class ReportError(ValueError):
    """A directory that no report can be made from."""
