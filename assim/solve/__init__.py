"""How it is answered: minimisers, samplers and posteriors of any departure function."""
