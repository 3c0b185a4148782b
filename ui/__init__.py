"""The page: what visitors see."""
