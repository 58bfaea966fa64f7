"""Tools for AnnData, in scanpy's manner: they write their results into the object they are given.

What is asked, of which versions, is written beside every result. Cells may be AnnData in memory or
backed by a file; `annotate` also takes a path, and blocks that come one by one. The client is the
one given, or one made from the environment: see `cellkin.client.profile`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from cellkin.client.annotate import annotate_query
from cellkin.client.annotation import Annotation, storable
from cellkin.client.arguments import typed
from cellkin.client.calls.messages import CellFilter
from cellkin.client.client import Client
from cellkin.client.errors import AnswerWarning
from cellkin.client.explaining import Asked, Predicted, explain_cells, explain_groups
from cellkin.client.hits import joined, rectangles
from cellkin.client.labelling import Settings
from cellkin.client.queries import WholeQuery, open_query, require_anndata
from cellkin.client.results.cells import CellHits
from cellkin.client.session import connected, shown_progress
from cellkin.matrices.held import held_cells
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.terms import ExpressionUnits

_MOST_HITS = 400_000
"""Hits of one message."""


@typed
def annotate(
    adata: Any,
    index: str,
    *,
    client: Client | None = None,
    key_added: str = "cellkin",
    layer: str | None = None,
    use_raw: bool = False,
    gene_column: str | None = None,
    units: str | None = None,
    modality: str | None = None,
    taxon: int | str = 0,
    min_probability: float | None = None,
    novelty_limit: float | None = None,
    false_alarms: float | None = None,
    probabilities: bool = False,
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
    gene_column
        The column of ``var`` that has the gene names; None for ``var_names``.
    units
        What the values are: ``counts``, ``cp10k``, ``log1p`` or ``log2``; None infers it.
    modality
        Of a path: the modality to read of a file of several; None for that of gene expression.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.
    min_probability
        The least probability of a label, in (0, 1]; None for that stored with the index.
    novelty_limit
        A cell of more novelty is unknown; None for the limit stored with the index.
    false_alarms
        The share of known cells that may be called unknown for their novelty, in [0.001, 0.5]; the
        index has the limit for it from cells that were held out. Given instead of a limit.
    probabilities
        Whether the probability of every label is wanted.
    space
        ``text`` or ``expression``; None lets the server choose by the genes that are shared.
    exclude_batches
        Batches of the reference that do not vote; then neighbors alone decide.
    clusters
        A column of ``obs``, such as ``leiden``, whose clusters get a label each; not of blocks.
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
            float32 in [0, 1], that of the label, calibrated on the reference; NaN where it is
            ``unknown``.
        ``obs['cellkin_winner_probability']``
            float32 in [0, 1], that of the winner.
        ``obs['cellkin_runner_up']``, ``obs['cellkin_runner_up_probability']``
            categorical and float32 in [0, 1], the second most probable subtype; missing where there
            is none.
        ``obs['cellkin_support']``, ``obs['cellkin_n_votes']``
            float32 in [0, 1] and uint8, of the neighbors' vote; no probability.
        ``obs['cellkin_novelty']``
            float32, standard deviations of the label's own cells.
        ``obs['cellkin_unknown']``, ``obs['cellkin_reason']``
            bool, and why; empty where the label is known.
        ``obs['cellkin_matched_share']``
            float32 in [0, 1], the share of its expression in matched genes with a vector.
        ``obs['cellkin_fallback']``
            categorical, an ancestor, where labels are paths.
        ``obs['cellkin_cluster_label']``, ``uns['cellkin']['clusters']``
            with ``clusters``: the label of each cell's cluster; and a table of each cluster's
            label, confidence in [0, 1], most probable label if one is forced, cells and split, see
            `cellkin.client.clusters.Clusters`.
            ``uns['cellkin']['cluster_split']`` has a row a label of a cluster.
        ``obsm['cellkin_route_shares']``
            (n_cells, n_routes) float32 in [0, 1], its share by each ``uns['cellkin']['routes']``.
        ``obsm['cellkin_probabilities']``
            with ``probabilities``: (n_cells, n_labels) float32 in [0, 1], a column each of
            ``uns['cellkin']['labels']``.
        ``var['cellkin_gene_id']``, ``var['cellkin_match']``, ``var['cellkin_text']``
            how each gene was read.
        ``uns['cellkin']``
            every version and setting; `reproduce` asks by it again. ``warnings`` is a table of
            what weakens the labels (``reason``, ``message``, ``labels``). ``sample_check`` says of
            foreign genes whether the sample belongs to the reference: ``verdict``,
            ``confirmed_share`` and, as ``labels``, a table; empty where it was not checked.

    Warns
    -----
    AnswerWarning
        Of each thing that weakens the labels, such as that the sample does not belong to the
        reference, or that this could not be told.

    Raises
    ------
    InvalidArgumentError
        If cells are given as anything else, or values are centred, scaled or not finite; before
        anything is sent.
    GenesUnmatchedError
        If too few genes match; no cell is labelled then.
    NotFoundError
        If there is no such index, or no such column of clusters.
    CheckpointError
        If ``resume`` is of another query, of other versions or settings.
    """
    held = isinstance(adata, anndata.AnnData)
    if copy and not held:
        raise InvalidArgumentError("copy is for AnnData; a path or blocks give an Annotation")
    target = _target(adata, copy) if held else adata
    how = ReadOptions(layer, use_raw, modality, gene_column, units)
    settings = Settings(
        index, taxon, min_probability, space, tuple(exclude_batches), novelty_limit=novelty_limit,
        false_alarms=false_alarms, probabilities=probabilities,
    )  # fmt: skip
    annotation = _annotation(target, client, settings, how, resume, clusters)
    for said in annotation.weaknesses():
        warnings.warn(said, AnswerWarning, stacklevel=3)  # past `typed`
    if not held:
        return annotation
    annotation.add_to(target, key_added)
    target.uns[key_added] = annotation.uns()
    return target if copy else None


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
    """Place cells in the space of an index.

    Parameters
    ----------
    adata, index, client, layer, use_raw, gene_column, units, taxon, space, resume, copy
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
    how = ReadOptions(layer, use_raw, gene_column=gene_column, units=units)
    settings = Settings(index, taxon, space=space, vectors=True)
    found = _annotation(target, client, settings, how, resume)
    target.obsm[key_added] = np.array(found.predictions.vectors)
    target.uns[key_added] = found.uns()
    return target if copy else None


@typed
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
    gene_column: str | None = None,
    units: str | None = None,
    taxon: int | str = 0,
    copy: bool = False,
) -> anndata.AnnData | None:
    """Find the reference cells nearest to each cell.

    Parameters
    ----------
    adata, index, client, layer, use_raw, gene_column, units, taxon, copy
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
        `hits_table` joins them.

    Raises
    ------
    InvalidArgumentError
        If values are no expression, or k is out of range.
    GenesUnmatchedError, NotFoundError
        As `annotate`.
    """
    target = _target(adata, copy)
    how = ReadOptions(layer, use_raw, gene_column=gene_column, units=units)
    size = max(1, min(MAX_CELLS, _MOST_HITS // max(1, k)))
    with (
        open_query(target, how) as query,
        connected(client) as asked,
        shown_progress("searching cells") as progress,
    ):
        report, answers = asked.stream_search_cells(
            index, (block.cells for block in query.blocks(size)), k=k, filters=filters,
            exact=exact, genes=query.gene_names, units=ExpressionUnits.LINEAR, taxon=taxon,
            space=space,
        )  # fmt: skip
        parts = []
        done = 0
        for hits in answers:
            parts.append(hits)
            done += len(hits.counts)
            progress(done, target.n_obs)
    found = CellHits.join(parts)
    rows, similarities = rectangles(found, k)
    target.obsm[key_added], target.obsm[f"{key_added}_similarity"] = rows, similarities
    cells = storable(found.columns())[["row", "cell_id", "label", "batch"]]
    cells = cells.drop_duplicates("row").sort_values("row")
    target.uns[key_added] = {
        "versions": asdict(report.versions), "k": k, "space": report.space, "cells": cells,
        "gene_match": report.match.to_metadata() if report.match else {},
    }  # fmt: skip
    return target if copy else None


def hits_table(adata: anndata.AnnData, key: str = "cellkin_hits") -> pd.DataFrame:
    """Return the reference cells nearest to each cell as one table.

    Parameters
    ----------
    adata
        With the results of `search_cells`, or some of its cells.
    key
        What the results are called.

    Returns
    -------
    DataFrame
        One row a hit, the cells in order and the best hits first: ``cell``, its name; ``rank`` from
        1; ``neighbor``, ``label`` and ``batch`` of the reference cell; ``cosine`` float32 in
        [-1, 1].

    Raises
    ------
    NotFoundError
        If there are no such results.
    """
    require_anndata(adata)
    if key not in adata.obsm or key not in adata.uns:
        raise NotFoundError(
            f"no obsm[{key!r}] or uns[{key!r}]; run cellkin.client.tl.search_cells first. obsm "
            f"has: {', '.join(adata.obsm) or 'none'}"
        )
    rows, cosines = np.asarray(adata.obsm[key]), np.asarray(adata.obsm[f"{key}_similarity"])
    return joined(adata.obs_names.to_numpy(), rows, cosines, adata.uns[key]["cells"])


@typed
def explain(
    adata: anndata.AnnData,
    index: str,
    *,
    by: str | None = None,
    label: str = "",
    against: str = "",
    n_genes: int = 20,
    space: str | None = None,
    client: Client | None = None,
    key: str = "cellkin",
    key_added: str = "cellkin_explained",
    layer: str | None = None,
    use_raw: bool = False,
    gene_column: str | None = None,
    units: str | None = None,
    taxon: int | str = 0,
    copy: bool = False,
) -> anndata.AnnData | None:
    """Say which genes pull each cell, or each group of cells, to a label, exactly and additively.

    Parameters
    ----------
    adata
        As for `annotate`; choose cells first, such as ``adata[:10].copy()``, or give ``by``.
    index, client, layer, use_raw, gene_column, units, taxon, copy
        As for `annotate`.
    by
        A column of ``obs``, such as ``cellkin_label`` or ``leiden``: then the mean of each of its
        groups is explained, of up to 4096 cells drawn evenly from the group.
    label
        The subtype to explain. Empty for the one whose mean is nearest to each cell; of a group
        for the group's own name, or its most probable label where it is called none of the index's.
    against
        The subtype to compare it with: then contributions, score and remainder are those of the
        label less those of this one. Empty for none; of a group for the most probable other label.
    n_genes
        Genes to name of each cell or group, 1 to 1000.
    space
        As for `annotate`: the space that the label was read in.
    key
        What the names of the results of `annotate` begin with, from which the most probable labels
        of a group are read.
    key_added
        Name of the results.

    Returns
    -------
    AnnData or None
        The copy if one was asked for. ``uns['cellkin_explained']`` has the versions; ``space``;
        and two tables. Without ``by`` these are ``genes``, one row a gene of a cell (``cell``,
        ``label``, ``gene_id``, ``symbol``, ``weight``, ``contribution``), and ``cells``, one row a
        cell with what the contributions add up to (``score``), the cosine to the label's mean
        (``similarity``) and the sum of the contributions of all other genes (``remainder``). With
        ``by`` they are ``genes``, one row a gene of a group (``group``, ``label``, ``against``,
        ``n_cells``, ``gene``, ``contribution``, ``weight``, ``gene_id``), and ``groups``, one row
        a group with the same sums, ``chosen``, why that label is explained, and ``n_explained``,
        the cells of which the mean was taken.

    Raises
    ------
    InvalidArgumentError
        If values are no expression, or the reference lacks a label.
    NotFoundError
        If there is no such index or column, or a group is called none of the index's labels and
        `annotate` was not run.
    GenesUnmatchedError
        As `annotate`.
    """
    target = _target(adata, copy)
    if by is not None and by not in target.obs:
        raise NotFoundError(f"no obs column {by!r}; there is: {', '.join(target.obs) or 'none'}")
    asked = Asked(index, taxon, space, n_genes, label, against)
    how = ReadOptions(layer, use_raw, gene_column=gene_column, units=units)
    query = WholeQuery(held_cells(target, how))
    with connected(client) as ours, shown_progress("explaining cells") as progress:
        if by is None:
            cells = explain_cells(ours, query, asked, progress)
            names = target.obs_names.to_numpy()
            told = {"genes": storable(cells.columns()), "cells": storable(cells.cell_columns())}
            told["genes"]["cell"] = names[told["genes"]["cell"]]
            told["cells"].index = names
            found: Any = cells
        else:
            predicted = Predicted.of(target.obs, key)
            found = explain_groups(ours, query, target.obs[by], predicted, asked, progress)
            told = {"genes": storable(found.columns()), "groups": storable(found.group_columns())}
    target.uns[key_added] = {
        "versions": asdict(found.versions), "space": found.space, "by": by or "", **told
    }  # fmt: skip
    return target if copy else None


def _annotation(
    cells: Any,
    client: Client | None,
    settings: Settings,
    how: ReadOptions,
    resume: str | Path | None,
    clusters: str | None = None,
) -> Annotation:
    kept = Path(resume) if resume is not None else None
    with (
        open_query(cells, how) as query,
        connected(client) as asked,
        shown_progress("labelling cells") as progress,
    ):
        return annotate_query(
            asked, query, settings, how, clusters=clusters, resume=kept, progress=progress
        )


def _target(adata: Any, copy: bool) -> Any:
    require_anndata(adata)
    if adata.isbacked and adata.is_view:
        # It cannot take a column: AnnData would copy it, and needs a file for that.
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
