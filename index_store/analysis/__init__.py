"""Analyses of a whole gallery: map, duplicates."""
