"""Read Gene Ontology annotations: a set per term, with the genes of the terms below it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cellkin.indexer.cells.ontology import Ontology
from cellkin.indexer.genesets.named_sets import NamedSet, lines_of
from cellkin.wire.errors import InputFileError, InvalidArgumentError

_WHAT = "GAF"
_LEAST_FIELDS = 15
_SYMBOL, _QUALIFIER, _TERM, _EVIDENCE, _TAXON = 2, 3, 4, 6, 12
_NO_DATA = "ND"
_IS_TAXON = re.compile(r"taxon:\d+(\||$)")


@dataclass(frozen=True)
class GoSets:
    """The sets of an ontology and a file of annotations.

    Parameters
    ----------
    sets
        A set per term with a gene, by id: its genes and those of the terms below it.
    n_annotations
        Annotations used.
    n_negated, n_without_data
        Annotations left out because their qualifier is NOT, or their evidence code is ND.
    n_unknown_terms
        Annotations left out because their term is unknown, or obsolete without one replacement.
    """

    sets: list[NamedSet]
    n_annotations: int
    n_negated: int
    n_without_data: int
    n_unknown_terms: int


def read_go(obo: Path, gaf: Path, namespace: str = "", taxon: int = 0) -> GoSets:
    """Read gene sets from an ontology and annotations.

    Genes are annotated to a term, and so to its ancestors by ``is_a`` and ``part_of``.

    Parameters
    ----------
    obo
        The ontology, such as ``go-basic.obo``.
    gaf
        Annotations of genes to its terms, plain or gzip.
    namespace
        Only terms of this namespace, such as ``biological_process``; empty for all.
    taxon
        Only annotations of this species; 0 for the only one of the file.

    Raises
    ------
    InputFileError
        If a file is missing, damaged or of another format, or no annotation is left.
    InvalidArgumentError
        If the annotations are of several species and none is given.
    """
    ontology = Ontology.read(obo, ("is_a", "part_of"))
    annotated: dict[str, set[str]] = {}
    taxa: set[int] = set()
    n_used = n_negated = n_without_data = n_unknown = 0
    for fields in _annotations(gaf):
        # Of two species, such as host and parasite, the first is that of the gene.
        of = int(fields[_TAXON].partition("|")[0].removeprefix("taxon:"))
        if taxon and of != taxon:
            continue
        taxa.add(of)
        if "NOT" in fields[_QUALIFIER].split("|"):
            n_negated += 1
        elif fields[_EVIDENCE] == _NO_DATA:
            n_without_data += 1
        elif (term := ontology.ids.get(fields[_TERM])) is None:
            n_unknown += 1
        else:
            n_used += 1
            annotated.setdefault(term, set()).add(fields[_SYMBOL])
    if len(taxa) > 1:
        raise InvalidArgumentError(
            f"{_WHAT} file {gaf} annotates genes of {len(taxa)} species, such as "
            f"{', '.join(map(str, sorted(taxa)[:5]))}; give one with --taxon"
        )
    genes: dict[str, dict[str, float]] = {}
    for term, symbols in annotated.items():
        for above in ontology.line(term):
            if namespace in ("", ontology.namespaces.get(above)):
                genes.setdefault(above, {}).update(dict.fromkeys(symbols, 1.0))
    if not genes:
        raise InputFileError(
            f"{_WHAT} file {gaf}: no annotation of {namespace or 'the terms of ' + str(obo)}"
            + (f" in species {taxon}" if taxon else "")
        )
    sets = [
        NamedSet(f"{ontology.names[term]} ({term})", ontology.namespaces.get(term, ""), members)
        for term, members in sorted(genes.items())
    ]
    return GoSets(sets, n_used, n_negated, n_without_data, n_unknown)


def _annotations(gaf: Path) -> Iterator[list[str]]:
    for number, fields in lines_of(gaf, _WHAT):
        if fields[0].startswith("!"):
            continue
        if len(fields) < _LEAST_FIELDS or not _IS_TAXON.match(fields[_TAXON]):
            raise InputFileError(
                f"{_WHAT} file {gaf}: line {number} has {len(fields)} fields; expected the "
                "17 of GAF 2.2, with the taxon in the 13th"
            )
        yield fields
