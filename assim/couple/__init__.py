"""Simulation codes outside JAX, in both directions."""
