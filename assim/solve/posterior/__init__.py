"""The density exp(-J(χ)): methods that quantify uncertainty."""
