"""Schemes: how each window of a cycle is analysed."""

from assim.analysis.analysed import AnalysedWindow as AnalysedWindow
from assim.analysis.cycle.ensemble import ETKF as ETKF
from assim.analysis.cycle.ensemble import LETKF as LETKF
from assim.analysis.cycle.ensemble import IEnKS as IEnKS
from assim.analysis.cycle.inflation import Inflation as Inflation
from assim.analysis.cycle.measures import Measures as Measures
from assim.analysis.cycle.plan import Plan as Plan
from assim.analysis.cycle.scheme import AbstractScheme as AbstractScheme
from assim.analysis.cycle.scheme import Outcome as Outcome
from assim.analysis.cycle.static import OptimalInterpolation as OptimalInterpolation
from assim.analysis.cycle.static import ThreeDVar as ThreeDVar
from assim.analysis.cycle.variational import FourDVar as FourDVar
from assim.problem.cycled import Rows as Rows
