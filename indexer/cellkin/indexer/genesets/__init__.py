"""Import gene sets: read files, match gene names, publish collections."""
