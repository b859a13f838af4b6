"""Records, the dataset folder, formats from outside, statistics and splits."""
