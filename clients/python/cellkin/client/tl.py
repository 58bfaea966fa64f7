"""Tools for AnnData, in scanpy's style: they write their results into the given object.

`contrast` and `enrich` return their result instead, which is about genes. Settings and versions are
stored with every result. Cells may be AnnData in memory or backed by a file; `annotate` also takes
a path or an iterable of blocks. Without a client, one is made from the environment: see
``cellkin.client.transport.profile``.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from cellkin.client.arguments import typed
from cellkin.client.calls.messages import CellFilter
from cellkin.client.client import Client
from cellkin.client.explaining import Asked, Predicted, explain_groups
from cellkin.client.explaining_cells import explain_cells
from cellkin.client.gene_tools import contrast, enrich
from cellkin.client.hits import joined, rectangles
from cellkin.client.labels.annotation import storable
from cellkin.client.labels.labeling import Settings
from cellkin.client.labels.summary import summary
from cellkin.client.placing import annotated, embed, place, target_of
from cellkin.client.queries import WholeQuery, open_query, require_anndata
from cellkin.client.results.cells import CellHits
from cellkin.client.session import connected, shown_progress, tell
from cellkin.client.transport.errors import AnswerWarning
from cellkin.matrices.features import hinting
from cellkin.matrices.held import held_cells
from cellkin.matrices.matrix import MAX_CELLS
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.terms import ExpressionUnits

__all__ = [
    "annotate",
    "contrast",
    "embed",
    "enrich",
    "explain",
    "hits_table",
    "place",
    "search_cells",
]
_MOST_HITS = 400_000
"""Maximum number of hits per message."""


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
        The client; None for one from the environment.
    key_added
        Prefix of the names of the results.
    layer, use_raw
        The matrix to read instead of X.
    gene_column
        The column of ``var`` with the gene names; None for ``var_names``.
    units
        Units of the values: ``counts``, ``cp10k``, ``log1p`` or ``log2``; None infers them.
    modality
        For a path: the modality to read from a file of several; None for gene expression.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.
    min_probability
        Minimum probability of a label, in (0, 1]; None for the value stored with the index.
    novelty_limit
        Cells of higher novelty are unknown; None for the limit stored with the index.
    false_alarms
        Share of known cells that may be called unknown for their novelty, in [0.001, 0.5]; given
        instead of a limit, which the index then derives from held-out cells.
    probabilities
        Whether to store the probability of every label.
    space
        ``text`` or ``expression``; None lets the server choose by the shared genes.
    exclude_batches
        Batches of the reference that do not vote; labels then depend on neighbors alone.
    clusters
        A column of ``obs``, such as ``leiden``, whose clusters get one label each; not for blocks.
    resume
        Checkpoint folder for results as they arrive. If it is given again after an interrupt, cells
        with results are compared but not sent again.
    copy
        Whether to return a copy with the results and leave ``adata`` unchanged.

    Returns
    -------
    AnnData, Annotation or None
        For a path or blocks, the ``Annotation``. For AnnData, the copy if requested, else None;
        these fields are added:

        ``obs['cellkin_label']``
            categorical, a label or ``unknown``.
        ``obs['cellkin_winner']``
            categorical, the most probable label, also for unknown cells; missing if no gene
            matched.
        ``obs['cellkin_probability']``
            float32 in [0, 1], calibrated probability of the label; NaN if ``unknown``.
        ``obs['cellkin_winner_probability']``
            float32 in [0, 1], calibrated probability of the most probable label.
        ``obs['cellkin_runner_up']``, ``obs['cellkin_runner_up_probability']``
            categorical and float32 in [0, 1], the second most probable label; missing if there is
            none.
        ``obs['cellkin_support']``, ``obs['cellkin_n_votes']``
            float32 in [0, 1] and uint8, share and number of the neighbors' votes; not a
            probability.
        ``obs['cellkin_novelty']``
            float32, in standard deviations of the label's own cells.
        ``obs['cellkin_unknown']``, ``obs['cellkin_reason']``
            bool, and the reason; empty if the label is known.
        ``obs['cellkin_matched_share']``
            float32 in [0, 1], share of the cell's expression in matched genes with a vector.
        ``obs['cellkin_fallback']``
            categorical, an ancestor, if labels are paths.
        ``obs['cellkin_cluster_label']``, ``uns['cellkin']['clusters']``
            with ``clusters``: the label of each cell's cluster; and a table of each cluster's
            label, confidence in [0, 1], most probable label if one is forced, cells and split, see
            ``cellkin.client.labels.clusters.Clusters``. ``uns['cellkin']['cluster_split']`` has one
            row per cluster and label.
        ``obsm['cellkin_route_shares']``
            (n_cells, n_routes) float32 in [0, 1], share of the expression by route, in the order of
            ``uns['cellkin']['routes']``.
        ``obsm['cellkin_probabilities']``
            with ``probabilities``: (n_cells, n_labels) float32 in [0, 1], in the order of
            ``uns['cellkin']['labels']``.
        ``var['cellkin_gene_id']``, ``var['cellkin_match']``, ``var['cellkin_text']``
            how each gene was read.
        ``uns['cellkin_label_colors']``, and the same for the winner, runner-up and cluster label
            colors of the categories, fixed by the reference's labels; ``unknown`` is gray.
        ``uns['cellkin']``
            all versions and settings, from which `reproduce` repeats the request. ``warnings`` is a
            table of warnings about the labels (``reason``, ``message``, ``labels``).
            ``sample_check`` reports, for foreign genes, whether the sample belongs to the
            reference: ``verdict``, ``confirmed_share`` and a table ``labels``; empty if it was not
            checked.

    Warns
    -----
    AnswerWarning
        For each warning about the labels, such as that the sample does not belong to the reference,
        or that this could not be decided.

    Raises
    ------
    InvalidArgumentError
        If cells have another type, or values are centered, scaled or not finite; raised before
        anything is sent.
    GenesUnmatchedError
        If too few genes match; no cell is labeled.
    NotFoundError
        If the index or the column of clusters does not exist.
    CheckpointError
        If the checkpoint is from another query, other versions or other settings.
    """
    held = isinstance(adata, anndata.AnnData)
    if copy and not held:
        raise InvalidArgumentError("copy is for AnnData; a path or blocks give an Annotation")
    target = target_of(adata, copy) if held else adata
    how = ReadOptions(layer, use_raw, modality, gene_column, units)
    settings = Settings(
        index, taxon, min_probability, space, tuple(exclude_batches), novelty_limit=novelty_limit,
        false_alarms=false_alarms, probabilities=probabilities,
    )  # fmt: skip
    annotation = annotated(target, client, settings, how, resume, clusters)
    for said in annotation.weaknesses():
        warnings.warn(said, AnswerWarning, stacklevel=3)  # past `typed`
    tell(summary(annotation))
    if not held:
        return annotation
    annotation.add_to(target, key_added)
    target.uns[key_added] = annotation.uns()
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
        Neighbors per cell, 1 to 1000.
    filters
        Only reference cells that pass all filters are hits.
    exact
        Whether to compare with every reference cell, exactly.
    space
        ``text`` or ``expression``; None lets the server choose by the shared genes.
    key_added
        Name of the results.

    Returns
    -------
    AnnData or None
        The copy if requested. ``obsm['cellkin_hits']`` is (n_cells, k) int64, rows of the
        reference, best first, -1 if there are fewer; ``obsm['cellkin_hits_similarity']`` is
        (n_cells, k) float32 cosine similarities in [-1, 1], NaN if there are fewer.
        ``uns['cellkin_hits']`` has the versions, the space and a table ``cells`` of the hit
        reference cells, by row. `hits_table` joins them.

    Raises
    ------
    InvalidArgumentError
        If values are not valid expression, or k is out of range.
    GenesUnmatchedError, NotFoundError
        As `annotate`.
    """
    target = target_of(adata, copy)
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
    tell(
        f"{len(found.rows):,} neighbors of {len(rows):,} cells found in {report.versions.index} by "
        f"{report.space}; tl.hits_table lists them"
    )
    return target if copy else None


def hits_table(adata: anndata.AnnData, key: str = "cellkin_hits") -> pd.DataFrame:
    """Return the reference cells nearest to each cell as one table.

    Parameters
    ----------
    adata
        Cells with the results of `search_cells`, or a subset of them.
    key
        Name of the results.

    Returns
    -------
    DataFrame
        One row per hit, cells in order and best hits first: ``cell``, its name; ``rank`` from 1;
        ``neighbor``, ``label`` and ``batch`` of the reference cell; ``cosine`` float32 in [-1, 1].

    Raises
    ------
    NotFoundError
        If the results are missing.
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
    """Explain the label of each cell or group of cells by exact, additive gene contributions.

    Parameters
    ----------
    adata
        As for `annotate`; select cells first, such as ``adata[:10].copy()``, or give ``by``.
    index, client, layer, use_raw, gene_column, units, taxon, copy
        As for `annotate`.
    by
        A column of ``obs``, such as ``cellkin_label`` or ``leiden``, to explain the mean of each of
        its groups, over up to 4096 evenly spaced cells per group.
    label
        The label to explain. Empty for the most probable one of each cell by `annotate`, or if it
        was not run, the one whose mean is nearest; for a group, the group's own name, or its most
        probable label if the index has no label of that name.
    against
        The label to compare with: contributions, score and remainder are then those of the label
        minus those of this one. Empty for the second label of each cell by `annotate`, or for a
        group the most probable other one; none if it was not run, or a cell's label is given.
    n_genes
        Genes to list per cell or group, 1 to 1000.
    space
        As for `annotate`: the space of the label.
    key
        Prefix of the results of `annotate`, from which the most probable labels are read.
    key_added
        Name of the results.

    Returns
    -------
    AnnData or None
        The copy if requested. ``uns['cellkin_explained']`` has the versions, ``space`` and two
        tables. Without ``by`` these are ``genes``, one row per cell and gene (``cell``, ``label``,
        ``gene_id``, ``symbol``, ``weight``, ``contribution``), and ``cells``, one row per cell with
        its ``label``, the one compared with (``against``), the sum of all contributions
        (``score``), the cosine similarity to the label's mean (``similarity``) and the sum of the
        contributions of genes not listed (``remainder``). With
        ``by`` they are ``genes``, one row per group and gene (``group``, ``label``, ``against``,
        ``n_cells``, ``gene``, ``contribution``, ``weight``, ``gene_id``; ``mean_in``, ``mean_out``,
        mean log1p of counts per 10,000 in the group and in all other cells; ``detected_in``,
        ``detected_out``, share of these cells; ``text``, the gene's text source), ``groups``, one
        row per group with the same sums, ``chosen``, why that label is explained, and
        ``n_explained``, the number of cells in the mean, and ``nearest``, the reference cells
        nearest to most of up to 64 cells of each group.

    Raises
    ------
    InvalidArgumentError
        If values are not valid expression, or the reference lacks a label.
    NotFoundError
        If the index or column does not exist, or a group is not named like a label of the index and
        `annotate` was not run.
    GenesUnmatchedError
        As `annotate`.
    """
    target = target_of(adata, copy)
    if by is not None and by not in target.obs:
        raise NotFoundError(f"no obs column {by!r}; there is: {', '.join(target.obs) or 'none'}")
    asked = Asked(index, taxon, space, n_genes, label, against)
    how = ReadOptions(layer, use_raw, gene_column=gene_column, units=units)
    query = WholeQuery(held_cells(target, how))
    with (
        hinting(query.gene_hint),
        connected(client) as ours,
        shown_progress("explaining cells") as progress,
    ):
        predicted = Predicted.of(target.obs, key)
        if by is None:
            cells, rivals = explain_cells(ours, query, predicted, asked, progress)
            names = target.obs_names.to_numpy()
            told = {"genes": storable(cells.columns()), "cells": storable(cells.cell_columns())}
            told["genes"]["cell"] = names[told["genes"]["cell"]]
            told["cells"].index = names
            told["cells"].insert(1, "against", rivals)
            found: Any = cells
        else:
            found = explain_groups(ours, query, target.obs[by], predicted, asked, progress)
            told = {
                "genes": storable(found.columns()), "groups": storable(found.group_columns()),
                "nearest": storable(found.nearest_columns()),
            }  # fmt: skip
    target.uns[key_added] = {
        "versions": asdict(found.versions), "space": found.space, "by": by or "", **told
    }  # fmt: skip
    what = f"the groups of {by}" if by else f"{target.n_obs:,} cells"
    tell(
        f"labels of {what} explained by {found.versions.index} in the {found.space} space: "
        f"uns[{key_added!r}] has {len(told['genes']):,} gene contributions"
    )
    return target if copy else None
