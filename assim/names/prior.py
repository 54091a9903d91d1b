"""Priors: maps from N(0, 1) to what is estimated."""

from assim.problem.prior import AbstractPrior as AbstractPrior
from assim.problem.prior import HalfCauchy as HalfCauchy
from assim.problem.prior import HalfNormal as HalfNormal
from assim.problem.prior import Jeffreys as Jeffreys
from assim.problem.prior import LogNormal as LogNormal
from assim.problem.prior import Normal as Normal
from assim.problem.prior import TruncatedNormal as TruncatedNormal
from assim.problem.prior import Uniform as Uniform
