"""Which methods quantify uncertainty: those asked for, or those that turn out to be needed."""

import importlib.util
import time
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import jax

from assim.analysis.evaluation import evaluate, spread_of
from assim.analysis.posterior import Posterior, PosteriorRequest, of_ensemble, of_laplace
from assim.problem.departure import Problem
from assim.solve.posterior.ensemble import AbstractPosterior, Trust
from assim.solve.posterior.laplace import Laplace, laplace

Several = list[AbstractPosterior] | tuple[AbstractPosterior, ...] | Mapping[str, AbstractPosterior]
Methods = AbstractPosterior | Several | Literal["auto"] | None
Named = dict[str, AbstractPosterior] | Literal["auto"]

SMALL_RANK = 20  # informed directions up to which SVGD is the cheapest
PARTICLES = 30  # for each of them
# from that which assumes least
ASSUMES_LESS = ("nuts", "hmc", "mclmc", "nested", "tempered", "importance", "svgd")


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


def run_methods(methods: Named, asked: PosteriorRequest) -> tuple[dict[str, Posterior], str, str]:
    """Run methods one after the other, each with draws of its own, whatever else is run.

    Returns:
        what was run, which of it is reported, and why; "" where only one was asked for.
    """
    if isinstance(methods, str):
        posteriors, reasons = _automatic(asked)
    else:
        posteriors, reasons = {name: _run(name, m, asked) for name, m in methods.items()}, []
    chosen = best(posteriors)
    if isinstance(methods, str) or len(posteriors) > 1:
        reasons.append(_why(posteriors, chosen))
    return posteriors, chosen, " ".join(reasons)


def best(posteriors: Mapping[str, Posterior]) -> str:
    """Of those trusted most that which assumes least: chains before particles and Gaussians."""
    most = max(posterior.trust for posterior in posteriors.values())
    able = {name: posterior for name, posterior in posteriors.items() if posterior.trust == most}
    order = {kind: place for place, kind in enumerate(ASSUMES_LESS)}
    return min(able, key=lambda name: order.get(able[name].kind, len(order)))


def _why(posteriors: Mapping[str, Posterior], chosen: str) -> str:
    trust = posteriors[chosen].trust
    if trust is Trust.CERTIFIED:
        alike = [name for name, other in posteriors.items() if other.trust is Trust.CERTIFIED]
        others = f", which assumes least of {', '.join(alike)}" if len(alike) > 1 else ""
        return f"{chosen} is reported: it is certified{others}."
    return (
        f"None of the methods is certified; {chosen} is reported as it is {trust} and assumes "
        "least of those: take its error bars with care."
    )


def _automatic(asked: PosteriorRequest) -> tuple[dict[str, Posterior], list[str]]:
    """Laplace where it is certified; else what is cheapest: nested Laplace, SVGD, or chains."""
    posteriors = {"laplace": _run("laplace", asked.settings, asked)}
    if posteriors["laplace"].trust is Trust.CERTIFIED:
        return posteriors, []
    rank = asked.fitted.rank()
    ladder, why = _ladder(rank, asked.problem)
    reason = f"Laplace is not certified. {rank} directions are informed: {why}"
    if asked.report is not None:
        asked.report(reason)
    for method in ladder:
        name = method.name()
        posteriors[name] = _run(name, method, asked)
        if posteriors[name].trust is Trust.CERTIFIED:
            break
    return posteriors, [reason]


def _ladder(rank: int, problem: Problem) -> tuple[list[AbstractPosterior], str]:
    """What to try in turn, the cheapest first, and why."""
    from assim.solve.posterior.nested.nested import Nested  # not needed by Laplace alone

    methods, why = _general(rank, problem.size())
    if not problem.control.has_volume or Nested().refuses(problem):
        return methods, why
    scales = "Scales are estimated over a trajectory with model error, which nested Laplace "
    return [Nested(), *methods], f"{scales}integrates out. Where it is not certified: {why}"


def _general(rank: int, n: int) -> tuple[list[AbstractPosterior], str]:
    """The same of any problem."""
    # slow to import, and not needed by Laplace alone
    from assim.solve.posterior.chains.samplers import MCLMC, NUTS
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


def _run(name: str, method: AbstractPosterior, asked: PosteriorRequest) -> Posterior:
    """The posterior of one method, with the seconds that it took."""
    problem, key = asked.problem, jax.random.fold_in(asked.keys[1], zlib.crc32(name.encode()))
    begin = time.perf_counter()
    if isinstance(method, Laplace):
        fitted, spread = asked.fitted, asked.spread
        if own := method != asked.settings:
            first, chi = asked.keys[0], fitted.chi
            fitted = laplace(problem, chi, method, first)
            at_minimum = evaluate(problem, chi).simulation
            spread = spread_of(problem, fitted.gaussian, at_minimum, first)
        posterior = of_laplace(name, fitted, method, asked, spread, key)
        before = 0.0 if own else asked.seconds
        return replace(posterior, seconds=before + time.perf_counter() - begin)
    if asked.report is not None:
        asked.report(f"{name}: sampling")
    ensemble = method.sample(problem, asked.fitted, key, asked.report)
    posterior = of_ensemble(name, ensemble, asked, method.name())
    return replace(posterior, seconds=time.perf_counter() - begin)
