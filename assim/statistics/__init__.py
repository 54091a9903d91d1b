"""What numbers say: scores, ranks, convergence, tails; no model and no χ."""
