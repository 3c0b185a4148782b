"""Indexes compared."""
