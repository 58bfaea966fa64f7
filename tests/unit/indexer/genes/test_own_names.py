"""A corpus of the names in files: symbols and Ensembl ids meet where a file has both."""

import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellkin.indexer.genes.own_names import (
    NamedFile,
    find_corpus,
    own_names,
    publish_own_names,
    taxa_of,
)
from cellkin.matrices.options import ReadOptions
from cellkin.store.catalog import Kind
from cellkin.store.corpus import is_of_own_names, read_gene_names
from cellkin.store.schema import CORPUS
from cellkin.store.store import Store
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import VersionName
from cellkin.wire.terms import GeneRoute

N = 30
SYMBOLS = [f"GENE{i}" for i in range(N)]
IDS = [f"ENSG{i:011d}" for i in range(1, N + 1)]


def write(path: Path, names: list[str], **columns: list[str]) -> Path:
    counts = sp.csr_matrix(np.ones((4, len(names)), np.float32))
    obs = pd.DataFrame(index=[f"c{i}" for i in range(4)])
    anndata.AnnData(counts, obs, pd.DataFrame(columns, index=names)).write_h5ad(path)
    return path


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (SYMBOLS, {"biotype": ["protein_coding"] * N, "gene_ids": IDS}),
        ([f"{i}.7" for i in IDS], {"biotype": ["gene"] * N, "feature_name": SYMBOLS}),
        ([f"{s}_{i}" for s, i in zip(SYMBOLS, IDS, strict=True)], {}),
        ([f"GRCh38_{s}" for s in SYMBOLS], {"ensembl_id": IDS}),
    ],
    ids=["ids beside symbols", "symbols beside ids", "both in one", "with a genome"],
)
def test_a_file_says_symbols_and_ids_either_way(
    tmp_path: Path, names: list[str], columns: dict[str, list[str]]
) -> None:
    found = NamedFile.read(write(tmp_path / "a.h5ad", names, **columns))
    assert found.symbols == SYMBOLS
    assert found.ensembl_ids == IDS
    assert found.taxon == 9606


def test_the_index_stands_beside_a_column_that_was_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5ad", IDS, label=SYMBOLS)
    found = NamedFile.read(path, ReadOptions(gene_column="label"))
    assert (found.symbols, found.ensembl_ids) == (SYMBOLS, IDS)


def test_missing_names_are_no_genes() -> None:
    file = NamedFile.of("a", ["INS", "nan", "", "NA"], ["", "", "ENSG00000254647", ""])
    assert file.symbols == ["INS", "", "", ""]
    table = own_names([file], [9606])
    assert table["symbol"].to_pylist() == ["", "INS"]
    assert table["ensembl_ids"].to_pylist() == [["ENSG00000254647"], []]


@pytest.mark.parametrize(
    ("name", "symbol", "number"),
    [
        ("TIMM10_ENSG00000134809", "TIMM10", "ENSG00000134809"),
        ("Timm10_1", "Timm10_1", ""),
        ("TOMM20_x", "TOMM20_x", ""),
        ("Pmm2_ENSMUSG00000022711", "Pmm2", "ENSMUSG00000022711"),
        ("PARK7_ENSG00000116288", "PARK7", "ENSG00000116288"),
        ("DEPRECATED_ENSG00000254647", "DEPRECATED_ENSG00000254647", ""),
        ("ENSG00000182378.13_PAR_Y", "", "ENSG00000182378"),
        ("ENSG00000254647-1", "", "ENSG00000254647"),
        ("ensg00000254647.6", "", "ENSG00000254647"),
        ("FBgn0000008", "", "FBgn0000008"),
        ("GRCh38_TOMM20", "TOMM20", ""),
        ("GRCh38.p13_INS", "INS", ""),
        ("GRCh38-INS", "INS", ""),
        ("mm10___Ins1", "Ins1", ""),
        ("rn6_Ins1", "Ins1", ""),
        ("hg19_INS_ENSG00000254647", "INS", "ENSG00000254647"),
        ("hg19_LOC3630", "LOC3630", ""),
        ("LOC3630", "LOC3630", ""),
        ("MM10_", "MM10_", ""),
    ],
)
def test_a_name_keeps_its_symbol_and_its_id(name: str, symbol: str, number: str) -> None:
    file = NamedFile.of("a", [name])
    assert (file.symbols, file.ensembl_ids) == ([symbol], [number])


def test_genes_of_the_fly_are_told_by_their_ids() -> None:
    assert NamedFile.of("a", ["FBgn0000008", "FBgn0000014"]).taxon == 7227


def test_ids_are_no_ncbi_geneids_and_rows_ascend() -> None:
    table = own_names([NamedFile.of("a", SYMBOLS, IDS)], [9606])
    assert table.schema.equals(CORPUS)
    assert table["gene_id"].to_pylist() == list(range(-N, 0))
    assert set(table["rung"].to_pylist()) == {5}


