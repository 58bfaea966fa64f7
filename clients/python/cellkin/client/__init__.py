"""The Python client of a cellkin server."""
