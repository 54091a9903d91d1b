"""The calls of libassim: one engine a process, whose answers are numbers and words."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from assim.host.arrays import at_address
from assim.host.engine import Engine
from assim.host.errors import HostError, code_of, words_of
from assim.host.ranks import Ranks

AT_START, RESUME, PRINT = 1, 2, 4  # flags of assim_initialise
Answer = tuple[int, str, int, float, float]


class _Only:
    """The engine of the process, where there is one."""

    engine: Engine | None = None
    ranks = Ranks()

    def __call__(self, what: str) -> Engine:
        if self.engine is None:
            raise HostError(f"assim_{what}: assim_initialise comes first")
        return self.engine


_only = _Only()


def call(what: str, *arguments: Any) -> Answer:
    """One call; nothing is raised.

    Args:
        what: the function of assim.h, without its prefix.
        arguments: as it has them, pointers as addresses.

    Returns:
        code, words of an error, action (0 with an error), time of the state in the arrays, and the
        time before which nothing is due.
    """
    code, words = 0, ""
    try:
        _CALLS[what](*arguments)
    except BaseException as error:
        code, words = code_of(error), words_of(error)
    engine = _only.engine
    if engine is None:
        return code, words, 0, float("nan"), float("-inf")
    action = 0 if code else int(engine.action)
    return code, words, action, engine.time, engine.quiet_until


def _parallel(number: int, processes: int, broadcast: int, context: int) -> None:
    if _only.engine is not None:
        raise HostError("assim_parallel: it comes before assim_initialise")
    _only.ranks = Ranks(number, processes, broadcast or None, context)


def _initialise(case: str, out: str | None, flags: int) -> None:
    if _only.engine is not None:
        raise HostError("assim_initialise: an engine is there already; assim_finalise ends it")
    at_start, resume = bool(flags & AT_START), bool(flags & RESUME)
    _only.engine = Engine(
        case, out, at_start=at_start, resume=resume, quiet=not flags & PRINT, ranks=_only.ranks
    )


Extents = Sequence[int]


def _register(
    name: str,
    address: int,
    size: int,
    extents: Extents,
    strides: Extents | None,
    first: Extents | None,
) -> None:
    array = at_address(name, address, size, extents, strides)
    _only("register").register(name, array, first)


def _spread(
    name: str, address: int, size: int, extents: Extents, strides: Extents | None, first: None
) -> None:
    del first
    _only("spread").spread(name, at_address(name, address, size, extents, strides))


def _register_model(step: int, tangent: int, adjoint: int, context: int, thread_safe: int) -> None:
    others = {"tangent": tangent or None, "adjoint": adjoint or None}
    engine = _only("register_model")
    engine.register_model(step, **others, context=context, thread_safe=bool(thread_safe))


def _start(t: float, last: float) -> None:
    del last
    _only("start").start(t)


def _advance(t: float, last: float) -> None:
    """`last` is the time of the last call, of which the library alone may know."""
    engine = _only("advance")
    engine.seen(last)
    engine.advance(t)


def _finalise() -> None:
    _only("finalise").finalise()
    _only.engine = None
    sys.stdout.flush()


_CALLS: dict[str, Callable[..., None]] = {
    "parallel": _parallel,
    "initialise": _initialise,
    "register": _register,
    "register_model": _register_model,
    "start": _start,
    "advance": _advance,
    "spread": _spread,
    "finalise": _finalise,
}
