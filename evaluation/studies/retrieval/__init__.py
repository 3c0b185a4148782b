"""What each choice is worth in mean average precision."""
