"""What calling a code outside JAX shows of it: whether it computes what the engine takes it to."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from assim.couple.code import ADJOINT, OPERATIONS, STEP, TANGENT, Code
from assim.problem.arrays import Params, State
from assim.problem.model import Trial, rk4_step

THREADS, ROUNDS = 4, 25  # calls at once, and how often: what threads share shows by chance only
TIMED = 0.02  # s for which calls are timed
_Given = list[np.ndarray]


def trials(code: Code, x: State, theta: Params, t: float) -> Iterator[Trial]:
    """What calling a code at one state shows.

    Args:
        code: its functions.
        x: the state.
        theta: the parameters.
        t: the time.
    """
    rng = np.random.default_rng(0)
    own = [np.asarray(x[name], float) for name in code.fields]
    own += [np.asarray(theta[name], float) for name in code.parameters]
    there = [op for op in OPERATIONS if code.has(op)]
    several = [
        {op: _given(code, op, _near(rng, own), t, rng) for op in there} for _ in range(THREADS)
    ]
    yield _judged("same again", there, lambda op: _repeats(code, op, several[0][op]), _AGAIN)
    yield _judged("no memory", there, lambda op: _forgets(code, op, several), _MEMORY)
    yield _judged("arguments", there, lambda op: _keeps(code, op, several[0][op]), _ARGUMENTS)
    yield _judged("results", there, lambda op: _writes(code, op, several[0][op]), _RESULTS)
    if code.parallel:
        yield _judged("threads", there, lambda op: _together(code, op, several), _THREADS)
    else:
        yield Trial("threads", None, "not thread_safe: members run one after another")
    yield Trial("time of a call", None, _times(code, several[0]))


_AGAIN = "gives other numbers when called again: it does not depend on its arguments alone"
_MEMORY = (
    "gives other numbers after a call with other arguments: what it keeps is part of the state, "
    "and belongs into its fields"
)
_ARGUMENTS = "changes its arguments, which it must not: take a copy"
_RESULTS = (
    "gives other numbers where its results hold something before: it must write every value, and "
    "add to none"
)
_THREADS = "gives other numbers in several threads at once: it is not thread_safe"


def _judged(name: str, there: Sequence[str], fine: Callable[[str], bool], wrong: str) -> Trial:
    bad = [op for op in there if not fine(op)]
    return Trial(name, not bad, f"{', '.join(bad)} {wrong}" if bad else ", ".join(there))


def _near(rng: np.random.Generator, values: _Given) -> _Given:
    """Values a thousandth away, in their own size."""
    away = (1 + 1e-3 * rng.standard_normal(value.shape) for value in values)
    return [np.asarray(value * by) for value, by in zip(values, away, strict=True)]


def _given(code: Code, op: str, z: _Given, t: float, rng: np.random.Generator) -> _Given:
    fields = len(code.fields)
    more = {STEP: [], TANGENT: z, ADJOINT: z[:fields]}[op]
    directions = [np.asarray(rng.standard_normal(value.shape)) for value in more]
    return [*z, np.asarray(t, float), *directions]


def _same(first: _Given, second: _Given) -> bool:
    """Bit by bit; NaN is NaN."""
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


def _repeats(code: Code, op: str, given: _Given) -> bool:
    code.call(op, given)  # what it may remember is of these arguments now
    return _same(code.call(op, given), code.call(op, given))


def _forgets(code: Code, op: str, several: Sequence[dict[str, _Given]]) -> bool:
    code.call(op, several[0][op])
    first = code.call(op, several[0][op])
    for other in several[1:]:
        for operation in other:
            code.call(operation, other[operation])
    return _same(first, code.call(op, several[0][op]))


def _keeps(code: Code, op: str, given: _Given) -> bool:
    before = [value.copy() for value in given]
    code.call(op, given)
    return _same(before, given)


def _writes(code: Code, op: str, given: _Given) -> bool:
    return _same(code.call(op, given, 0.0), code.call(op, given, 1e30))


def _together(code: Code, op: str, several: Sequence[dict[str, _Given]]) -> bool:
    alone = [code.call(op, own[op]) for own in several]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(ROUNDS):
            both = pool.map(lambda own: code.call(op, own[op]), several)
            if not all(map(_same, alone, both)):
                return False
    return True


def _times(code: Code, given: dict[str, _Given]) -> str:
    each = [f"{op} {_micro(lambda op=op: code.call(op, given[op]))}" for op in given]  # type: ignore[misc]
    road = "by callbacks through Python" if code.number is None else "from Python"
    values = sum(v.size for v in given[STEP][: len(code.fields)])
    return (
        f"{', '.join(each)}, called {road}; a step of RK4 of three terms on as many values takes "
        f"{_micro(_of_jax(values))} in JAX"
    )


def _of_jax(size: int) -> Callable[[], object]:
    """One step of Lorenz-96's kind."""
    tendency = lambda x, theta, t: {"x": (jnp.roll(x["x"], -1) - x["x"]) * x["x"] - x["x"]}  # noqa: E731
    step = jax.jit(lambda x: rk4_step(tendency, {"x": x}, {}, jnp.zeros(()), 0.01)["x"])
    x = jnp.ones(size)
    return lambda: jax.block_until_ready(step(x))


def _micro(call: Callable[[], object]) -> str:
    """Time of one of several calls in a row, the fastest."""
    call()
    best, begin = np.inf, time.perf_counter()
    while time.perf_counter() < begin + TIMED:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return f"{1e6 * best:.3g} µs"
