"""``cellkin cells convert``: write cells in the format that is fastest to read."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cellkin.terminal.options import json_option, reading_options
from cellkin.wire.errors import InvalidArgumentError, MissingDependencyError


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@reading_options
@json_option
def convert(source: Path, target: Path, as_json: bool, **reading: Any) -> None:
    """Convert the cells of SOURCE to TARGET.zarr, which is fast to read.

    SOURCE may have any readable format. TARGET is AnnData in zarr v3 with zstd compression, which
    is faster to read than gzip and about as small. X, obs and var are written; other layers, obsm
    and uns are not.
    """
    from time import perf_counter

    from cellkin.terminal.console import progress_bar

    try:
        from cellkin.matrices.cells import open_cells
        from cellkin.matrices.convert import write_zarr
        from cellkin.matrices.options import ReadOptions
    except ImportError as error:
        raise MissingDependencyError(
            f"convert needs {error.name}, which is not installed; pip install 'cellkin[cells]'"
        ) from error

    if target.suffix != ".zarr":
        raise InvalidArgumentError(f"{target} does not end in .zarr, the one format written")
    start_s = perf_counter()
    with (
        open_cells(source, ReadOptions(**reading)) as cells,
        progress_bar("converting cells") as progress,
    ):
        done = write_zarr(cells, target, progress)
    seconds, stored = perf_counter() - start_s, cells.matrix.storage
    if as_json:
        found = {"format": stored.format, "units": cells.units.why, "notes": cells.notes}
        click.echo(json.dumps({**asdict(done), **found, "seconds": seconds}))
        return
    click.echo(
        f"{target}: {done.n_cells:,} cells, {done.n_genes:,} genes, {done.n_values:,} values; "
        f"{cells.units.why}"
    )
    click.echo(
        f"{done.source_bytes / 1e6:,.1f} MB of {stored.format} to "
        f"{done.target_bytes / 1e6:,.1f} MB of zarr v3, zstd; {done.n_cells / seconds:,.0f} cells/s"
    )
    for note in cells.notes:
        click.echo(note)
