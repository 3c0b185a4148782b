"""Fusion: what each stage found out about a photo becomes one probability."""
