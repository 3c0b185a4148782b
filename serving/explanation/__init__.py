"""What each stage did with one query, for the page "How it works"."""
