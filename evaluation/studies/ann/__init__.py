"""Comparison of vector indexes."""
