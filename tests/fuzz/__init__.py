"""Mutants of small cases, which the command line must refuse, survive or use, and nothing else."""
