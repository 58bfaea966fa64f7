"""Tools for AnnData, in scanpy's manner: they write their results into the object they are given.

What is asked, of which versions, is written beside every result. Cells may be AnnData in memory or
backed by a file; `annotate` also takes a path, and blocks that come one by one. The client is the
one given, or one made from the environment: see `cellkin.client.profile`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from cellkin.client.annotate import Annotation
from cellkin.client.calls.messages import CellFilter
from cellkin.client.client import Client
from cellkin.client.clusters import vote
from cellkin.client.labelling import Settings, known_genes, label
from cellkin.client.queries import open_query
from cellkin.client.results.cells import CellExplanation, CellHits, Explanations
from cellkin.client.session import connected, shown_progress
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.wire.errors import InvalidArgumentError, NotFoundError

_EXPLAINED = 64
"""Cells of one request for explanations."""
_MOST_HITS = 400_000
"""Hits of one message."""


def annotate(
    adata: Any,
    index: str,
    *,
    client: Client | None = None,
    key_added: str = "cellkin",
    layer: str | None = None,
    use_raw: bool = False,
    taxon: int = 0,
    min_probability: float | None = None,
    space: str | None = None,
    exclude_batches: Sequence[str] = (),
    clusters: str | None = None,
    resume: str | Path | None = None,
    copy: bool = False,
) -> Any:
    """Label cells by their nearest reference cells.

    Parameters
    ----------
    adata
        (n_cells, n_genes) counts or log1p of normalized counts: AnnData, in memory or backed; the
        path of a file of any readable format; or an iterable of AnnData blocks with the same genes.
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    client
        The connection; None for one by the environment.
    key_added
        What the names of results begin with.
    layer, use_raw
        The matrix to read instead of X.
    taxon
        NCBI taxonomy id of the cells; 0 infers it from the gene names.
    min_probability
        The least probability of a label, in (0, 1]; None for that stored with the index.
    space
        ``text`` or ``expression``; None chooses by the genes that are shared.
    exclude_batches
        Batches of the reference that do not vote; then neighbors alone decide.
    clusters
        A column of ``obs``, such as ``leiden``, whose clusters get a label each.
    resume
        Folder in which answers are kept as they come. Given again after an interrupt, what is
        answered is compared with the cells and not asked again.
    copy
        Whether to return a copy with the results, and leave ``adata`` as it is.

    Returns
    -------
    AnnData, Annotation or None
        Of a path or of blocks the `Annotation`. Of AnnData the copy if one was asked for, else
        None; it then has

        ``obs['cellkin_label']``
            categorical, ``unknown`` where none can be claimed.
        ``obs['cellkin_winner']``
            categorical, the most probable subtype even then; missing where no gene matched.
        ``obs['cellkin_probability']``
            float32 in [0, 1], calibrated on the reference.
        ``obs['cellkin_support']``, ``obs['cellkin_n_votes']``
            float32 in [0, 1] and uint8, of the neighbors' vote; no probability.
        ``obs['cellkin_novelty']``
            float32, standard deviations of the label's own cells.
        ``obs['cellkin_unknown']``, ``obs['cellkin_reason']``
            bool, and why.
        ``obs['cellkin_matched_share']``
            float32 in [0, 1], the share of its expression in matched genes with a vector.
        ``obs['cellkin_fallback']``
            categorical, an ancestor, where labels are paths.
        ``obs['cellkin_cluster_label']``, ``uns['cellkin']['clusters']``
            with ``clusters``: the label of each cell's cluster; and a table of each cluster's
            label, confidence in [0, 1], cells and split, see `cellkin.client.clusters.Clusters`.
            ``uns['cellkin']['cluster_split']`` has a row a label of a cluster.
        ``obsm['cellkin_route_shares']``
            (n_cells, n_routes) float32 in [0, 1], its share by each ``uns['cellkin']['routes']``.
        ``var['cellkin_gene_id']``, ``var['cellkin_match']``, ``var['cellkin_text']``
            how each gene was read.
        ``uns['cellkin']``
            every version and setting; `reproduce` asks by it again.

    Raises
    ------
    InvalidArgumentError
        If values are centred, scaled or not finite; before anything is sent.
    GenesUnmatchedError
        If too few genes match; no cell is labelled then.
    NotFoundError
        If there is no such index, or no such column of clusters.
    CheckpointError
        If ``resume`` is of another query, of other versions or settings.
    """
    held = isinstance(adata, anndata.AnnData)
    if not held and (clusters is not None or copy):
        raise InvalidArgumentError(
            "clusters and copy are for AnnData; a path or blocks give an Annotation"
        )
    if clusters is not None and clusters not in adata.obs:
        raise NotFoundError(
            f"no obs column {clusters!r}; there is: {', '.join(adata.obs) or 'none'}"
        )
    target = _target(adata, copy) if held else adata
    settings = Settings(index, taxon, min_probability, space, tuple(exclude_batches))
    annotation = _annotation(target, client, settings, layer, use_raw, resume)
    if not held:
        return annotation
    _write(target, annotation, key_added, clusters)
    return target if copy else None


def embed(
    adata: anndata.AnnData,
    index: str,
    *,
    client: Client | None = None,
    key_added: str = "X_cellkin",
    layer: str | None = None,
    use_raw: bool = False,
    taxon: int = 0,
    space: str | None = None,
    resume: str | Path | None = None,
    copy: bool = False,
) -> anndata.AnnData | None:
    """Place cells in the space of an index.

    Parameters
    ----------
    adata, index, client, layer, use_raw, taxon, space, resume, copy
        As for `annotate`; the vectors are those by which it compares cells.
    key_added
        Name of the results.

    Returns
    -------
    AnnData or None
        The copy if one was asked for. ``obsm['X_cellkin']`` is (n_cells, dim) float32: unit length
        in the text space, principal components and directions of labels in that of expression;
        zero where no gene matched. ``uns['X_cellkin']`` has every version and setting.

    Raises
    ------
    InvalidArgumentError, GenesUnmatchedError, NotFoundError, CheckpointError
        As `annotate`.
    """
    target = _target(adata, copy)
    settings = Settings(index, taxon, space=space, vectors=True)
    found = _annotation(target, client, settings, layer, use_raw, resume)
    target.obsm[key_added] = np.array(found.predictions.vectors)
    target.uns[key_added] = found.manifest()
    return target if copy else None


def search_cells(
    adata: anndata.AnnData,
    index: str,
    *,
    k: int = 10,
    filters: Sequence[CellFilter] = (),
    exact: bool = False,
    space: str | None = None,
    client: Client | None = None,
    key_added: str = "cellkin_hits",
    layer: str | None = None,
    use_raw: bool = False,
    taxon: int = 0,
    copy: bool = False,
) -> anndata.AnnData | None:
    """Find the reference cells nearest to each cell.

    Parameters
    ----------
    adata, index, client, layer, use_raw, taxon, copy
        As for `annotate`.
    k
        Neighbors of each cell, 1 to 1000.
    filters
        Only reference cells that pass all of these are hits.
    exact
        Whether to compare every cell, whatever the index.
    space
        ``text`` or ``expression``; None lets the server choose by the genes that are shared.
    key_added
        Name of the results.

    Returns
    -------
    AnnData or None
        The copy if one was asked for. ``obsm['cellkin_hits']`` is (n_cells, k) int64, rows of the
        reference, best first, -1 where there are fewer; ``obsm['cellkin_hits_similarity']``
        (n_cells, k) float32 cosines in [-1, 1], NaN there. ``uns['cellkin_hits']`` has the
        versions, the space and, as ``cells``, a table of the reference cells met, by row.

    Raises
    ------
    InvalidArgumentError
        If values are no expression, or k is out of range.
    GenesUnmatchedError, NotFoundError
        As `annotate`.
    """
    target = _target(adata, copy)
    size = max(1, min(MAX_CELLS, _MOST_HITS // max(1, k)))
    with (
        open_query(target, layer=layer, raw=use_raw) as query,
        connected(client) as asked,
        shown_progress("searching cells") as progress,
    ):
        genes = known_genes(asked, query, index, taxon)
        report, answers = asked.stream_search_cells(
            genes.versions.index,
            (genes.of(block.cells) for block in query.blocks(size)),
            k=k, filters=filters, exact=exact, genes=genes.names, units=query.units.units,
            taxon=genes.match.taxon, space=space,
        )  # fmt: skip
        parts = []
        done = 0
        for hits in answers:
            parts.append(hits)
            done += len(hits.counts)
            progress(done, target.n_obs)
    found = CellHits.join(parts)
    rows, similarities = _rectangles(found, k)
    target.obsm[key_added], target.obsm[f"{key_added}_similarity"] = rows, similarities
    cells = _frame(found.columns())[["row", "cell_id", "label", "batch"]]
    cells = cells.drop_duplicates("row").sort_values("row")
    target.uns[key_added] = {
        "versions": asdict(report.versions), "k": k, "space": report.space, "cells": cells,
        "gene_match": genes.match.to_metadata(),
    }  # fmt: skip
    return target if copy else None


def explain(
    adata: anndata.AnnData,
    index: str,
    *,
    label: str = "",
    n_genes: int = 20,
    space: str | None = None,
    client: Client | None = None,
    key_added: str = "cellkin_explained",
    layer: str | None = None,
    use_raw: bool = False,
    taxon: int = 0,
    copy: bool = False,
) -> anndata.AnnData | None:
    """Say which genes pull each cell to a label, exactly and additively.

    Parameters
    ----------
    adata
        As for `annotate`; choose cells first, such as ``adata[:10].copy()``.
    index, client, layer, use_raw, taxon, copy
        As for `annotate`.
    label
        The subtype to explain; empty for the one whose mean is nearest to each cell.
    n_genes
        Genes to name of each cell, 1 to 1000.
    space
        As for `annotate`: the space that the label was read in.
    key_added
        Name of the results.

    Returns
    -------
    AnnData or None
        The copy if one was asked for. ``uns['cellkin_explained']`` has the versions; ``space``;
        ``genes``, a table of one row a gene of a cell (``cell``, ``label``, ``gene_id``,
        ``symbol``, ``weight``, ``contribution``); and ``cells``, one row a cell with what the
        contributions add up to (``score``), the cosine to the label's mean (``similarity``) and
        the sum of the contributions of all other genes (``remainder``).

    Raises
    ------
    InvalidArgumentError
        If values are no expression, or the reference lacks the label.
    GenesUnmatchedError, NotFoundError
        As `annotate`.
    """
    target = _target(adata, copy)
    explained: list[CellExplanation] = []
    explained_in = ""
    with (
        open_query(target, layer=layer, raw=use_raw) as query,
        connected(client) as asked,
        shown_progress("explaining cells") as progress,
    ):
        genes = known_genes(asked, query, index, taxon)
        for block in query.blocks(_EXPLAINED):
            answer = asked.explain_cell(
                genes.versions.index, genes.names, genes.of(block.cells), units=query.units.units,
                taxon=genes.match.taxon, label=label, n_genes=n_genes, space=space,
            )  # fmt: skip
            explained += answer.cells
            explained_in = answer.space
            progress(len(explained), target.n_obs)
    found = Explanations(genes.versions, tuple(explained), explained_in)
    names = target.obs_names.to_numpy()
    of_genes = _frame(found.columns())
    of_genes["cell"] = names[of_genes["cell"]]
    of_cells = pd.DataFrame(
        {
            what: [getattr(cell, what) for cell in found.cells]
            for what in ("label", "score", "similarity", "remainder", "n_remaining")
        },
        index=names,
    )
    target.uns[key_added] = {
        "versions": asdict(found.versions), "space": found.space, "genes": of_genes,
        "cells": of_cells,
    }  # fmt: skip
    return target if copy else None


def _annotation(
    cells: Any,
    client: Client | None,
    settings: Settings,
    layer: str | None,
    raw: bool,
    resume: str | Path | None,
) -> Annotation:
    kept = Path(resume) if resume is not None else None
    with (
        open_query(cells, layer=layer, raw=raw) as query,
        connected(client) as asked,
        shown_progress("labelling cells") as progress,
    ):
        found = label(asked, query, settings, resume=kept, progress=progress)
    return Annotation.of(found, layer, raw)


def _write(target: Any, found: Annotation, key: str, clusters: str | None) -> None:
    found.add_to(target, key)
    manifest = found.manifest()
    if clusters is not None:
        groups, chances = target.obs[clusters], found.predictions.probabilities
        voted = vote(groups, found.labels, chances, found.report.min_probability)
        target.obs[f"{key}_cluster_label"] = voted.of_cells(groups)
        manifest |= {
            "clustered_by": clusters,
            "clusters": _frame(voted.columns()),
            "cluster_split": _frame(voted.split_columns()),
        }
    target.uns[key] = manifest


def _target(adata: Any, copy: bool) -> Any:
    if copy and adata.isbacked:
        raise InvalidArgumentError(
            "a backed AnnData is not copied; give copy=False, the file's matrix stays as it is"
        )
    return adata.copy() if copy else adata


def _frame(columns: dict[str, Any]) -> pd.DataFrame:
    """Return a table as ``.h5ad`` files hold them, its rows named."""
    frame = pd.DataFrame(columns)
    frame.index = frame.index.astype(str)
    return frame


def _rectangles(hits: CellHits, k: int) -> tuple[Any, Any]:
    """Return rows and similarities as (n_queries, k), filled up."""
    rows = np.full((len(hits.counts), k), -1, np.int64)
    similarities = np.full(rows.shape, np.nan, np.float32)
    there = np.arange(k) < hits.counts[:, None]
    rows[there], similarities[there] = hits.rows, hits.similarities
    return rows, similarities
