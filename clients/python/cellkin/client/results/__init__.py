"""Results of requests, as frozen dataclasses of numpy arrays."""
