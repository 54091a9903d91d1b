"""What a person sees of a cycle."""
