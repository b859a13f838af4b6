"""The training engine: one loop for every family, every loss and every number of processes."""
