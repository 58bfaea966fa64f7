class EmbeddingModelTests: pass
