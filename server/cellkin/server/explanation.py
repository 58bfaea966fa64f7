"""Explain the label of a cell by the contributions of its genes."""

from cellkin.server.blocks import CellReader
from cellkin.server.limits import MOST_CELLS, MOST_GENES, check_names, wanted
from cellkin.server.loading import LoadedIndex
from cellkin.server.messages import index_versions
from cellkin.server.spaces import space_kind, space_name
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import Int64Vector
from cellkin.space.attribution import Attribution, attribute, attribute_expression
from cellkin.space.shared_genes import SharedGenes
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import parse_version_name

_DEFAULT_GENES = 20
_MOST_GENES = 1000
_MOST_CELLS = 64


def explain(
    version_cache: VersionCache, request: wire.ExplainCellRequest
) -> wire.ExplainCellResponse:
    """Return the contributions of genes to a label.

    Raises
    ------
    InvalidArgumentError
        If there are too many cells, or the reference does not have the label.
    GenesUnmatchedError
        If too few genes match.
    """
    header = request.header
    n_genes = wanted(request.n_genes, _DEFAULT_GENES, _MOST_GENES, "n_genes")
    check_names(header.genes, MOST_GENES, "header.genes")
    loaded = version_cache.index(parse_version_name(header.index, "cell index"))
    space = space_name(header.space)
    label = _label_row(loaded, request.label, "label")
    against = _label_row(loaded, request.against, "against")
    if against is not None and against == label:
        raise InvalidArgumentError(
            f"label and against are both {request.label!r}; give two labels", field="against"
        )
    reader = CellReader(loaded, header.genes, header.taxon, int(header.units), "header")
    cells = reader.read(request.cells)
    most = MOST_CELLS if request.mean else _MOST_CELLS
    if cells.shape[0] > most:
        raise InvalidArgumentError(
            f"{cells.shape[0]} cells to explain; send at most {most}",
            {"limit": str(most)},
            field="cells",
        )
    shared = SharedGenes.of(loaded.reference, reader.match.gene_ids)
    expression = shared.choose(loaded.reference, space)
    asked = label, against, request.mean
    if expression is None:
        text = loaded.reference.require_text()
        prototypes, gene_ids = text.classifier.prototypes, text.space.gene_ids
        explained = attribute(cells, reader.columns, text.space, prototypes, *asked)
    else:
        prototypes, gene_ids = expression.classifier.prototypes, expression.space.gene_ids
        explained = attribute_expression(
            cells, shared.columns, expression.space, prototypes, *asked
        )
    return wire.ExplainCellResponse(
        versions=index_versions(loaded.entry),
        explanations=[_message(loaded, gene_ids, found, n_genes) for found in explained],
        space=space_kind("text" if expression is None else "expression"),
    )


def _label_row(loaded: LoadedIndex, label: str, field: str) -> int | None:
    names = loaded.index.cells.label_names
    if not label:
        return None
    if label not in names:
        raise InvalidArgumentError(
            f"the reference has no label {label!r}; it has {', '.join(names[:20])}"
            + (", ..." if len(names) > 20 else ""),
            field=field,
        )
    return names.index(label)


def _message(
    loaded: LoadedIndex, gene_ids: Int64Vector, found: Attribution, n_genes: int
) -> wire.CellExplanation:
    if found.class_row < 0:
        return wire.CellExplanation()
    largest = found.largest(n_genes)
    names = loaded.genes
    gene_ids = gene_ids[found.genes[largest]]
    symbols = names.table["symbol"].take(names.gene_ids.searchsorted(gene_ids)).to_pylist()
    named = [
        wire.GeneContribution(
            gene_id=gene_id, symbol=symbol, weight=weight, contribution=contribution
        )
        for gene_id, symbol, weight, contribution in zip(
            gene_ids.tolist(),
            symbols,
            found.weights[largest].tolist(),
            found.contributions[largest].tolist(),
            strict=True,
        )
    ]
    return wire.CellExplanation(
        label=loaded.index.cells.label_names[found.class_row],
        score=found.score,
        similarity=found.similarity,
        contributions=named,
        remainder=found.score - float(found.contributions[largest].sum(dtype="f8")),
        n_remaining=len(found.genes) - len(largest),
    )
