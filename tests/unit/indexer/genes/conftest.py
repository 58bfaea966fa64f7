import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write lines, fields given as tuples, into a file, plain or gzip."""

    def written(name: str, *lines: str | tuple[object, ...], compress: bool = False) -> Path:
        rows = [line if isinstance(line, str) else "\t".join(map(str, line)) for line in lines]
        data = "".join(f"{row}\n" for row in rows).encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if compress else data)
        return path

    return written


@pytest.fixture
def write_gene_info(write: Write) -> Write:
    """Write a gene_info file; of its 16 columns those that are not given are absent values."""
    ahead = ("tax_id", "GeneID", "Symbol", "LocusTag", "Synonyms", "dbXrefs", "chromosome")
    middle = ("map_location", "description", "type_of_gene", "Symbol_from_nomenclature_authority")
    status = ("Full_name_from_nomenclature_authority", "Nomenclature_status")
    columns = (*ahead, *middle, *status, "Other_designations", "Modification_date", "Feature_type")

    def written(*genes: dict[str, object], name: str = "gene_info", compress: bool = False) -> Path:
        rows = [tuple(gene.get(column, "-") for column in columns) for gene in genes]
        return write(name, ("#" + columns[0], *columns[1:]), *rows, compress=compress)

    return written
