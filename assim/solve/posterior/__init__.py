"""The density exp(v - J(χ)): methods that quantify uncertainty."""
