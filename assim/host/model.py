"""The host's own step as the model of the window, in place of what the case's [model] has."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from assim.host.errors import HostError

if TYPE_CHECKING:
    from assim.case.plugins import Plugin
    from assim.couple.code import Code

Procedure = Callable | int  # in Python, or the address of a C function


def offer_functions(
    table: "Plugin", functions: Mapping[str, Procedure | None], **settings: int | bool
) -> None:
    """Give the table of the model its step, and the tangent and adjoint that there are.

    Raises:
        HostError: no function, functions of both kinds, or a model that takes none.
    """
    for name, function in functions.items():
        if not (callable(function) or function or (function is None and name != "step")):
            what = "a function, or the address of one"
            raise HostError(f"register_model: {name} must be {what}, got {function!r}")
    if len({callable(function) for function in functions.values() if function is not None}) > 1:
        raise HostError("register_model: give functions in Python, or addresses, not both")
    if "step" not in table.types():
        raise HostError(
            f"register_model: {table.use} (model.use) takes no step of a host; describe "
            'the model of the program, use = "HostModel"'
        )
    table.offer(**functions, **settings)


def offer_announcing(table: "Plugin", announce: Callable[..., None]) -> None:
    """Have every call of the host's functions announced to the other processes.

    Raises:
        HostError: a model that tells nobody of its calls.
    """
    if "before" not in table.types():
        raise HostError(
            f"start: {table.use} (model.use) does not tell other processes what it calls, as a "
            'parallel program needs; describe the model of the program, use = "HostModel"'
        )
    table.offer(before=announce)


def followed(table: "Plugin") -> "Code":
    """The functions of the host's model, in a process that follows and computes nothing else."""
    from assim.run.terminal.runtime import configure

    configure()  # on the CPU: a device is for the process that analyses
    functions: Code = table.build().code
    return functions
