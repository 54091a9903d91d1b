"""Which methods quantify uncertainty: those asked for, or those that turn out to be needed."""

import time
import zlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax

from assim.analysis.posterior import Asked, Fields, Posterior, of_ensemble, of_laplace, timed
from assim.problem.departure import Problem
from assim.solve.ensemble import AbstractPosterior, Report
from assim.solve.laplace import Laplace, LaplacePosterior, laplace
from assim.solve.mclmc import MCLMC
from assim.solve.method import Trust
from assim.solve.svgd import SVGD

Array = jax.Array
Method = Laplace | AbstractPosterior
Methods = Method | list[Method] | tuple[Method, ...] | Mapping[str, Method] | Literal["auto"] | None
Named = dict[str, Method] | Literal["auto"]

SMALL_RANK = 20  # informed directions up to which SVGD is the cheaper: it needs 30 particles each


class Start(NamedTuple):
    """The Laplace approximation that every method starts from.

    Args:
        fitted: the approximation.
        settings: with which it was found.
        fields: its trajectory and standard deviations.
        seconds: that it took.
    """

    fitted: LaplacePosterior
    settings: Laplace
    fields: Fields
    seconds: float


class Outcome(NamedTuple):
    """What was run, which of it is reported, and why."""

    posteriors: dict[str, Posterior]
    chosen: str
    choice: str


def named(posterior: Methods) -> Named:
    """Methods by name.

    Raises:
        ValueError: two methods of one name, or something that is no method.
    """
    if posterior is None:
        return {}
    if isinstance(posterior, str):
        if posterior != "auto":
            raise ValueError(f'analyse: posterior must be methods or "auto", got {posterior!r}')
        return "auto"
    if isinstance(posterior, Mapping):
        pairs = list(posterior.items())
    else:
        several = list(posterior) if isinstance(posterior, list | tuple) else [posterior]
        pairs = [(_checked(method).name(), method) for method in several]
    found: dict[str, Method] = {}
    for name, method in pairs:
        if name in found:
            raise ValueError(
                f"analyse: two posteriors are called {name!r}; give names of your own, "
                f"posterior={{{name + '_1'!r}: ..., {name + '_2'!r}: ...}}"
            )
        found[name] = _checked(method)
    return found


def _checked(method: object) -> Method:
    if not isinstance(method, Laplace | AbstractPosterior):
        raise ValueError(
            f"analyse: a posterior must be settings such as Laplace() or SVGD(), got {method!r}"
        )
    return method


def base_settings(methods: Named) -> Laplace | None:
    """Settings of the Laplace approximation to start from; None where no posterior is wanted."""
    if not methods:
        return None
    given = [] if isinstance(methods, str) else methods.values()
    return next((method for method in given if isinstance(method, Laplace)), Laplace())


def run_methods(
    methods: Named, asked: Asked, start: Start, keys: tuple[Array, Array], report: Report | None
) -> Outcome:
    """Run methods one after the other.

    Args:
        methods: by name, or "auto".
        asked: the problem and the scalars wanted.
        start: the Laplace approximation.
        keys: of the first Laplace fit, and of all else; each method draws from a stream of its
            own, so that others beside it do not change what it finds.
        report: told of progress.
    """
    if isinstance(methods, str):
        return _automatic(asked, start, keys, report)
    found = {n: _run(n, one, asked, start, keys, report) for n, one in methods.items()}
    chosen = best(found)
    choice = ""
    if len(found) > 1:
        choice = f"{chosen} is reported: the first of those that are {found[chosen].trust}."
    return Outcome(found, chosen, choice)


def best(posteriors: Mapping[str, Posterior]) -> str:
    """The first of those trusted most."""
    most = max(one.trust for one in posteriors.values())
    return next(name for name, one in posteriors.items() if one.trust == most)


def _automatic(
    asked: Asked, start: Start, keys: tuple[Array, Array], report: Report | None
) -> Outcome:
    """Laplace where it is certified; else SVGD where few directions are informed; else MCLMC."""
    found = {"laplace": _run("laplace", start.settings, asked, start, keys, report)}
    said = [f"laplace: {found['laplace'].advice}"]
    if found["laplace"].trust is not Trust.CERTIFIED:
        rank = start.fitted.rank()
        few = rank <= SMALL_RANK
        said.append(
            f"{rank} informed directions: {'SVGD is the cheaper' if few else 'SVGD would need'}"
            + (" here." if few else f" {30 * rank} particles, MCLMC is the cheaper.")
        )
        ladder: list[AbstractPosterior] = [SVGD(), MCLMC()] if few else [MCLMC()]
        for method in ladder:
            name = method.name()
            if report is not None:
                report(said[-1])
            found[name] = _run(name, method, asked, start, keys, report)
            said.append(f"{name}: {found[name].advice}")
            if found[name].trust is Trust.CERTIFIED:
                break
    return Outcome(found, best(found), " ".join(said))


def _run(
    name: str,
    method: Method,
    asked: Asked,
    start: Start,
    keys: tuple[Array, Array],
    report: Report | None,
) -> Posterior:
    key = jax.random.fold_in(keys[1], zlib.crc32(name.encode()))
    begin = time.perf_counter()
    if isinstance(method, Laplace):
        fitted, seconds = _fit(asked.problem, method, start, keys[0])
        found = of_laplace(name, fitted, method, asked, start.fields, key)
        return timed(found, seconds + time.perf_counter() - begin)
    if report is not None:
        report(f"{name}: sampling")
    ensemble = method.sample(asked.problem, start.fitted, key, report)
    return timed(of_ensemble(name, ensemble, asked), time.perf_counter() - begin)


def _fit(
    problem: Problem, settings: Laplace, start: Start, key: Array
) -> tuple[LaplacePosterior, float]:
    """The Laplace posterior of these settings, and the seconds that it has taken already."""
    if settings == start.settings:
        return start.fitted, start.seconds
    return laplace(problem, start.fitted.chi, settings, key), 0.0
