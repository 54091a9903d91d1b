"""Covariances C = L Lᵀ, known by their square root L."""

from assim.problem.covariance.blocks import Blocks as Blocks
from assim.problem.covariance.dense import Dense as Dense
from assim.problem.covariance.diagonal import Diagonal as Diagonal
from assim.problem.covariance.root import AbstractCovariance as AbstractCovariance
from assim.problem.covariance.root import check_invertible as check_invertible
from assim.problem.covariance.state import AbstractStateCovariance as AbstractStateCovariance
from assim.problem.covariance.state import Independent as Independent
