"""Covariances of errors, known by a square root, and their estimates from ensembles."""

from assim.files.read.covariances import read_covariance as read
from assim.files.read.covariances import write_covariance as write
from assim.files.read.estimates import covariance_from_ensemble as from_ensemble
from assim.files.read.estimates import covariance_from_forecasts as from_forecasts
from assim.files.read.estimates import covariance_from_increments as from_increments
from assim.problem.covariance import (
    AbstractCovariance,
    AbstractStateCovariance,
    Autoregressive,
    Blocks,
    Dense,
    Diagonal,
    Diffusion,
    Ensemble,
    GaspariCohn,
    Independent,
    Joint,
    Kronecker,
    LowRank,
    Regression,
    Spectral,
    Sum,
)

__all__ = [
    "AbstractCovariance",
    "AbstractStateCovariance",
    "Autoregressive",
    "Blocks",
    "Dense",
    "Diagonal",
    "Diffusion",
    "Ensemble",
    "GaspariCohn",
    "Independent",
    "Joint",
    "Kronecker",
    "LowRank",
    "Regression",
    "Spectral",
    "Sum",
    "from_ensemble",
    "from_forecasts",
    "from_increments",
    "read",
    "write",
]
