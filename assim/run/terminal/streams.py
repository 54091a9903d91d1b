"""Standard output and error, of which nothing that goes wrong stops a command."""

import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Forgiving:
    """A text stream in which what cannot be encoded is replaced, and what cannot be taken is lost.

    A pipe that its reader has closed, a full disk, a terminal that is gone or of another encoding:
    each costs lines, and neither the results nor the exit code.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write what can be written."""
        if self.stream is not None:
            with suppress(OSError, ValueError):  # closed, here or at its other end
                self.stream.write(_encodable(text, self.encoding))
        return len(text)

    def flush(self) -> None:
        """Hand on what has been written, if it is taken."""
        if self.stream is not None:
            with suppress(OSError, ValueError):
                self.stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return self.stream is not None and self.stream.isatty()
        except ValueError:
            return False

    @property
    def encoding(self) -> str:
        """That of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"


def _encodable(text: str, encoding: str) -> str:
    return text.encode(encoding, "replace").decode(encoding)


def forgive() -> None:
    """Make standard output and error forgiving, for all that prints in this process."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Forgiving):
            setattr(sys, name, Forgiving(stream))


def close() -> None:
    """Hand on what is left, and let the interpreter find nothing to complain of when it ends."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, Forgiving) or stream.stream is None:
            continue
        try:
            stream.stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, stream.stream.fileno())
