"""What the server answers, as frozen dataclasses over numpy arrays."""
