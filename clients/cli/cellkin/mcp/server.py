"""The tools: requests of a client, and their results as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import wraps
from importlib.metadata import version
from inspect import getdoc
from typing import Annotated, Any, ParamSpec

from anyio import from_thread
from pydantic import Field

from cellkin.cli.folder import Files
from cellkin.cli.records import (
    annotation_record,
    collection_record,
    contrast_record,
    embedding_rows,
    finite,
    index_record,
    index_rows,
    neighborhood_record,
)
from cellkin.client import Client
from cellkin.client.labels.labeling import Progress
from cellkin.wire.errors import CellkinError, InvalidArgumentError, NotFoundError
from cellkin.wire.failures import machine_failure
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

_INSTRUCTIONS = """\
Label single cells by the cell indexes of a cellkin server, and ask what its genes mean. Start with
list_catalog. A name without a version means the newest one; every answer names the versions it was
made from. Warnings in an answer limit what may be concluded from it: report them beside it.
"""
_N_CELLS = 1000
Given = ParamSpec("Given")
Answer = dict[str, Any]
Taxon = Annotated[
    int | str,
    Field(description="Species, NCBI taxonomy id or a name such as 'mouse'; 0 infers it."),
]
Labels = Annotated[list[str], Field(description="Labels, or with `condition` its conditions.")]
Names = Annotated[Sequence[str], Field(description="Collections of gene sets, NAME[@VERSION].")]
Index = Annotated[str, Field(description="Cell index, NAME[@VERSION_OR_ALIAS].")]


def make_server(client: Client, files: Files) -> MCPServer[Any]:
    """Return a server of the tools, to be run or called in process.

    Parameters
    ----------
    client
        Sends the requests, with its token.
    files
        The files that may be read.
    """
    server: MCPServer[Any] = MCPServer(
        "cellkin",
        title="cellkin",
        instructions=_INSTRUCTIONS,
        version=version("cellkin-client"),
        log_level="WARNING",
    )
    tools = Tools(client, files)
    reading = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
    for tool in (
        tools.list_catalog,
        tools.describe_index,
        tools.resolve_genes,
        tools.search_genes,
        tools.label_file,
        tools.contrast_subtypes,
    ):
        server.add_tool(tool, description=getdoc(tool), annotations=reading)
    return server


def _told(tool: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Make the errors of a tool readable by an agent, and its numbers JSON."""

    @wraps(tool)
    def answer(*given: Given.args, **named: Given.kwargs) -> Answer:
        try:
            return finite(tool(*given, **named))  # type: ignore[no-any-return]
        except CellkinError as error:
            raise ToolError(_sentence(error)) from error
        except Exception as error:
            failure = machine_failure(error, "the tool stopped")
            if failure is None:
                raise
            raise ToolError(_sentence(failure)) from error

    return answer


def _sentence(error: CellkinError) -> str:
    details = "; ".join(f"{key}: {value}" for key, value in sorted(error.metadata.items()))
    return f"{error.reason}: {error.message}" + (f" ({details})" if details else "")


