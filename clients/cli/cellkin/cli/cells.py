"""Options and reading of a file of query cells, shared by commands."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellkin.terminal.options import reading_options
from cellkin.wire.errors import MissingDependencyError, NotFoundError

if TYPE_CHECKING:
    import scipy.sparse as sp

    from cellkin.matrices.cells import CellFile

Command = Callable[..., None]


def query_options(command: Command) -> Command:
    """Add the argument and options of every command on a file of cells."""
    for option in (
        click.argument("query", type=click.Path(path_type=Path)),
        click.option(
            "--index", required=True, metavar="NAME[@VERSION]", help="The cell index to ask."
        ),
        reading_options,
        click.option(
            "--space",
            type=click.Choice(["text", "expression"]),
            help="What cells are compared by.  [default: by the genes that are shared]",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def opened(query: Path, reading: dict[str, Any]) -> "Iterator[CellFile]":
    """Open a file of cells with the values of `reading_options`.

    Raises
    ------
    MissingDependencyError
        If a package needed to read files of cells is not installed.
    """
    try:
        from cellkin.matrices.cells import open_cells
        from cellkin.matrices.options import ReadOptions
    except ImportError as error:
        raise MissingDependencyError(
            f"to read files of cells, {error.name} is needed, which is not installed; "
            "pip install 'cellkin-client[anndata]'"
        ) from error
    with open_cells(query, ReadOptions(**reading)) as cells:
        yield cells


def rows_of(cells: "CellFile", names: Sequence[str]) -> list[int]:
    """Return the rows of the cells with the given names, in that order.

    Raises
    ------
    NotFoundError
        If the file has no cell with a given name.
    """
    at = {name: row for row, name in enumerate(cells.cell_ids)}
    missing = [name for name in names if name not in at]
    if missing:
        raise NotFoundError(
            f"{cells.path} has no cell {missing[0]!r}; its first is {cells.cell_ids[0]!r}"
            if cells.cell_ids
            else f"{cells.path} has no cells"
        )
    return [at[name] for name in names]


def named(cells: "CellFile", names: Sequence[str]) -> "sp.csr_matrix":
    """Read the cells with the given names, in that order.

    Raises
    ------
    NotFoundError
        If the file has no cell with a given name.
    """
    import scipy.sparse as sp

    rows = rows_of(cells, names)
    return sp.vstack([cells.rows(row, row + 1) for row in rows], format="csr")
