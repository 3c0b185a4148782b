"""Training on a GPU: photos are decoded in memory, views are rendered on the network's device."""
