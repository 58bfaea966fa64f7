"""Embedding models, which convert texts to vectors."""
