"""Which methods quantify uncertainty: those asked for, or those that turn out to be needed."""

import importlib.util
import time
import zlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax

from assim.analysis.evaluation import evaluate, spread_of
from assim.analysis.posterior import (
    Fields,
    Posterior,
    PosteriorRequest,
    of_ensemble,
    of_laplace,
    timed,
)
from assim.solve.posterior.ensemble import AbstractPosterior, Report, Trust
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.laplace_posterior import LaplacePosterior

Array = jax.Array
Several = list[AbstractPosterior] | tuple[AbstractPosterior, ...] | Mapping[str, AbstractPosterior]
Methods = AbstractPosterior | Several | Literal["auto"] | None
Named = dict[str, AbstractPosterior] | Literal["auto"]

SMALL_RANK = 20  # informed directions up to which SVGD is the cheapest
PARTICLES = 30  # for each of them
ASSUMES_LESS = ("nuts", "hmc", "mclmc", "tempered", "importance", "svgd")  # than what follows


class LaplaceStart(NamedTuple):
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


class MethodResults(NamedTuple):
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
            raise ValueError(
                f"analyse: posterior must be settings such as Laplace() or SVGD(), a list of them, "
                f'"auto" or None, got {posterior!r}'
            )
        return "auto"
    if isinstance(posterior, list | tuple | Mapping) and not posterior:
        raise ValueError("analyse: posterior is empty; give settings such as Laplace(), or None")
    if isinstance(posterior, Mapping):
        pairs = list(posterior.items())
    else:
        several = list(posterior) if isinstance(posterior, list | tuple) else [posterior]
        pairs = [(_checked(method).name(), method) for method in several]
    by_name: dict[str, AbstractPosterior] = {}
    for name, method in pairs:
        if name in by_name:
            raise ValueError(
                f"analyse: two posteriors are called {name!r}; give names of your own, "
                f"posterior={{{name + '_1'!r}: ..., {name + '_2'!r}: ...}}"
            )
        by_name[name] = _checked(method)
    return by_name


def _checked(method: object) -> AbstractPosterior:
    if not isinstance(method, AbstractPosterior):
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
    methods: Named,
    asked: PosteriorRequest,
    start: LaplaceStart,
    keys: tuple[Array, Array],
    report: Report | None,
) -> MethodResults:
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
    posteriors = {n: _run(n, method, asked, start, keys, report) for n, method in methods.items()}
    chosen = best(posteriors)
    choice = "" if len(posteriors) == 1 else _why(posteriors, chosen)
    return MethodResults(posteriors, chosen, choice)


def best(posteriors: Mapping[str, Posterior]) -> str:
    """Of those trusted most that which assumes least: chains before particles and Gaussians."""
    most = max(posterior.trust for posterior in posteriors.values())
    able = [name for name, posterior in posteriors.items() if posterior.trust == most]
    return min(able, key=lambda name: _assumes(posteriors[name].kind))


def _assumes(kind: str) -> int:
    return ASSUMES_LESS.index(kind) if kind in ASSUMES_LESS else len(ASSUMES_LESS)


def _why(posteriors: Mapping[str, Posterior], chosen: str) -> str:
    trust = posteriors[chosen].trust
    if trust is Trust.CERTIFIED:
        alike = [
            name for name, posterior in posteriors.items() if posterior.trust is Trust.CERTIFIED
        ]
        others = f", which assumes least of {', '.join(alike)}" if len(alike) > 1 else ""
        return f"{chosen} is reported: it is certified{others}."
    return (
        f"None of the methods is certified; {chosen} is reported as it is {trust} and assumes "
        "least of those: take its error bars with care."
    )


def _automatic(
    asked: PosteriorRequest, start: LaplaceStart, keys: tuple[Array, Array], report: Report | None
) -> MethodResults:
    """Laplace where it is certified; else SVGD where few directions are informed; else chains."""
    posteriors = {"laplace": _run("laplace", start.settings, asked, start, keys, report)}
    said = []
    if posteriors["laplace"].trust is not Trust.CERTIFIED:
        rank = start.fitted.rank()
        ladder, why = _ladder(rank, asked.problem.size())
        said.append(f"Laplace is not certified. {rank} directions are informed: {why}")
        if report is not None:
            report(said[-1])
        for method in ladder:
            name = method.name()
            posteriors[name] = _run(name, method, asked, start, keys, report)
            if posteriors[name].trust is Trust.CERTIFIED:
                break
    chosen = best(posteriors)
    return MethodResults(posteriors, chosen, " ".join([*said, _why(posteriors, chosen)]))


def _ladder(rank: int, n: int) -> tuple[list[AbstractPosterior], str]:
    """What to try in turn, the cheapest first, and why."""
    from assim.solve.posterior.chains.samplers import (
        MCLMC,  # slow to import, and not needed by Laplace alone
        NUTS,
    )
    from assim.solve.posterior.svgd.svgd import SVGD

    particles = PARTICLES * max(rank, 1)
    svgd = SVGD(particles=max(100, particles))
    if importlib.util.find_spec("blackjax") is None:
        why = "SVGD, as chains need blackjax, which is not installed (pip install 'assim[mcmc]')."
        return [svgd], why
    last = NUTS()
    if n == 1:
        return [svgd, last], "SVGD, then NUTS if it is not certified."
    if rank <= SMALL_RANK:
        return [svgd, MCLMC(), last], "SVGD is the cheapest; MCLMC and NUTS follow where needed."
    why = f"SVGD would need {particles} particles, MCLMC is cheaper; NUTS follows if needed."
    return [MCLMC(), last], why


def _run(
    name: str,
    method: AbstractPosterior,
    asked: PosteriorRequest,
    start: LaplaceStart,
    keys: tuple[Array, Array],
    report: Report | None,
) -> Posterior:
    key = jax.random.fold_in(keys[1], zlib.crc32(name.encode()))
    begin = time.perf_counter()
    if isinstance(method, Laplace):
        fitted, fields, seconds = _fit(asked, method, start, keys[0])
        posterior = of_laplace(name, fitted, method, asked, fields, key)
        return timed(posterior, seconds + time.perf_counter() - begin)
    if report is not None:
        report(f"{name}: sampling")
    ensemble = method.sample(asked.problem, start.fitted, key, report)
    posterior = of_ensemble(name, ensemble, asked, method.name())
    return timed(posterior, time.perf_counter() - begin)


def _fit(
    asked: PosteriorRequest, settings: Laplace, start: LaplaceStart, key: Array
) -> tuple[LaplacePosterior, Fields, float]:
    """The Laplace posterior of these settings, its fields, and the seconds it took already."""
    if settings == start.settings:
        return start.fitted, start.fields, start.seconds
    problem, chi = asked.problem, start.fitted.chi
    fitted = laplace(problem, chi, settings, key)
    around = spread_of(problem, fitted.gaussian, evaluate(problem, chi).simulation, key)
    return fitted, Fields(around.trajectory, around.model_error), 0.0
