"""The program as the shell sees it: its exit codes, and streams that stop no command.

Whatever is slow to import is imported inside the functions.
"""

import gc
import os
import sys
import traceback
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TextIO

import click

_INTERRUPTED = 130
_BETWEEN_COLLECTIONS = 50_000  # new objects: tracing makes many that live, and few circles
_DEBUG = click.Option(["--debug"], is_flag=True, help="Show the traceback of an error.")
_NO_PLUGINS = click.Option(
    ["--no-plugins"], is_flag=True, help="Refuse models and other code that do not come with assim."
)


class Command(click.Command):
    """A command; the one place where exceptions become messages and exit codes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.append(_DEBUG)
        if {param.name for param in self.params} & {"case", "cases", "model"}:
            self.params.append(_NO_PLUGINS)

    def invoke(self, context: click.Context) -> Any:
        """Run and exit."""
        debug, alone = context.params.pop("debug"), context.params.pop("no_plugins", False)
        try:
            with _without_plugins() if alone else nullcontext():
                code = int(super().invoke(context))
        except click.ClickException:
            raise
        except SystemExit as end:
            code = _explain(_ended(end), debug)
        except (Exception, KeyboardInterrupt) as error:
            code = _explain(error, debug)
        sys.exit(code)


class Program(click.Group):
    """The command line as a program of its own, when called; tests use its method `main`."""

    command_class = Command

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run and exit.

        An interrupted program leaves at once: XLA may be compiling in another thread, and crashes
        where the interpreter takes its time to end.
        """
        gc.set_threshold(_BETWEEN_COLLECTIONS)
        forgive()
        try:
            return self.main(*arguments, **options)
        except SystemExit as end:
            if end.code != _INTERRUPTED:
                raise
            close()
            os._exit(_INTERRUPTED)
        finally:
            close()


def _without_plugins() -> AbstractContextManager[None]:
    from assim.case.names import built_in_only

    return built_in_only()


def _ended(end: SystemExit) -> Exception:
    from assim.case.failure import CaseError, Fault

    what = f"the model, or another plug-in, ended the program (SystemExit: {end.code})"
    return CaseError([Fault("", f"{what}; let it raise an error that says what is wrong")])


def _explain(error: BaseException, debug: bool) -> int:
    from assim.case.failure import Exit, exit_code, message

    code = exit_code(error)
    if code is Exit.INTERNAL:
        sys.stderr.write("internal error, please report:\n")
    if debug or code is Exit.INTERNAL:
        sys.stderr.write("".join(traceback.format_exception(error)))
    else:
        sys.stderr.write(f"{message(error)}\n")
    return int(code)


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
