"""Observation operators: what an instrument reads of a trajectory."""

from assim.problem.curvilinear import Curvilinear as Curvilinear
from assim.problem.operator import AbstractOperator as AbstractOperator
from assim.problem.operator import Function as Function
from assim.problem.operator import PointSample as PointSample
from assim.problem.operator import TimeDifference as TimeDifference
from assim.problem.operator import TimeIntegral as TimeIntegral
from assim.problem.operator import TimeMean as TimeMean
from assim.problem.operator import sample as sample
