"""The minimum of J(χ)."""
