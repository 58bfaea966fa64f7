import gzip
from pathlib import Path

import pytest

from cellkin.wire.features import NonGene, gene_like, non_gene, non_genes

GENE_INFO = Path(__file__).parents[4] / "shared" / "data" / "ncbi" / "gene_info.gz"
MISSING = ["", " ", "nan", "NaN", "NA", "N/A", "#N/A", "<NA>", "None", "null", "-", "?"]
REGIONS = [
    "chr1:100-200", "chr1-100-200", "chrX_100_200", "1:100-2000", "X-100-2000", "chr1:0-500",
    "GL000194.1:100-200", "KI270721.1-100-2000", "chrUn_KI270742v1:1-200", "chr1:100-200:+",
    "chr2:12345:A:T",
]  # fmt: skip
CONTROLS = [
    "NegControlProbe_00042", "NegControlCodeword_0500", "UnassignedCodeword_0001", "BLANK_0001",
    "Blank-12", "antisense_SCRIB", "DeprecatedCodeword_0213", "DEPRECATED_ENSG00000000003",
    "NegPrb1", "Negative7", "SystemControl12", "FalseCode1", "Intergenic_Region_12", "ERCC-00002",
    "ERCC.00002", "__no_feature", "N_multimapping",
]  # fmt: skip
ANTIBODIES = [
    "CD3_TotalSeqB", "IgG1_control_TotalSeqB", "Mouse-IgG2a-isotype", "HTO_1", "Hashtag1",
    "CD4-ADT", "adt_CD8A", "Rat_IgG2b_ctrl",
]  # fmt: skip
GENES = [  # symbols, synonyms and ids of real genes that are nearest to the forms above
    "ERCC1", "ERCC-1", "NEGR1", "NEGR1-IT1", "HLA-A", "NKX2-1", "IGHG1", "IGHA1", "RP11-34P13.7",
    "7SK", "14-3-3", "67-11-3", "H2-K1", "CHR4_55", "Chrm-1", "CHRNA1", "Adt-1", "NA-14", "NANOG",
    "mt-Co1", "MT-ND1", "ENSG00000254647.6", "3630", "FBgn0000001", "WBGene00000001", "T01A4.1",
    "B0205.6", "Y_RNA", "ADTRP", "NULL1", "5S_rRNA", "AC006486.1", "1700001C02Rik", "GRCh38_INS",
]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (MISSING, NonGene.MISSING),
        (REGIONS, NonGene.REGION),
        (CONTROLS, NonGene.CONTROL),
        (ANTIBODIES, NonGene.ANTIBODY),
        (GENES, None),
    ],
)
def test_what_a_column_is_instead_of_a_gene(names: list[str], kind: NonGene | None) -> None:
    assert {name: non_gene(name) for name in names} == dict.fromkeys(names, kind)


def test_letter_case_does_not_make_a_control_a_gene() -> None:
    controls = [*MISSING, *CONTROLS, *ANTIBODIES]
    for spelled in (str.upper, str.lower):
        assert None not in {non_gene(spelled(name)) for name in controls}


def test_a_repeated_missing_name_is_missing_only_beside_the_first() -> None:
    names = ["nan", "INS", "nan-1", "NA.1", "nan_2", "INS-1"]
    assert non_genes(names) == dict.fromkeys((0, 2, 4), NonGene.MISSING)
    assert gene_like(names).tolist() == [False, True, False, True, False, True]


@pytest.mark.skipif(not GENE_INFO.exists(), reason=f"real gene table absent: {GENE_INFO}")
def test_no_symbol_or_synonym_of_ncbi_is_taken_for_anything_but_a_missing_word() -> None:
    with gzip.open(GENE_INFO, "rt") as lines:
        rows = [line.split("\t", 5) for line in lines][1:]
    names = {name for row in rows for name in (row[2], *row[4].split("|"))} - {"-"}
    assert len(names) > 150_000
    found = {name: kind for name in names if (kind := non_gene(name))}
    assert set(found) == {"NA", "NaN", "Nan"}  # synonyms of XK, SCN11A and Klf1
    assert set(found.values()) == {NonGene.MISSING}


def test_no_columns() -> None:
    assert gene_like([]).shape == (0,)
