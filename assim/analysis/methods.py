"""Which methods quantify uncertainty: those asked for, or those that turn out to be needed."""

import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import Literal

import jax
import numpy as np

from assim.analysis.evaluation import evaluate, spread_of
from assim.analysis.failures import (
    FIRST_GUESSES,
    INTERRUPTED,
    OF_METHOD,
    Failures,
    kept,
    of_methods,
    spelt,
)
from assim.analysis.posterior import Posterior, PosteriorRequest, of_ensemble, of_laplace
from assim.analysis.store import kept_ensemble, to_keep
from assim.arguments import check_names
from assim.problem.departure import Problem
from assim.solve.posterior.ensemble import SEVERAL_MODES, AbstractPosterior, Ensemble, Trust
from assim.solve.posterior.laplace import Laplace, laplace
from assim.solve.posterior.laplace_posterior import WAYS_TO_MODES, LaplacePosterior
from assim.solve.posterior.marginal import Quantity

Several = list[AbstractPosterior] | tuple[AbstractPosterior, ...] | Mapping[str, AbstractPosterior]
Methods = AbstractPosterior | Several | Literal["auto"] | None
Named = dict[str, AbstractPosterior] | Literal["auto"]

VERY_FEW, FEW = 8, 20  # controls up to which weights are tried, and tempering where modes count
SMALL_RANK, MANY = 20, 1000  # informed directions up to which SVGD comes first, of more controls
PARTICLES = 30  # for each of them
CAREFUL = "nuts_careful"  # NUTS again, by short steps, to more accuracy: kurtosis is luck there
SUM = 1e-6  # by which weights may miss a sum of one: single precision
MEANS_APART, SPREAD_APART = 0.2, 0.1  # of standard deviations, where two cannot both be right
# from that which assumes least
ASSUMES_LESS = ("nuts", "hmc", "laps", "mclmc", "nested", "tempered", "importance", "svgd")


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
    check_names("analyse", "a posterior's name", *(name for name, _ in pairs))
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
    methods: Named, asked: PosteriorRequest, failures: Failures
) -> tuple[dict[str, Posterior], str, str]:
    """Run methods one after the other, each with draws of its own, whatever else is run.

    A method that raises is left out, and why stands in `failures`. One that is interrupted is the
    last, and those before it are kept.

    Returns:
        what was run, which of it is reported, and why; "" where only one was asked for.
    """
    posteriors: dict[str, Posterior] = {}
    reasons: list[str] = []
    with suppress(KeyboardInterrupt):
        if isinstance(methods, str):
            reasons = _automatic(asked, posteriors, failures)
        else:
            for name, method in methods.items():
                with kept(failures, OF_METHOD + name):
                    posteriors[name] = _run(name, method, asked)
    if not posteriors:
        return {}, "", ""
    reasons += _disagreeing(posteriors)
    chosen = best(posteriors)
    reasons += [f"{name} has failed and is left out." for name in of_methods(failures)]
    if isinstance(methods, str) or reasons or len(posteriors) > 1:
        reasons.append(_why(posteriors, chosen))
    return posteriors, chosen, " ".join(reasons)


def _disagreeing(posteriors: dict[str, Posterior]) -> list[str]:
    """Certified methods whose scalars differ by more than two right ones can, made doubtful."""
    certified = [name for name, p in posteriors.items() if p.trust is Trust.CERTIFIED]
    reasons, doubted = [], set()
    for first, second in combinations(certified, 2):
        scalars, others = posteriors[first].quantities, posteriors[second].quantities
        apart = [name for name in scalars if name in others and _apart(scalars[name], others[name])]
        if apart:
            doubted |= {first, second}
            reasons.append(
                f"{first} and {second} are certified but differ in {', '.join(apart)}: one of them "
                "at least is wrong, and both are doubtful."
            )
    for name in doubted:
        posteriors[name] = posteriors[name].doubted("Another certified method differs.")
    return reasons


def _apart(scalar: Quantity, other: Quantity) -> bool:
    """Whether two estimates are further apart than two right ones."""
    deviations = (scalar.stddev, other.stddev)
    if not np.isfinite(deviations).all():
        return False
    spread = max(deviations) - min(deviations) > SPREAD_APART * max(deviations)
    return bool(spread or abs(scalar.mean - other.mean) > MEANS_APART * min(deviations))


def none_started(methods: Named, failures: Failures) -> None:
    """Note that no method could run, where what all of them start from has failed."""
    stages = ["posterior", "spread", "prior"]
    if failures.get(FIRST_GUESSES) == INTERRUPTED:  # a mere error leaves a minimum to go on from
        stages = [FIRST_GUESSES]
    stage = next((stage for stage in stages if stage in failures), None)
    if stage is None:
        return
    why = f"{spelt(stage)}: {failures[stage]}"
    for name in ("laplace",) if isinstance(methods, str) else methods:
        failures[OF_METHOD + name] = f"what it starts from failed ({why})"


