"""Fit fusion weights and probabilities on labelled photos."""
