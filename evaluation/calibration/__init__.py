"""Fitting fusion and probabilities on labelled photos."""
