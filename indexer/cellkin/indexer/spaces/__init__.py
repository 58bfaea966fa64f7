"""Cell spaces are fitted here: to a sample of a reference, in memory, as pure functions of it."""
