"""Fusion: combine the evidence of all stages for a photo into one probability."""
