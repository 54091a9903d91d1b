"""Nested Laplace: parameters and scales with the trajectory integrated out."""
