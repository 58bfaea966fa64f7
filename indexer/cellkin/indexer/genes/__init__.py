"""Gene texts: readers of the source files, and the corpus built from them."""
