"""Proof: before and after on questions that training never saw, and the report that shows it."""
