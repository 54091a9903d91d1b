"""Minimisers of J(χ), and how a minimisation ended."""

from assim.solve.minimise.ensemble import FourDEnVar as FourDEnVar
from assim.solve.minimise.gauss_newton import GaussNewton as GaussNewton
from assim.solve.minimise.gauss_newton import NewtonCG as NewtonCG
from assim.solve.minimise.loop import AbstractMinimiser as AbstractMinimiser
from assim.solve.minimise.loop import Loop as Loop
from assim.solve.minimise.loop import Minimum as Minimum
from assim.solve.minimise.loop import Solution as Solution
from assim.solve.minimise.loop import minimise as minimise
from assim.solve.minimise.loop import minimise_quasi_static as minimise_quasi_static
from assim.solve.minimise.quasi_newton import LBFGS as LBFGS
from assim.solve.minimise.quasi_newton import Adam as Adam
from assim.solve.minimise.status import Status as Status