class Tools:
    """What an agent may ask; the docstrings are what it reads.

    Parameters
    ----------
    client
        Sends the requests.
    files
        The files that may be read.
    """

    def __init__(self, client: Client, files: Files) -> None:
        self._client, self._files = client, files

    @_told
    def list_catalog(self) -> Answer:
        """List the cell indexes, gene embeddings and collections of gene sets of the server."""
        return {
            "indexes": index_rows(self._client),
            "embeddings": embedding_rows(self._client),
            "collections": [
                collection_record(each) for each in self._client.list_gene_set_collections()
            ],
        }

    @_told
    def describe_index(self, index: Index) -> Answer:
        """Describe a cell index: its labels with their number of cells, and how good they are.

        Look at accuracy, and at weak_labels: cells of types that the reference lacks are given
        these labels.
        """
        return index_record(self._client.get_cell_index(index))

    @_told
    def resolve_genes(
        self,
        names: Annotated[
            list[str], Field(description="Symbols, synonyms, Ensembl ids or NCBI GeneIDs.")
        ],
        taxon: Taxon = 0,
        index: Annotated[
            str, Field(description="Cell index; `used` then tells whether it has the gene.")
        ] = "",
    ) -> Answer:
        """Resolve gene names to NCBI GeneIDs. A name without a gene has the GeneID 0."""
        found = self._client.resolve_genes(names, taxon=taxon, index=index)
        return {
            "taxon": found.match.taxon,
            "genes": found.records(),
            "ambiguous": {name: ids.tolist() for name, ids in found.ambiguous.items()},
            "versions": asdict(found.versions),
        }

    @_told
    def search_genes(
        self,
        names: Annotated[
            Sequence[str],
            Field(description="One gene, or up to 1000 to search by their mean; else give text."),
        ] = (),
        text: Annotated[str, Field(description="A free text instead of names.")] = "",
        taxon: Taxon = 0,
        k: Annotated[int, Field(description="Neighbors, 1 to 1000.")] = 10,
        embedding: Annotated[
            str, Field(description="Gene embedding, MODEL[@VERSION]; empty for the default.")
        ] = "",
        target_taxon: Annotated[
            int | str, Field(description="Species to search; 0 for that of the genes.")
        ] = 0,
        expressed_in: Annotated[
            str, Field(description="Search only genes expressed in this cell index.")
        ] = "",
    ) -> Answer:
        """Find the genes whose texts are most similar to those of genes, or to a free text.

        It is likeness of description, no evidence that genes interact.
        """
        found = self._client.search_genes(
            (names[0] if len(names) == 1 else names) or None,
            text=text or None,
            taxon=taxon,
            k=k,
            embedding=embedding,
            target_taxon=target_taxon,
            expressed_in=expressed_in,
        )
        return neighborhood_record(found)

    @_told
    def label_file(
        self,
        path: Annotated[
            str,
            Field(
                description="A file of cells, relative to the folder of files: .h5ad, .zarr,"
                " 10x .h5 or folder, .loom, .csv, .tsv."
            ),
        ],
        index: Index,
        context: Context[Any, Any],
        taxon: Taxon = 0,
        clusters: Annotated[
            str, Field(description="Column of obs whose clusters get one label each.")
        ] = "",
        cells: Annotated[
            Sequence[str], Field(description="Names of up to 1000 cells to tell the labels of.")
        ] = (),
        layer: Annotated[str, Field(description="Read this layer instead of X.")] = "",
        raw: Annotated[bool, Field(description="Read .raw instead of X.")] = False,
    ) -> Answer:
        """Label the cells of a file by their nearest reference cells. Nothing is written.

        The answer counts the cells of each label. Cells are 'unknown' where no label can be
        claimed; forced_counts has their most probable labels.
        """
        from cellkin.client.annotate import annotate_file
        from cellkin.matrices.options import ReadOptions

        if len(cells) > _N_CELLS:
            raise InvalidArgumentError(f"{len(cells)} cells; ask for up to {_N_CELLS}")
        found = annotate_file(
            self._client,
            self._files.find(path),
            index,
            taxon=taxon,
            clusters=clusters or None,
            vectors=False,
            how=ReadOptions(layer=layer or None, raw=raw),
            progress=_progress(context),
        )
        wanted = set(cells)
        rows = [row for row in found.records() if row["cell_id"] in wanted] if cells else []
        if missing := wanted - {row["cell_id"] for row in rows}:
            raise NotFoundError(f"{path} has no cell {min(missing)!r}")
        return {**annotation_record(found), "cells": rows}

    @_told
    def contrast_subtypes(
        self,
        index: Index,
        a: Labels,
        context: Context[Any, Any],
        b: Annotated[
            Sequence[str], Field(description="Those of group b; none for all others.")
        ] = (),
        path: Annotated[
            str,
            Field(description="Compare cells of this file instead of labels of the reference."),
        ] = "",
        groups: Annotated[
            str, Field(description="With a path: the column of obs with the labels.")
        ] = "",
        condition: Annotated[
            str, Field(description="With a path: compare conditions, of this column of obs.")
        ] = "",
        label: Annotated[
            str, Field(description="With a condition: only cells of this label.")
        ] = "",
        batch: Annotated[str, Field(description="With a path: the column of obs of donors.")] = "",
        collections: Names = (),
        regulons: Annotated[
            Sequence[str], Field(description="Collections of regulons, NAME[@VERSION].")
        ] = (),
        taxon: Taxon = 0,
        n_genes: Annotated[int, Field(ge=0, description="Genes of each direction.")] = 20,
        n_sets: Annotated[int, Field(ge=1, description="Sets of each collection.")] = 20,
    ) -> Answer:
        """Compare two groups of cells by genes, gene sets and regulators.

        Statistics are positive in group a. Look at called_by_chance: how many sets are called when
        the labels of the groups are permuted.
        """
        tests: dict[str, Any] = {
            "collections": collections, "regulons": regulons, "n_sets": n_sets,
        }  # fmt: skip
        if not path:
            if named := [what for what in (groups, condition, label, batch) if what]:
                raise InvalidArgumentError(f"{named[0]!r} is of cells; give the path of a file")
            found = self._client.contrast_subtypes(index, a=a, b=b, **tests)
        else:
            from cellkin.cli.subtypes import compare_cells

            columns = (groups or None, condition or None, label or None, batch or None)
            found = compare_cells(
                self._client, self._files.find(path), index, (a, b), columns, taxon, tests, {},
                _progress(context),
            )  # fmt: skip
        return contrast_record(found, n_genes)


def _progress(context: Context[Any, Any]) -> Progress:
    """Tell the agent how far a tool is; once the agent gave up, the tool ends here."""

    def tell(done: int, total: int) -> None:
        from_thread.check_cancelled()
        from_thread.run(context.report_progress, done, total)

    return tell
