"""The driver's side of the training-speed benchmark; the standard library only."""
