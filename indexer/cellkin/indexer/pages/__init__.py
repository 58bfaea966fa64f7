"""The look of all HTML pages: one style, and templates of self-contained pages without scripts."""
