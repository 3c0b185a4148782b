"""Studies of retrieval quality, in mean average precision."""
