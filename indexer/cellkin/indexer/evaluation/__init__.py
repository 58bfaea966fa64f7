"""How well labels are: figures, splits, what they are compared with, and the report of it all."""
