"""Command-line commands of the indexer."""
