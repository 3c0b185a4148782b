"""Training on a GPU: photos lie decoded in memory, views are made where the network computes."""
