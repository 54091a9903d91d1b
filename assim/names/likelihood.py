"""Likelihoods: how observed values scatter about predicted ones."""

from assim.problem.likelihood import AbstractLikelihood as AbstractLikelihood
from assim.problem.likelihood import Gaussian as Gaussian
from assim.problem.likelihood import Huber as Huber
from assim.problem.likelihood import LogNormal as LogNormal
from assim.problem.likelihood import Poisson as Poisson
from assim.problem.likelihood import StudentT as StudentT
from assim.problem.likelihood import VariationalQC as VariationalQC
