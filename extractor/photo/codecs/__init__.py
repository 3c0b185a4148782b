"""What Pillow does not do by itself: colours, depths, incomplete files."""
