"""HTML pages: templates and styles; pages are self-contained and without scripts."""
