"""Fit cell spaces to a sample of a reference, in memory, by pure functions."""
