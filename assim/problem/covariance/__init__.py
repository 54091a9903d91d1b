"""Covariances C = L Lᵀ, known by their square root L."""

from assim.problem.covariance.autoregressive import Autoregressive as Autoregressive
from assim.problem.covariance.combined import Blocks as Blocks
from assim.problem.covariance.combined import Kronecker as Kronecker
from assim.problem.covariance.combined import Sum as Sum
from assim.problem.covariance.diffusion import Diffusion as Diffusion
from assim.problem.covariance.explicit import Dense as Dense
from assim.problem.covariance.explicit import Diagonal as Diagonal
from assim.problem.covariance.explicit import Ensemble as Ensemble
from assim.problem.covariance.explicit import LowRank as LowRank
from assim.problem.covariance.gaspari_cohn import GaspariCohn as GaspariCohn
from assim.problem.covariance.root import AbstractCovariance as AbstractCovariance
from assim.problem.covariance.root import check_invertible as check_invertible
from assim.problem.covariance.spectral import Spectral as Spectral
from assim.problem.covariance.state import AbstractStateCovariance as AbstractStateCovariance
from assim.problem.covariance.state import Independent as Independent
from assim.problem.covariance.state import Joint as Joint
from assim.problem.covariance.state import Regression as Regression
