"""WHAT a person sees: pictures and the report, made from finished files alone."""
