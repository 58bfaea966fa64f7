"""Gene texts: readers of their sources, and the corpus built from them."""
