"""Labels of many cells: labeling, storage on the way, votes of clusters, repeating a run."""
