"""Checks of derivatives: tangent linear, adjoint, gradient and Hessian."""

from assim.findings.derivatives import adjoint_test as adjoint_test
from assim.findings.derivatives import gradient_test as gradient_test
from assim.findings.derivatives import hessian_symmetry_test as hessian_symmetry_test
from assim.findings.derivatives import tangent_linear_test as tangent_linear_test
from assim.findings.derivatives import verify as verify
