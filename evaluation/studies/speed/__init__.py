"""What each stage costs."""
