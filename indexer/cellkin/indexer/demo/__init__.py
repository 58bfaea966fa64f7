"""Demo: label mouse cells from a human reference, using only texts about genes."""
