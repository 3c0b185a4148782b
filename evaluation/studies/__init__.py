"""Studies of single parts: their cost, and comparisons with alternatives."""
