"""Findings: what else follows from an analysis, each a class that says what its variables are."""

from assim.analysis.finding import AbstractFinding as AbstractFinding
from assim.analysis.finding import RowColumn as RowColumn
from assim.analysis.finding import Variable as Variable
from assim.findings.consistency import Consistency as Consistency
from assim.findings.impact import Impact as Impact
from assim.findings.predictive import PredictiveCheck as PredictiveCheck
from assim.findings.predictive import PredictiveChecks as PredictiveChecks
from assim.findings.sloppy import Sloppy as Sloppy
