"""Templates and styles of the HTML pages, which are self-contained and without scripts."""
