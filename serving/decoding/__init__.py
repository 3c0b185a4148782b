"""Uploads -> photos, in worker processes."""
