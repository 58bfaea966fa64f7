"""Numerics shared by indexer and server: gene matching, projection, votes. Arrays only, no I/O."""
