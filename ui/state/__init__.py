"""What the visitor asks, and what the session keeps."""
