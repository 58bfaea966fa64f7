"""The embedding job: embed a corpus with a model and publish the gene embedding."""
