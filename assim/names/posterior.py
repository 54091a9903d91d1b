"""Methods that quantify uncertainty, and what they give."""

from assim.analysis.posterior import Posterior as Posterior
from assim.analysis.time_invariant import TimeInvariant as TimeInvariant
from assim.solve.posterior.chains.laps import LAPS as LAPS
from assim.solve.posterior.chains.samplers import HMC as HMC
from assim.solve.posterior.chains.samplers import MCLMC as MCLMC
from assim.solve.posterior.chains.samplers import NUTS as NUTS
from assim.solve.posterior.ensemble import AbstractPosterior as AbstractPosterior
from assim.solve.posterior.ensemble import Trust as Trust
from assim.solve.posterior.esmda import ESMDA as ESMDA
from assim.solve.posterior.importance import Importance as Importance
from assim.solve.posterior.laplace import Laplace as Laplace
from assim.solve.posterior.marginal import Quantity as Quantity
from assim.solve.posterior.nested.nested import Nested as Nested
from assim.solve.posterior.randomise import Randomise as Randomise
from assim.solve.posterior.svgd.kernels import (
    kernelised_stein_discrepancy as kernelised_stein_discrepancy,
)
from assim.solve.posterior.svgd.svgd import SVGD as SVGD
from assim.solve.posterior.tempering import Tempering as Tempering
from assim.solve.posterior.variational import Variational as Variational