def test_files_of_either_spelling_meet_by_one_that_has_both(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    both = NamedFile.of("both", SYMBOLS, IDS)
    entry = publish_own_names(store, "ref", [both])
    resolver = read_gene_names(store, entry).resolver
    by_symbol, by_id = resolver.resolve(SYMBOLS), resolver.resolve(IDS)
    np.testing.assert_array_equal(by_symbol.rows, by_id.rows)
    assert (by_symbol.rows >= 0).all()
    assert set(by_id.routes.tolist()) == {GeneRoute.ENSEMBL}


def test_a_symbol_of_several_ids_names_none_of_them(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    twice = NamedFile.of("a", ["TBCE", "TBCE", *SYMBOLS], ["ENSG00000284770", "ENSG00000285053",
                                                          *IDS])  # fmt: skip
    names = read_gene_names(store, publish_own_names(store, "ref", [twice]))
    found = names.resolver.resolve(["TBCE", "ENSG00000284770"])
    assert found.rows[0] == -1
    assert found.routes[0] == GeneRoute.AMBIGUOUS
    assert found.rows[1] >= 0


def test_a_newer_symbol_of_another_file_is_a_synonym() -> None:
    files = [NamedFile.of("a", ["MARCH1"], IDS[:1]), NamedFile.of("b", ["MARCHF1"], IDS[:1])]
    table = own_names(files, [9606, 9606])
    assert table["symbol"].to_pylist() == ["MARCH1"]
    assert table["synonyms"].to_pylist() == [["MARCHF1"]]


@pytest.mark.parametrize(
    ("names", "taxon"),
    [
        ([f"ENSMUSG{i:011d}" for i in range(N)], 10090),
        ([f"ENSDARG{i:011d}" for i in range(N)], 7955),
        ([f"Gene{i}" for i in range(N)] + [f"mt-Nd{i}" for i in range(5)], 10090),
        ([f"GENE{i}" for i in range(N)] + [f"MT-ND{i}" for i in range(5)], 9606),
        ([f"GENE{i}" for i in range(300)], 9606),
        ([f"Gene{i}" for i in range(300)], 10090),
        (SYMBOLS, 0),
        ([f"gene_{i}" for i in range(300)], 0),
    ],
)
def test_the_species_is_told_by_ids_marks_and_case_or_not_at_all(
    names: list[str], taxon: int
) -> None:
    assert NamedFile.of("a", names).taxon == taxon


def test_a_file_that_does_not_say_is_of_the_others_species() -> None:
    plain, human = NamedFile.of("a", SYMBOLS), NamedFile.of("b", IDS)
    assert taxa_of([plain, human]) == [9606, 9606]
    assert taxa_of([plain]) == [0]
    assert taxa_of([plain, human], 9544) == [9544, 9544]


def test_a_linked_file_joins_names_and_brings_no_gene() -> None:
    symbols, ids = NamedFile.of("a", ["INS", "GCG"]), NamedFile.of("b", IDS[:1])
    link = NamedFile.of("q", ["INS", "GENE1", "OTHER", "HLA.A"], [IDS[5], IDS[0], IDS[7], ""])
    table = own_names([symbols, ids], [9606, 9606], [link], [9606])
    rows = zip(*(table[name].to_pylist() for name in ("symbol", "ensembl_ids")), strict=True)
    assert sorted(rows) == [("GCG", []), ("GENE1", IDS[:1]), ("INS", IDS[5:6])]
    foreign = own_names([symbols], [9606], [link], [10090])
    assert foreign["symbol"].to_pylist() == ["GCG", "INS"]
    assert not any(foreign["ensembl_ids"].to_pylist())


def test_an_ambiguous_link_leaves_a_gene_as_it_was() -> None:
    link = NamedFile.of("q", ["TBCE", "TBCE"], IDS[:2])
    table = own_names([NamedFile.of("a", ["TBCE"])], [9606], [link], [9606])
    assert table["symbol"].to_pylist() == ["TBCE"]
    assert table["ensembl_ids"].to_pylist() == [[]]
    with_id = NamedFile.of("b", ["TBCE"], IDS[2:3])
    table = own_names([NamedFile.of("a", ["TBCE"]), with_id], [9606, 9606], [link], [9606])
    assert table["ensembl_ids"].to_pylist() == [IDS[2:3]]


def test_genes_of_two_species_are_different_genes() -> None:
    files = [NamedFile.of("a", SYMBOLS), NamedFile.of("b", SYMBOLS)]
    assert len(own_names(files, [9606, 9544])) == 2 * N


def test_the_same_names_are_one_version(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    file = NamedFile.of("a.h5ad", SYMBOLS, IDS)
    first, again = (publish_own_names(store, "ref", [file]) for _ in range(2))
    assert again == first
    assert is_of_own_names(first)
    assert first.manifest["taxa"] == {"a.h5ad": "human"}
    more = publish_own_names(store, "ref", [file, NamedFile.of("b", ["OTHER"])])
    assert more.version != first.version


def test_a_retracted_version_is_not_used_again(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    file = NamedFile.of("a.h5ad", SYMBOLS, IDS)
    first = publish_own_names(store, "ref", [file])
    store.catalog.retract(first, "test", force=True)
    second = publish_own_names(store, "ref", [file])
    assert second.version != first.version
    assert publish_own_names(store, "ref", [file]) == second


def test_own_names_are_not_taken_for_the_stores_corpus(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    publish_own_names(store, "ref", [NamedFile.of("a", SYMBOLS)])
    assert find_corpus(store) is None
    table = own_names([NamedFile.of("a", SYMBOLS)], [9606])
    only = store.publish_corpus("first", table, {})
    assert find_corpus(store) == only
    store.publish_corpus("second", table, {})
    with pytest.raises(InvalidArgumentError, match="--corpus"):
        find_corpus(store)
    assert find_corpus(store, VersionName("second")).name == "second"  # type: ignore[union-attr]
    usual = store.publish_corpus("genes", table, {})
    assert find_corpus(store) == usual


def test_row_numbers_are_refused_before_a_corpus_is_published(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    with pytest.raises(InvalidArgumentError, match="row numbers"):
        publish_own_names(store, "ref", [NamedFile.of("a", [str(i) for i in range(500)])])
    assert not store.catalog.view().entries(Kind.CORPUS, "names-ref")


def test_many_names_take_little_time() -> None:
    names = [f"GENE{i}" for i in range(20_000)]
    ids = [f"ENSG{i:011d}" for i in range(20_000)]
    began = time.process_time()
    own_names([NamedFile.of("a", names, ids)], [9606])
    assert time.process_time() - began < 2
