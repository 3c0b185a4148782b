"""Middleware for all requests: hosts, headers, uploads, connections."""
