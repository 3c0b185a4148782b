"""Checkpoint file formats, and published weights."""
