"""Pages in the browser for a cellkin server: ``cellkin explore``."""
