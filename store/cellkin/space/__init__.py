"""The maths indexer and server share: gene matching, projection, votes. Pure arrays, no I/O."""
