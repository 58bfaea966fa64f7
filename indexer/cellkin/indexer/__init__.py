"""Offline jobs: corpora of gene texts, gene embeddings and cell indexes."""
