"""The embedding job: from a corpus and a model to a published embedding."""
