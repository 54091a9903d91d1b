"""Many chains together, with a Metropolis test only once they are where they belong."""

from typing import Any

import equinox as eqx
import jax

from assim.arguments import Size
from assim.solve.cost import DepartureFunction
from assim.solve.posterior.chains.chains import AbstractChains, Coordinates, Step, Tuning
from assim.solve.posterior.chains.samplers import MCLMC
from assim.solve.posterior.chains.sampling import sample_chains
from assim.solve.posterior.ensemble import Ensemble, Report
from assim.solve.posterior.laplace_posterior import LaplacePosterior

Array = jax.Array


class LAPS(AbstractChains):
    """Late-adjusted parallel sampler: many short chains of MCLMC, adjusted at last.

    Two thirds of the warm-up go without a Metropolis test, whose absence lets chains come sooner
    to where they belong, the last third and all draws that are kept with one; step sizes are set
    by all chains together (Robnik & Seljak 2026, arXiv:2601.16696). Few steps one after the
    other, many gradients side by side: for processors with many cores.

    Args:
        accuracy: Monte Carlo standard error at which the chains stop; see `MCLMC`.
        chains: how many run together, half of them started from the prior.
        warm_up: draws of each chain that are not kept.
        acceptance: mean acceptance of the test that the step size is set to.
        max_gradients: of all chains together, where they stop at the latest.
        members: draws kept, at most, unless accuracy needs more.
    """

    accuracy: float = eqx.field(default=0.015, static=True)
    chains: Size = eqx.field(default=256, static=True)
    warm_up: int = eqx.field(default=60, static=True)
    acceptance: float = eqx.field(default=0.9, static=True)
    max_gradients: int = eqx.field(default=2_000_000, static=True)
    members: Size = eqx.field(default=10_000, static=True)

    def name(self) -> str:
        """The method's name, laps."""
        return "laps"

    def sample(
        self,
        problem: DepartureFunction,
        around: LaplacePosterior,
        key: Array,
        report: Report | None = None,
    ) -> Ensemble:
        """Chains until they are accurate enough; see `AbstractPosterior.sample`."""
        return self._kernel(True).refused(problem, around) or sample_chains(
            self, problem, around, key, report
        )

    def exact(self) -> bool:
        """Yes: what is kept is adjusted."""
        return True

    def early(self) -> AbstractChains:
        """Without a Metropolis test."""
        return self._kernel(False)

    def begin(self, z: Array, log_density: Array, score: Array, key: Array) -> Any:
        """State of a chain."""
        return self._kernel(True).begin(z, log_density, score, key)

    def step(
        self, problem: DepartureFunction, at: Coordinates, state: Any, tuning: Tuning, key: Array
    ) -> tuple[Any, Step]:
        """A trajectory with its Metropolis test."""
        return self._kernel(True).step(problem, at, state, tuning, key)

    def first_tuning(self, n: int) -> Tuning:
        """That of MCLMC."""
        return self._kernel(True).first_tuning(n)

    def tuned(self, tuning: Tuning, steps: Step) -> Tuning:
        """By acceptance."""
        return self._kernel(True).tuned(tuning, steps)

    def settled(self, tuning: Tuning, z: Array) -> Tuning:
        """The averaged step size, and the length from the spread of z."""
        return self._kernel(True).settled(tuning, z)

    def _kernel(self, adjusted: bool) -> MCLMC:
        return MCLMC(
            accuracy=self.accuracy,
            chains=self.chains,
            warm_up=self.warm_up,
            adjusted=adjusted,
            acceptance=self.acceptance,
            max_gradients=self.max_gradients,
            members=self.members,
        )
