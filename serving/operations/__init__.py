"""Logs, metrics, sessions and the start and end of the server."""
