"""Read cells-by-genes files in blocks, and write results into annotated copies."""
