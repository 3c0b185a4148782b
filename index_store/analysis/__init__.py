"""Analyses of a whole gallery: similarity map, duplicates."""