def best(posteriors: Mapping[str, Posterior]) -> str:
    """Of those trusted most that which assumes least: chains before particles and Gaussians.

    Chains that explored different regions come last.
    """
    most = max(posterior.trust for posterior in posteriors.values())
    able = {name: posterior for name, posterior in posteriors.items() if posterior.trust == most}
    order = {kind: place for place, kind in enumerate(ASSUMES_LESS)}

    def place(name: str) -> tuple[bool, int]:
        return _several_regions(able[name]), order.get(able[name].kind, len(order))

    return min(able, key=place)


def _why(posteriors: Mapping[str, Posterior], chosen: str) -> str:
    trust = posteriors[chosen].trust
    if trust is Trust.CERTIFIED:
        alike = [name for name, other in posteriors.items() if other.trust is Trust.CERTIFIED]
        others = f", which assumes least of {', '.join(alike)}" if len(alike) > 1 else ""
        return f"{chosen} is reported: it is certified as that of the problem as stated{others}."
    return (
        f"None of the methods is certified; {chosen} is reported as it is {trust} and assumes "
        "least of those: take its error bars with care."
    )


def _automatic(
    asked: PosteriorRequest, posteriors: dict[str, Posterior], failures: Failures
) -> list[str]:
    """Laplace where it is certified; else what is cheapest: nested Laplace, or chains."""

    def certified(name: str, method: AbstractPosterior) -> bool:
        with kept(failures, OF_METHOD + name):
            posteriors[name] = _run(name, method, asked)
        return name in posteriors and posteriors[name].trust is Trust.CERTIFIED

    if certified("laplace", asked.settings):
        return []
    rank, several = asked.fitted.rank(), asked.fitted.several()
    ladder, why = _ladder(rank, asked.problem, several)
    reason = f"Laplace is not certified. {rank} directions are informed: {why}"
    if asked.report is not None:
        asked.report(reason)
    while ladder:
        method = ladder.pop(0)
        if certified(method.name(), method):
            break
        if _several_regions(posteriors.get(method.name())):
            ladder = _between_regions(asked.problem.size(), posteriors) + ladder
    else:
        if asked.problem.size() <= FEW and _narrows(posteriors.get("nuts")):
            reason += f" NUTS meets tails too narrow for its steps; {CAREFUL} takes shorter ones."
            certified(CAREFUL, _careful())
    return [reason]


def _narrows(posterior: Posterior | None) -> bool:
    """Whether chains met tails that are too narrow for their steps."""
    from assim.solve.posterior.chains.verdict import narrows  # slow to import

    if posterior is None or posterior.trust is Trust.FAILED:
        return False
    return narrows(posterior.certificates)


def _careful() -> AbstractPosterior:
    """NUTS whose steps are short enough for the narrow end of most hierarchies of scales."""
    from assim.solve.posterior.chains.samplers import NUTS  # slow to import

    return NUTS(acceptance=0.99, accuracy=0.0125, max_gradients=4_000_000)


def _several_regions(posterior: Posterior | None) -> bool:
    """Whether chains explored regions whose weights they do not know."""
    return posterior is not None and posterior.certificates.get("r_hat", 1.0) > SEVERAL_MODES


def _between_regions(n: int, posteriors: Mapping[str, Posterior]) -> list[AbstractPosterior]:
    """Tempering, which goes from mode to mode where controls are few, if it was not tried."""
    from assim.solve.posterior.tempering import Tempering  # slow to import

    tempering = Tempering()
    return [tempering] if n <= FEW and tempering.name() not in posteriors else []


def _ladder(
    rank: int, problem: Problem, several: bool = False
) -> tuple[list[AbstractPosterior], str]:
    """What to try in turn, the cheapest first, and why."""
    from assim.solve.posterior.nested.nested import Nested  # not needed by Laplace alone

    methods, why = _general(rank, problem.size(), several)
    nested = Nested()
    if not (problem.control.has_volume and nested.by_lattice(problem)) or nested.refuses(problem):
        return methods, why
    scales = "Scales are estimated over a trajectory with model error, which nested Laplace "
    return [nested, *methods], f"{scales}integrates out. Where it is not certified: {why}"


