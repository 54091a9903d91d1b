"""HOW it is answered: uses the normalised departures d(χ). Sees no model and no file."""
