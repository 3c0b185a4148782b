"""Graphs over the gallery: neighbours, offline diffusion, verified matches."""
