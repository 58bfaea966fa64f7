"""One pure function a request: from its arguments to its message and how the answer is read."""