def _general(rank: int, n: int, several: bool = False) -> tuple[list[AbstractPosterior], str]:
    """The same of any problem, in which several minima count or not."""
    # slow to import, and not needed by Laplace alone
    from assim.solve.posterior.chains.samplers import MCLMC, NUTS
    from assim.solve.posterior.importance import Importance
    from assim.solve.posterior.svgd.svgd import SVGD
    from assim.solve.posterior.tempering import Tempering

    chains: list[AbstractPosterior] = [MCLMC(), NUTS()] if n > 1 else [NUTS()]
    if several and n <= FEW:
        return [Tempering(), *chains], (
            "several minima count, between which Tempering goes; chains follow where needed."
        )
    if n <= VERY_FEW and not several:
        return [Importance(), *chains], (
            "so few controls may be weighted, without gradients; chains follow where needed."
        )
    if rank <= SMALL_RANK and n > MANY and not several:
        svgd = SVGD(particles=max(100, PARTICLES * rank))
        return [svgd, *chains], (
            "SVGD moves along these alone; MCLMC and NUTS follow where needed."
        )
    return chains, "MCLMC is the cheapest; NUTS follows where needed."


def _run(name: str, method: AbstractPosterior, asked: PosteriorRequest) -> Posterior:
    """The posterior of one method, with the seconds that it took."""
    problem, key = asked.problem, jax.random.fold_in(asked.keys[1], zlib.crc32(name.encode()))
    begin = time.perf_counter()
    if isinstance(method, Laplace):
        fitted, spread = asked.fitted, asked.spread
        if own := method != asked.settings:
            first, chi = asked.keys[0], fitted.chi
            bare = laplace(problem, chi, method, first)  # of this minimum alone
            found = {name: getattr(fitted, name) for name in ("elsewhere", "others", "sought")}
            fitted = replace(bare, **found)
            at_minimum = evaluate(problem, chi).simulation
            spread = spread_of(problem, fitted.gaussian, at_minimum, first)
        posterior = of_laplace(name, fitted, method, asked, spread, key)
        begin -= 0.0 if own else asked.seconds
        return replace(posterior, seconds=time.perf_counter() - begin)
    before = None if asked.store is None else asked.store.load(name)
    if before is not None:
        ensemble = kept_ensemble(before)
        begin -= before.numbers["seconds"]
    else:
        if asked.report is not None:
            asked.report(f"{name}: sampling")
        ensemble = method.sample(asked.publishing(), asked.fitted, key, asked.report)
    _check_ensemble(name, ensemble, problem.size())
    ensemble = _of_all_modes(method, ensemble, asked.fitted)
    if asked.store is not None and before is None:
        asked.store.save(name, to_keep(ensemble, time.perf_counter() - begin))
    posterior = of_ensemble(name, ensemble, asked, method.name())
    return replace(posterior, seconds=time.perf_counter() - begin)


def _of_all_modes(
    method: AbstractPosterior, ensemble: Ensemble, fitted: LaplacePosterior
) -> Ensemble:
    """Doubtful where it leaves minima out that moments need: a local method, or one not there.

    What is certified by a local method says where other minima were sought, if not along all.
    """
    if ensemble.trust is not Trust.CERTIFIED:
        return ensemble
    if not fitted.several():
        told = f"{ensemble.advice} {fitted.sought}" if method.local else ensemble.advice
        return replace(ensemble, advice=told.rstrip())
    if method.local:
        return ensemble.doubted(f"{fitted.of_others()}: {WAYS_TO_MODES}.")
    if unvisited := fitted.unvisited(ensemble.members):
        return ensemble.doubted(f"{fitted.of_others()}, and {unvisited} of them no draw is near.")
    return ensemble


def _check_ensemble(name: str, ensemble: object, n: int) -> None:
    """Raise ValueError where what a method returned stands for no posterior, and does not say so.

    Args:
        name: of the method.
        ensemble: what it returned.
        n: controls.
    """
    if not isinstance(ensemble, Ensemble):
        raise ValueError(f"{name}: expected an Ensemble, got {type(ensemble).__name__}")
    if ensemble.trust is Trust.FAILED:
        return
    members, weights = np.asarray(ensemble.members), np.asarray(ensemble.weights)
    if members.ndim != 2 or members.shape[1] != n or weights.shape != members.shape[:1]:
        raise ValueError(
            f"{name}: expected members of shape (N, {n}) with a weight each, got {members.shape} "
            f"and {weights.shape}"
        )
    odd = int(np.sum(~np.isfinite(members).all(axis=1) | ~np.isfinite(weights) | (weights < 0)))
    if odd:
        raise ValueError(
            f"{name}: expected finite members with weights that are not negative, got {odd} of "
            f"{len(members)} that are not so; a method that fails says so by Trust.FAILED"
        )
    if not abs((total := float(np.sum(weights, dtype=float))) - 1) <= SUM:
        raise ValueError(
            f"{name}: expected weights of sum one, got {total:.7g} of {len(weights)}; divide them "
            "by their sum"
        )
