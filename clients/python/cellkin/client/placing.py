"""Tools that place cells: in the space of an index, and in its layout in two dimensions."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np

from cellkin.client.annotate import annotate_query
from cellkin.client.arguments import typed
from cellkin.client.client import Client
from cellkin.client.labels.annotation import Annotation
from cellkin.client.labels.labeling import Settings
from cellkin.client.queries import open_query, require_anndata
from cellkin.client.session import connected, shown_progress, tell
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InvalidArgumentError


@typed
def embed(
    adata: anndata.AnnData,
    index: str,
    *,
    client: Client | None = None,
    key_added: str = "X_cellkin",
    layer: str | None = None,
    use_raw: bool = False,
    gene_column: str | None = None,
    units: str | None = None,
    taxon: int | str = 0,
    space: str | None = None,
    resume: str | Path | None = None,
    copy: bool = False,
) -> anndata.AnnData | None:
    """Compute the cell vectors of cells in the space of an index.

    Parameters
    ----------
    adata, index, client, layer, use_raw, gene_column, units, taxon, space, resume, copy
        As for `cellkin.client.tl.annotate`, which compares cells by these vectors.
    key_added
        Name of the results.

    Returns
    -------
    AnnData or None
        The copy if requested. ``obsm['X_cellkin']`` is (n_cells, dim) float32: unit length in the
        text space, principal components and label directions in the expression space; zero if no
        gene matched. ``uns['X_cellkin']`` has all versions and settings.

    Raises
    ------
    InvalidArgumentError, GenesUnmatchedError, NotFoundError, CheckpointError
        As `cellkin.client.tl.annotate`.
    """
    target = target_of(adata, copy)
    how = ReadOptions(layer, use_raw, gene_column=gene_column, units=units)
    settings = Settings(index, taxon, space=space, vectors=True)
    found = annotated(target, client, settings, how, resume)
    vectors = np.array(found.predictions.vectors)
    target.obsm[key_added] = vectors
    target.uns[key_added] = found.uns()
    tell(
        f"{len(vectors):,} cells placed in the {found.report.space} space of "
        f"{found.report.versions.index}: obsm[{key_added!r}] has {vectors.shape[1]} dimensions"
    )
    return target if copy else None


@typed
def place(
    adata: anndata.AnnData,
    index: str,
    *,
    client: Client | None = None,
    key_added: str = "X_cellkin_layout",
    layer: str | None = None,
    use_raw: bool = False,
    gene_column: str | None = None,
    units: str | None = None,
    taxon: int | str = 0,
    space: str | None = None,
    resume: str | Path | None = None,
    copy: bool = False,
) -> anndata.AnnData | None:
    """Place cells in the two-dimensional layout of an index's reference cells.

    A cell is placed among the reference cells whose vectors are nearest to its own, whatever cells
    are placed with it. (Where the query's own mean is subtracted, for genes that are foreign to the
    reference, that mean is one of all its cells.) A cell of a type that the reference lacks is
    placed among the most similar ones: see its novelty by `cellkin.client.tl.annotate`.

    Parameters
    ----------
    adata, index, client, layer, use_raw, gene_column, units, taxon, space, resume, copy
        As for `cellkin.client.tl.annotate`.
    key_added
        Name of the results.

    Returns
    -------
    AnnData or None
        The copy if requested. ``obsm['X_cellkin_layout']`` is (n_cells, 2) float32, NaN if no gene
        matched; see `cellkin.client.pl.on_reference`. ``uns['X_cellkin_layout']`` has all versions
        and settings.

    Raises
    ------
    FailedPreconditionError
        If the index has no layout.
    UnimplementedError
        If the server is of an earlier release.
    InvalidArgumentError, GenesUnmatchedError, NotFoundError, CheckpointError
        As `cellkin.client.tl.annotate`.
    """
    target = target_of(adata, copy)
    how = ReadOptions(layer, use_raw, gene_column=gene_column, units=units)
    settings = Settings(index, taxon, space=space, positions=True)
    found = annotated(target, client, settings, how, resume)
    positions = np.array(found.predictions.positions)
    target.obsm[key_added] = positions
    target.uns[key_added] = found.uns()
    tell(
        f"{len(positions):,} cells placed in the layout of {found.report.versions.index} by the "
        f"{found.report.space} space: obsm[{key_added!r}]"
    )
    return target if copy else None


def annotated(
    cells: Any,
    client: Client | None,
    settings: Settings,
    how: ReadOptions,
    resume: str | Path | None,
    clusters: str | None = None,
) -> Annotation:
    """Label cells by a client, or by one from the environment; see `annotate_query`."""
    kept = Path(resume) if resume is not None else None
    with (
        open_query(cells, how) as query,
        connected(client) as asked,
        shown_progress("labeling cells") as progress,
    ):
        return annotate_query(
            asked, query, settings, how, clusters=clusters, resume=kept, progress=progress
        )


def target_of(adata: Any, copy: bool) -> Any:
    """Return the AnnData that results are written to, a copy if requested.

    Raises
    ------
    InvalidArgumentError
        If it takes no results, or cannot be copied.
    """
    require_anndata(adata)
    if adata.isbacked and adata.is_view:
        # It cannot take a column: AnnData would copy it, which needs a file.
        if copy:
            return adata.to_memory()
        raise InvalidArgumentError(
            "a view of a backed AnnData takes no labels; give view.to_memory(), or copy=True"
        )
    if copy and adata.isbacked:
        raise InvalidArgumentError(
            "a backed AnnData is not copied; give copy=False, the file's matrix stays as it is"
        )
    return adata.copy() if copy else adata
