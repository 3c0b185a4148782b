"""What every request passes: hosts, headers, uploads, connections."""
