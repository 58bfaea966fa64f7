"""One pure function per request, from arguments to the message and how to read the response."""
