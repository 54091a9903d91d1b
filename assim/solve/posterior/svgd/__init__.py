"""Stein variational gradient descent and its parts."""
