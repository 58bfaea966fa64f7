"""Templates of pages; they extend those of `cellkin.pages`."""

from pathlib import Path

PAGES = Path(__file__).parent
