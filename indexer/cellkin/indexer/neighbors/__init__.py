"""Build and certify the neighbor indexes of references."""
