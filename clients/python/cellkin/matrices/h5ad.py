"""The former home of `open_cells`."""

from cellkin.matrices.annotated import write_annotated
from cellkin.matrices.cells import CellFile, open_cells

__all__ = ["CellFile", "open_cells", "write_annotated"]
