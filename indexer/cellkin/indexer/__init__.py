"""What is computed ahead: gene texts, gene embeddings, cell indexes."""
