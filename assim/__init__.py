"""Data assimilation on JAX: one function d(χ) of a whitened control vector, solved in many ways."""
