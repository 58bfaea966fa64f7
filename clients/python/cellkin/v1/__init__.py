"""Generated stubs of the wire contract; never edited."""
