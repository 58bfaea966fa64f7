"""Files of cells by genes: reading them in blocks, and writing answers beside the cells."""
