"""Published weights and file formats."""
