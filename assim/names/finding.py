"""Findings: what else follows from an analysis, each a class that says what its variables are."""

from assim.analysis.finding import AbstractFinding as AbstractFinding
from assim.analysis.finding import RowColumn as RowColumn
from assim.analysis.finding import Variable as Variable
from assim.findings.calibration import Calibration as Calibration
from assim.findings.consistency import Consistency as Consistency
from assim.findings.consistency import consistency as consistency
from assim.findings.evidence import evidence_table as evidence_table
from assim.findings.fit import Fit as Fit
from assim.findings.fit import goodness_of_fit as goodness_of_fit
from assim.findings.impact import Impact as Impact
from assim.findings.impact import innovation_stdev as innovation_stdev
from assim.findings.impact import observation_impact as observation_impact
from assim.findings.observables import Observables as Observables
from assim.findings.observables import observables as observables
from assim.findings.predictive import PredictiveCheck as PredictiveCheck
from assim.findings.predictive import PredictiveChecks as PredictiveChecks
from assim.findings.predictive import predictive_checks as predictive_checks
from assim.findings.skill import Skill as Skill
from assim.findings.skill import skill as skill
from assim.findings.sloppy import Sloppy as Sloppy
from assim.findings.sloppy import stiff_and_sloppy as stiff_and_sloppy
from assim.problem.scalars import ForecastError as ForecastError
