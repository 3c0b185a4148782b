"""Studies of speed and cost."""
