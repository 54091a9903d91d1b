"""Where question and method meet: one analysis, its posteriors, and what checks them."""
