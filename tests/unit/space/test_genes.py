"""The meaning of users' gene names: literal examples of each rule, and what holds for all names."""

import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkin.space.genes import Candidate, GeneResolver, Resolution
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.terms import GeneRoute

HUMAN, MOUSE = 9606, 10090
GENE_INFO = Path(__file__).parents[4] / "shared" / "data" / "ncbi" / "gene_info.gz"


@dataclass(frozen=True)
class Gene:
    gene_id: int
    symbol: str
    taxon: int = HUMAN
    synonyms: tuple[str, ...] = ()
    ensembl: tuple[str, ...] = ()
    former: tuple[int, ...] = ()


def resolver(genes: Sequence[Gene]) -> GeneResolver:
    return GeneResolver(
        np.array([g.gene_id for g in genes], np.int64),
        np.array([g.taxon for g in genes], np.int32),
        [g.symbol for g in genes],
        [g.synonyms for g in genes],
        [g.ensembl for g in genes],
        [g.former for g in genes],
    )


GENES = (
    Gene(60, "ACTB", ensembl=("ENSG00000075624",)),
    Gene(861, "RUNX1", ensembl=("ENSG00000159216",)),
    Gene(3122, "HLA-DRA", synonyms=("MLRW",), ensembl=("ENSG00000204287",)),
    Gene(3630, "INS", synonyms=("IDDM2", "MODY10"), ensembl=("ENSG00000254647",), former=(101,)),
    Gene(6301, "SARS1", synonyms=("SARS", "SERS"), ensembl=("ENSG00000031698",)),
    Gene(7080, "NKX2-1", synonyms=("TTF1",)),
    Gene(7270, "TTF1"),
    Gene(10628, "TXNIP", ensembl=("ENSG00000265972",)),
    Gene(11461, "Actb", MOUSE, ensembl=("ENSMUSG00000029580",)),
    Gene(11988, "Slc7a3", MOUSE, synonyms=("SLC7A1", "Cat3")),
    Gene(11987, "Slc7a1", MOUSE, synonyms=("Cat1",)),
    Gene(14955, "H19", MOUSE),
    Gene(16333, "Ins1", MOUSE, synonyms=("Ins-1", "Mody10"), ensembl=("ENSMUSG00000035804",)),
    Gene(16334, "Ins2", MOUSE, synonyms=("Mody10",), ensembl=("ENSMUSG00000000215",)),
    Gene(54938, "SARS2", synonyms=("SARS",), ensembl=("ENSG00000104835",)),
    Gene(98765, "t", MOUSE),
    Gene(98766, "T", MOUSE),
    Gene(283120, "H19"),
    Gene(338809, "C12orf74", synonyms=("Brachyury",)),
    Gene(100506403, "RUNX1", ensembl=("ENSG00000159216",)),
    Gene(102723370, "LOC102723370", ensembl=("ENSG00000171714",)),
    Gene(203859, "ANO5", ensembl=("ENSG00000171714",)),
    Gene(27121, "KCNJ13", former=(60, 102)),
    Gene(27122, "KCNJ14", former=(102,)),
    Gene(55768, "", synonyms=("NGLY1", "")),
)
ROW_OF = {gene.gene_id: row for row, gene in enumerate(GENES)}
RESOLVER = resolver(GENES)


def meaning(name: str, taxon: int = HUMAN) -> tuple[int, GeneRoute]:
    """Return the GeneID that one name means, 0 where it has no row, and the route."""
    found = RESOLVER.resolve([name], taxon)
    row = int(found.rows[0])
    return (GENES[row].gene_id if row >= 0 else 0), GeneRoute(int(found.routes[0]))


@pytest.mark.parametrize(
    ("name", "gene_id", "route"),
    [
        ("3630", 3630, GeneRoute.GENE_ID),
        ("GeneID:3630", 3630, GeneRoute.GENE_ID),
        ("LOC3630", 3630, GeneRoute.GENE_ID),  # NCBI's symbol of the gene before it had a name
        ("101", 3630, GeneRoute.GENE_ID),  # discontinued
        ("GeneID:101", 3630, GeneRoute.GENE_ID),
        ("60", 60, GeneRoute.GENE_ID),  # a current id, and a discontinued one of another gene
        ("999", 0, GeneRoute.UNMATCHED),
        ("11461", 0, GeneRoute.UNMATCHED),  # of the mouse
        ("102", 0, GeneRoute.AMBIGUOUS),
        ("LOC102723370", 102723370, GeneRoute.SYMBOL),
        ("ENSG00000254647", 3630, GeneRoute.ENSEMBL),
        ("ENSG00000254647.6", 3630, GeneRoute.ENSEMBL),
        ("ensg00000254647.6", 3630, GeneRoute.ENSEMBL),
        ("ENSG00000171714", 0, GeneRoute.AMBIGUOUS),
        ("ENSMUSG00000029580", 0, GeneRoute.UNMATCHED),
        ("INS", 3630, GeneRoute.SYMBOL),
        ("HLA-DRA", 3122, GeneRoute.SYMBOL),
        ("RUNX1", 0, GeneRoute.AMBIGUOUS),  # two genes with this symbol
        ("IDDM2", 3630, GeneRoute.SYNONYM),
        ("SARS", 0, GeneRoute.AMBIGUOUS),
        ("TTF1", 7270, GeneRoute.SYMBOL),  # also a synonym of NKX2-1
        ("NGLY1", 55768, GeneRoute.SYNONYM),
        ("", 0, GeneRoute.UNMATCHED),
        ("  ", 0, GeneRoute.UNMATCHED),
        ("-", 0, GeneRoute.UNMATCHED),
        (" INS\t", 3630, GeneRoute.SYMBOL),
        ("ins", 3630, GeneRoute.CASE_FOLDED),
        ("Iddm2", 3630, GeneRoute.CASE_FOLDED),
        ("C12ORF74", 338809, GeneRoute.CASE_FOLDED),
        ("HLA.DRA", 3122, GeneRoute.CASE_FOLDED),  # a column name of R
        ("sars", 0, GeneRoute.AMBIGUOUS),
        ("RP11-206L10.2", 0, GeneRoute.UNMATCHED),
    ],
)
def test_one_name(name: str, gene_id: int, route: GeneRoute) -> None:
    assert meaning(name) == (gene_id, route)


@pytest.mark.parametrize(
    ("name", "gene_id", "route"),
    [
        ("ACTB", 11461, GeneRoute.CASE_FOLDED),
        ("Mody10", 0, GeneRoute.AMBIGUOUS),
        ("T", 98766, GeneRoute.SYMBOL),
        ("t", 98765, GeneRoute.SYMBOL),
        ("CAT1", 11987, GeneRoute.CASE_FOLDED),
        # A synonym of Slc7a3, letter for letter, but in a list in capitals it stands for Slc7a1.
        ("SLC7A1", 0, GeneRoute.AMBIGUOUS),
        ("Ins.1", 16333, GeneRoute.CASE_FOLDED),
    ],
)
def test_one_name_of_the_mouse(name: str, gene_id: int, route: GeneRoute) -> None:
    assert meaning(name, MOUSE) == (gene_id, route)


def test_names_that_differ_only_in_case_are_ambiguous_in_a_third_spelling() -> None:
    found = resolver([Gene(1, "Ab"), Gene(2, "aB")]).resolve(["Ab", "aB", "AB"])
    assert found.rows.tolist() == [0, 1, -1]
    assert found.ambiguous == {"AB": (1, 2)}


@pytest.mark.parametrize(
    ("name", "gene_id", "route"),
    [
        ("INS_ENSG00000254647", 3630, GeneRoute.ENSEMBL),
        ("ENSG00000254647_INS", 3630, GeneRoute.ENSEMBL),
        ("INS|ENSG00000254647.6", 3630, GeneRoute.ENSEMBL),
        ("ENSG00000254647.6|INS", 3630, GeneRoute.ENSEMBL),
        ("INS-ENSG00000254647", 3630, GeneRoute.ENSEMBL),  # what Seurat makes of the first
        ("HLA-DRA_ENSG00000204287", 3122, GeneRoute.ENSEMBL),
        ("ENSG00000254647.6_PAR_Y", 3630, GeneRoute.ENSEMBL),
        ("ENSG00000254647-1", 3630, GeneRoute.ENSEMBL),
        ("ENSG00000999999-60", 0, GeneRoute.UNMATCHED),  # what follows is no GeneID
        ("ACTB_ENSG00000254647", 3630, GeneRoute.ENSEMBL),  # the halves disagree
        ("TXNIP_ENSG00000117289", 10628, GeneRoute.SYMBOL),  # a retired Ensembl id
        ("TXNIP |ENSG00000117289", 10628, GeneRoute.SYMBOL),
        ("IDDM2_ENSG00000999999", 3630, GeneRoute.SYNONYM),
        ("txnip_ENSG00000117289", 10628, GeneRoute.CASE_FOLDED),
        ("SARS_ENSG00000999999", 0, GeneRoute.AMBIGUOUS),
        ("SARS_ENSG00000104835", 54938, GeneRoute.ENSEMBL),
        ("ANO5_ENSG00000171714", 203859, GeneRoute.ENSEMBL),  # the symbol says which of the two
        ("INS_ENSG00000171714", 0, GeneRoute.AMBIGUOUS),
        ("RUNX1_ENSG00000159216", 0, GeneRoute.AMBIGUOUS),
        ("Actb_ENSMUSG00000029580", 0, GeneRoute.UNMATCHED),  # a mouse gene is no human gene
        ("GRCh38_INS", 3630, GeneRoute.SYMBOL),
        ("GRCh38___INS", 3630, GeneRoute.SYMBOL),
        ("hg19_INS", 3630, GeneRoute.SYMBOL),
        ("GRCh38-INS", 3630, GeneRoute.SYMBOL),
        ("GRCh38_ins", 3630, GeneRoute.CASE_FOLDED),
        ("GRCh38_3630", 3630, GeneRoute.GENE_ID),
        ("GRCh38_ENSG00000254647.6", 3630, GeneRoute.ENSEMBL),
        ("GRCh38_INS_ENSG00000254647", 3630, GeneRoute.ENSEMBL),
        ("mm10_Actb", 0, GeneRoute.UNMATCHED),
        ("mm10_INS", 0, GeneRoute.UNMATCHED),
        ("GRCh38_", 0, GeneRoute.UNMATCHED),
        ("HG1-60", 0, GeneRoute.UNMATCHED),  # no assembly, so no GeneID
    ],
)
def test_composites_and_prefixes(name: str, gene_id: int, route: GeneRoute) -> None:
    assert meaning(name) == (gene_id, route)


@pytest.mark.parametrize("name", ["GRCh38_3", "B_ENSG00000000001", "A|B", "GeneID:7"])
def test_a_name_that_is_a_symbol_as_it_stands_is_not_taken_apart(name: str) -> None:
    genes = [Gene(3, "A"), Gene(7, "B", ensembl=("ENSG00000000001",)), Gene(9, name)]
    assert resolver(genes).resolve([name]).rows.tolist() == [2]


def test_mixed_species_prefixes_keep_to_the_species() -> None:
    names = ["mm10_Actb", "GRCh38_ACTB", "mm10_Ins1", "mm10_T"]
    found = RESOLVER.resolve(names)
    assert found.taxon == MOUSE
    assert found.rows.tolist() == [ROW_OF[11461], -1, ROW_OF[16333], ROW_OF[98766]]


class TestRepeatedNames:
    @pytest.mark.parametrize("repeated", ["ACTB-1", "ACTB-2", "ACTB.1"])
    def test_the_suffix_comes_off_beside_its_symbol(self, repeated: str) -> None:
        found = RESOLVER.resolve(["INS", repeated, "ACTB"], HUMAN)
        assert found.rows.tolist() == [ROW_OF[3630], ROW_OF[60], ROW_OF[60]]
        assert found.routes.tolist() == [GeneRoute.SYMBOL] * 3
        assert found.duplicates == {60: (repeated, "ACTB")}

    @pytest.mark.parametrize(
        "names",
        [
            ["ACTB-1"],  # the symbol is not given
            ["actb", "ACTB-1"],  # nor here
            ["IDDM2", "IDDM2-1"],  # a synonym
            ["ACTB", "ACTB-0"],
            ["ACTB", "ACTB_1"],
            ["ACTB", "ACTB-1-1"],
        ],
    )
    def test_the_suffix_stays_otherwise(self, names: list[str]) -> None:
        assert RESOLVER.resolve(names, HUMAN).routes[-1] == GeneRoute.UNMATCHED

    @pytest.mark.parametrize("repeated", ["SRF-1", "SRF-2", "SRF.1", "SRF-13"])
    def test_comes_before_the_synonym_of_another_gene(self, repeated: str) -> None:
        genes = [Gene(1, "SRF"), Gene(2, "SPATA6", synonyms=("SRF-1", "SRF-2", "srf-13"))]
        one = resolver(genes)
        found = one.resolve([repeated, "SRF", repeated])
        assert found.rows.tolist() == [0, 0, 0]
        assert found.routes.tolist() == [GeneRoute.SYMBOL] * 3
        alone = one.resolve([repeated, "SPATA6"])  # where the symbol is not beside it
        assert alone.rows.tolist() == [1, 1]

    def test_comes_after_the_current_symbol_of_another_gene(self) -> None:
        genes = [Gene(1, "NKX2"), Gene(2, "NKX2-1"), Gene(3, "MIR1", synonyms=("NKX2-1",))]
        found = resolver(genes).resolve(["NKX2", "NKX2-1", "nkx2-1", "NKX2.1"])
        assert found.rows.tolist() == [0, 1, 1, 1]

    def test_in_one_species_says_nothing_of_another(self) -> None:
        genes = [Gene(1, "SRF"), Gene(2, "Srf", MOUSE), Gene(3, "Spata6", MOUSE, ("SRF-1",))]
        assert resolver(genes).resolve(["SRF", "SRF-1"], MOUSE).rows.tolist() == [1, 2]

    def test_the_suffix_comes_off_a_prefixed_name(self) -> None:
        found = RESOLVER.resolve(["GRCh38_ACTB-1", "GRCh38_ACTB"])
        assert found.rows.tolist() == [ROW_OF[60], ROW_OF[60]]

    def test_a_repeated_ambiguous_symbol_is_ambiguous(self) -> None:
        found = RESOLVER.resolve(["RUNX1", "RUNX1-1"], HUMAN)
        assert found.ambiguous == {"RUNX1": (861, 100506403), "RUNX1-1": (861, 100506403)}


class TestMissingNames:
    GENES = (
        Gene(6336, "SCN11A", synonyms=("NaN", "None", "null", "N/A", "na-1")),
        Gene(7504, "XK", synonyms=("NA", "NA-14", "<NA>")),
        Gene(32571, "nan", 7227),
        Gene(31, "na", 7227),
        Gene(32, "Nrx", 7227, ("NULL",)),
    )

    @pytest.mark.parametrize(
        "word", ["", "nan", "NaN", "NAN", "NA", "na", "N/A", "None", "NONE", "null", "<NA>", " NA "]
    )
    def test_mean_no_gene_by_synonym_or_spelling(self, word: str) -> None:
        one = resolver(self.GENES)
        for found in (one.resolve([word], HUMAN), one.resolve([word, "XK", f"{word.strip()}-1"])):
            assert found.rows[0] == -1
            assert found.routes[0] == GeneRoute.UNMATCHED
        assert one.find(word, HUMAN).candidates == ()

    def test_are_a_gene_whose_current_symbol_is_so_spelled(self) -> None:
        one = resolver(self.GENES)
        assert one.resolve(["nan", "na", "NA", "Nan", "NULL"], 7227).rows.tolist() == [
            2,
            3,
            *[-1] * 3,
        ]
        assert [c.gene_id for c in one.find("nan").best] == [32571]

    @pytest.mark.parametrize("others", [["nan"], ["nan-1"], ["nan.1", "nan.2"]])
    def test_are_no_gene_where_the_list_has_the_word_again(self, others: list[str]) -> None:
        found = resolver(self.GENES).resolve(["nan", *others, "Nrx"], 7227)
        assert found.rows.tolist() == [*[-1] * (1 + len(others)), 4]

    def test_made_unique_are_missing_beside_the_word(self) -> None:
        one = resolver(self.GENES)
        assert one.resolve(["NA", "NA-14", "XK"], HUMAN).rows.tolist() == [-1, -1, 1]
        assert one.resolve(["NA-14", "XK"], HUMAN).rows.tolist() == [1, 1]


class TestOtherSymbols:
    """NCBI calls the genes of the mitochondrion COX1, all data MT-CO1."""

    COLUMNS: tuple[Any, ...] = (
        np.array([4512, 5742, 3630, 17708, 9]),
        np.array([HUMAN, HUMAN, HUMAN, MOUSE, HUMAN], np.int32),
        ["MT-CO1", "PTGS1", "INS", "mt-Co1", "RNR1"],
        [["COI"], ["COX1"], [], [], []],
        [[], [], [], [], []],
        [[], [], [], [], []],
        [["COX1"], [], [], ["COX1"], ["INS"]],
    )

    def test_are_current_symbols(self) -> None:
        one = GeneResolver(*self.COLUMNS)
        found = one.resolve(["MT-CO1", "COX1", "mt-co1", "MT.CO1", "COI"], HUMAN)
        assert found.rows.tolist() == [0] * 5
        symbol, other_case = GeneRoute.SYMBOL, GeneRoute.CASE_FOLDED
        expected = [symbol, symbol, other_case, other_case, GeneRoute.SYNONYM]
        assert found.routes.tolist() == expected
        assert one.resolve(["COX1", "MT-CO1"], MOUSE).rows.tolist() == [3, 3]

    def test_of_one_gene_and_another_are_ambiguous(self) -> None:
        assert GeneResolver(*self.COLUMNS).resolve(["INS"], HUMAN).ambiguous == {"INS": (9, 3630)}


# One gene a species, by an id as Ensembl and NCBI's gene2ensembl write it.
ANY_SPECIES = {
    9544: ("INS", "ENSMMUG00000000634"),
    9823: ("INS", "ENSSSCG00000035583"),
    9031: ("INS", "ENSGALG00000034280"),
    7955: ("ins", "ENSDARG00000034656"),
    7227: ("Ilp2", "FBgn0036046"),
    6239: ("ins-1", "WBGene00002084"),
    559292: ("TFC3", "YAL001C"),
    3702: ("NAC001", "AT1G01010"),
    1111: ("Ins", "ENSXYZG00000000001"),  # of which nothing is known but the corpus
}
ANY = resolver(
    [
        Gene(row + 1, symbol, taxon, ensembl=(ensembl,))
        for row, (taxon, (symbol, ensembl)) in enumerate(ANY_SPECIES.items())
    ]
)


PREFIXED = [
    taxon for taxon, (_, ensembl) in ANY_SPECIES.items() if ensembl[:2] in ("EN", "FB", "WB")
]


@pytest.mark.parametrize("taxon", ANY_SPECIES)
def test_any_species_is_inferred_from_its_ids(taxon: int) -> None:
    found = ANY.resolve([ANY_SPECIES[taxon][1]])
    assert (found.taxon, found.rows.tolist()) == (taxon, [list(ANY_SPECIES).index(taxon)])
    assert found.routes.tolist() == [GeneRoute.ENSEMBL]


@pytest.mark.parametrize("taxon", PREFIXED)
@pytest.mark.parametrize("form", ["{id}.2", "{symbol}_{id}", "{id}|{symbol}", "{id}-1", "{lower}"])
def test_ids_of_any_species_are_read_in_every_form(taxon: int, form: str) -> None:
    symbol, ensembl = ANY_SPECIES[taxon]
    found = ANY.resolve([form.format(id=ensembl, symbol=symbol, lower=ensembl.lower())])
    assert (found.taxon, found.rows.tolist()) == (taxon, [list(ANY_SPECIES).index(taxon)])
    assert found.routes.tolist() == [GeneRoute.ENSEMBL]


@pytest.mark.parametrize("taxon", PREFIXED)
def test_the_prefix_of_an_id_states_the_species(taxon: int) -> None:
    ensembl = ANY_SPECIES[taxon][1]
    prefix = ensembl.rstrip("0123456789")
    unknown = prefix + "9" * (len(ensembl) - len(prefix))  # an id that the corpus does not have
    other = next(t for t in ANY_SPECIES if t != taxon)
    name = f"{ANY_SPECIES[other][0]}_{unknown}"
    assert ANY.resolve([name], other).routes.tolist() == [GeneRoute.UNMATCHED]


def test_of_species_that_fit_equally_the_one_used_most_is_meant() -> None:
    genes = [Gene(1, "INS", 9031), Gene(2, "INS", 9544), Gene(3, "INS", 1), Gene(4, "INS", HUMAN)]
    assert resolver(genes).resolve(["INS"]).taxon == HUMAN
    assert resolver(genes[:-1]).resolve(["INS"]).taxon == 9544


@pytest.mark.parametrize("probe", ["DEPRECATED_ENSG00000254647", "antisense_ENSG00000254647"])
def test_a_probe_that_does_not_measure_a_gene_is_not_read_as_its_id(probe: str) -> None:
    assert meaning(probe) == (0, GeneRoute.UNMATCHED)


@pytest.mark.parametrize("name", ["GRCz11_ins", "danRer11_ins", "GRCg7b_INS", "dm6_Ilp2"])
def test_assemblies_of_other_species_are_prefixes(name: str) -> None:
    taxon = {"z": 7955, "n": 7955, "g": 9031, "6": 7227}[name[3] if name[0] == "G" else name[2]]
    assert ANY.resolve([name], taxon).routes.tolist() == [GeneRoute.SYMBOL]
    assert ANY.resolve([name], 9544).routes.tolist() == [GeneRoute.UNMATCHED]


class TestSpecies:
    @pytest.mark.parametrize(
        ("names", "taxon"),
        [
            (["INS", "ACTB", "Actb"], HUMAN),
            (["Ins1", "Actb", "ACTB"], MOUSE),
            (["ENSMUSG00000029580.14", "16334", "INS"], MOUSE),
            (["H19"], HUMAN),  # a symbol of both: the lowest id
            (["INS", "Cat1", "Cat3"], HUMAN),  # a symbol weighs more than any synonyms
            (["H19", "Cat1"], MOUSE),  # as many symbols, more synonyms
            (["H19", "actb", "ins1", "slc7a1"], HUMAN),  # spelling does not count
            (["ins1"], MOUSE),  # unless nothing else is met
        ],
    )
    def test_is_inferred(self, names: list[str], taxon: int) -> None:
        found = RESOLVER.resolve(names)
        assert (found.taxon, found.taxon_inferred) == (taxon, True)

    def test_is_taken_as_given(self) -> None:
        found = RESOLVER.resolve(["INS", "ACTB"], MOUSE)
        assert (found.taxon, found.taxon_inferred) == (MOUSE, False)
        assert found.rows.tolist() == [-1, ROW_OF[11461]]

    @pytest.mark.parametrize("names", [[], ["foo", "bar-1", ""]])
    def test_is_unknown_where_nothing_is_met(self, names: list[str]) -> None:
        found = RESOLVER.resolve(names)
        assert (found.taxon, found.taxon_inferred) == (0, False)
        assert found.rows.tolist() == [-1] * len(names)
        assert found.routes.tolist() == [GeneRoute.UNMATCHED] * len(names)

    def test_is_inferred_where_all_is_ambiguous(self) -> None:
        found = RESOLVER.resolve(["Mody10"])
        assert found.taxon == MOUSE
        assert found.ambiguous == {"Mody10": (16333, 16334)}

    @pytest.mark.parametrize("ask", ["resolve", "find"])
    def test_absent_from_the_corpus(self, ask: str) -> None:
        with pytest.raises(NotFoundError) as caught:
            RESOLVER.resolve(["INS"], 7955) if ask == "resolve" else RESOLVER.find("INS", 7955)
        assert caught.value.message == (
            "no gene of species 7955 (zebrafish) in the corpus; its species are 9606 (human), "
            "10090 (mouse): name one of these, or none to infer it from the gene names"
        )
        assert caught.value.metadata == {"taxon": "7955"}

    def test_of_an_empty_corpus(self) -> None:
        assert resolver([]).resolve(["INS"]).taxon == 0
        with pytest.raises(NotFoundError, match="its species are none"):
            resolver([]).resolve(["INS"], HUMAN)


def test_dtypes_and_report() -> None:
    names = ["SARS ", "INS", "IDDM2", "ACTB", "INS", "foo"]
    found = RESOLVER.resolve(names)
    assert found.rows.dtype == np.int64
    assert found.routes.dtype == np.uint8
    assert found.rows.tolist() == [-1, ROW_OF[3630], ROW_OF[3630], ROW_OF[60], ROW_OF[3630], -1]
    assert found.ambiguous == {"SARS ": (6301, 54938)}
    assert found.duplicates == {3630: ("INS", "IDDM2", "INS")}


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        GeneResolver(np.array([1, 2]), np.array([9606], np.int32), ["A"], [()], [()], [()])
    assert caught.value.message == (
        "gene ids, taxa, symbols, synonyms, Ensembl ids and former ids have 2, 1, 1, 1, 1, 1 "
        "entries: give one of each for every gene"
    )


class TestFind:
    def test_best_route_first(self) -> None:
        found = RESOLVER.find(" Actb")
        assert found.name == " Actb"
        assert found.candidates == (
            Candidate(ROW_OF[11461], 11461, MOUSE, GeneRoute.SYMBOL),
            Candidate(ROW_OF[60], 60, HUMAN, GeneRoute.CASE_FOLDED),
        )
        assert found.best == found.candidates[:1]

    def test_a_symbol_of_two_species_has_two_best(self) -> None:
        assert [c.gene_id for c in RESOLVER.find("H19").best] == [283120, 14955]
        assert [c.gene_id for c in RESOLVER.find("H19", MOUSE).best] == [14955]

    def test_an_ambiguous_name_has_its_genes_and_how_they_are_met(self) -> None:
        found = RESOLVER.find("ENSG00000171714")
        assert [(c.gene_id, c.route) for c in found.candidates] == [
            (203859, GeneRoute.ENSEMBL),
            (102723370, GeneRoute.ENSEMBL),
        ]

    def test_nothing(self) -> None:
        assert RESOLVER.find("foo").candidates == ()
        assert RESOLVER.find("foo").best == ()


# Few names, so that they clash in every way.
NAMES = ("A1", "a1", "A-1", "A.1", "A", "a", "B_2", "B", "b", "A-1-1", "7", "12")
ENSEMBL = ("ENSG00000000001", "ENSG00000000002", "ENSG00000000003")


def few(values: Sequence[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), max_size=2).map(tuple)


CORPORA = st.lists(
    st.builds(
        Gene,
        st.integers(1, 14),
        st.sampled_from(("", *NAMES[:-2])),
        st.sampled_from((HUMAN, MOUSE)),
        few(NAMES),
        few(ENSEMBL),
        few(range(1, 21)),
    ),
    unique_by=lambda gene: gene.gene_id,
    min_size=1,
    max_size=6,
)
PLAIN = st.sampled_from((*NAMES, *ENSEMBL, "3", "20", "C"))
DRESSED = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(("", " ", "GRCh38_", "mm10_", "LOC", "ENSG00000000001_", "ENSG00000000009|")),
    PLAIN,
    st.sampled_from(("", "-1", ".1", "_ENSG00000000002", "|ENSG00000000009.3")),
    st.sampled_from(("", " ")),
)


def spelled(name: str) -> str:
    return name.casefold().replace(".", "-")


def plainly(genes: Sequence[Gene], taxon: int, name: str) -> tuple[GeneRoute, set[int]]:
    """Read the rules one after the other over all genes: the route, and the GeneIDs."""
    own = [g for g in genes if g.taxon == taxon]
    by_symbol = [g for g in own if g.symbol and spelled(g.symbol) == spelled(name)]
    by_synonym = [g for g in own if name in g.synonyms]
    steps = [
        (GeneRoute.GENE_ID, [g for g in own if str(g.gene_id) == name]),
        (GeneRoute.GENE_ID, [g for g in own if name in map(str, g.former)]),
        (GeneRoute.ENSEMBL, [g for g in own if name in g.ensembl]),
        (GeneRoute.SYMBOL, [g for g in own if g.symbol == name]),
        (GeneRoute.SYNONYM, by_synonym and by_synonym + by_symbol),
        (GeneRoute.CASE_FOLDED, by_symbol),
        (GeneRoute.CASE_FOLDED, [g for g in own if spelled(name) in map(spelled, g.synonyms)]),
    ]
    return next(
        ((route, {g.gene_id for g in met}) for route, met in steps if met),
        (GeneRoute.UNMATCHED, set()),
    )


def by_name(genes: Sequence[Gene], names: Sequence[str], found: Resolution) -> dict[str, object]:
    return {
        name: (int(row), int(route), found.ambiguous.get(name))
        for name, row, route in zip(names, found.rows, found.routes, strict=True)
    }


@given(CORPORA, PLAIN)
def test_a_plain_name_means_what_the_rules_say(genes: list[Gene], name: str) -> None:
    for taxon in {g.taxon for g in genes}:
        route, gene_ids = plainly(genes, taxon, name)
        found = resolver(genes).resolve([name], taxon)
        if len(gene_ids) > 1:
            assert found.routes.tolist() == [GeneRoute.AMBIGUOUS]
            assert found.ambiguous == {name: tuple(sorted(gene_ids))}
        else:
            assert found.routes.tolist() == [route]
            assert {genes[r].gene_id for r in found.rows.tolist() if r >= 0} == gene_ids


@given(CORPORA, st.lists(DRESSED, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_names_does_not_matter(
    genes: list[Gene], names: list[str], chance: random.Random
) -> None:
    shuffled = chance.sample(names, len(names))
    found, again = resolver(genes).resolve(names), resolver(genes).resolve(shuffled)
    assert found.taxon == again.taxon
    assert by_name(genes, names, found) == by_name(genes, shuffled, again)
    assert {k: sorted(v) for k, v in found.duplicates.items()} == {
        k: sorted(v) for k, v in again.duplicates.items()
    }


@given(CORPORA, st.lists(DRESSED, max_size=8))
def test_a_resolution_is_whole(genes: list[Gene], names: list[str]) -> None:
    found = resolver(genes).resolve(names)
    unmet = np.isin(found.routes, (GeneRoute.UNMATCHED, GeneRoute.AMBIGUOUS))
    assert np.array_equal(found.rows == -1, unmet)
    assert {genes[r].taxon for r in found.rows[~unmet].tolist()} <= {found.taxon}
    ambiguous = found.routes == GeneRoute.AMBIGUOUS
    assert set(found.ambiguous) == {n for n, is_so in zip(names, ambiguous, strict=True) if is_so}
    assert all(len(ids) > 1 for ids in found.ambiguous.values())
    met = [genes[r].gene_id for r in found.rows.tolist() if r >= 0]
    assert {k: len(v) for k, v in found.duplicates.items()} == {
        k: met.count(k) for k in met if met.count(k) > 1
    }


@given(CORPORA, st.lists(DRESSED, max_size=8))
def test_the_symbols_of_what_was_met_mean_the_same(genes: list[Gene], names: list[str]) -> None:
    found = resolver(genes).resolve(names)
    rows = [
        r
        for r in found.rows[found.rows >= 0].tolist()
        if [g.symbol for g in genes if g.taxon == found.taxon].count(genes[r].symbol) == 1
        and genes[r].symbol
    ]
    again = resolver(genes).resolve([genes[r].symbol for r in rows], found.taxon)
    assert again.rows.tolist() == rows
    assert set(again.routes.tolist()) <= {GeneRoute.SYMBOL}


@given(CORPORA, st.sampled_from(NAMES[:-2]), st.sampled_from(ENSEMBL), st.booleans(), st.data())
def test_a_composite_agrees_with_its_parts(
    genes: list[Gene], symbol: str, ensembl: str, swapped: bool, data: st.DataObject
) -> None:
    mark = data.draw(st.sampled_from("_|-"))
    composite = f"{ensembl}{mark}{symbol}" if swapped else f"{symbol}{mark}{ensembl}"
    taxon = genes[0].taxon
    one = resolver(genes)
    whole, *parts = (one.find(name, taxon) for name in (composite, ensembl, symbol))
    by_id, by_symbol = ({c.gene_id for c in part.candidates} for part in parts)
    by_letters = {c.gene_id for c in parts[1].candidates if c.route != GeneRoute.CASE_FOLDED}
    agreed = by_id & by_letters
    expected = by_symbol if not by_id else agreed if len(agreed) == 1 else by_id
    if taxon == MOUSE:
        expected = set()  # these Ensembl ids say that the gene is human
    assert {c.gene_id for c in whole.candidates} == expected


@pytest.mark.skipif(not GENE_INFO.exists(), reason=f"real gene table absent: {GENE_INFO}")
def test_the_mouse_genes_of_ncbi_are_met_by_their_own_names() -> None:
    with gzip.open(GENE_INFO, "rt") as lines:
        fields = [line.split("\t", 6) for line in lines if "|Ensembl:ENSMUSG" in line]
    genes = [
        Gene(
            int(f[1]),
            f[2],
            MOUSE,
            tuple(f[4].split("|")) if f[4] != "-" else (),
            tuple(x[8:] for x in f[5].split("|") if x.startswith("Ensembl:")),
        )
        for f in fields
    ]
    assert len(genes) > 20_000
    one = resolver(genes)
    for names in (
        [str(g.gene_id) for g in genes],
        [f" {g.symbol}" for g in genes],
        [f"{g.ensembl[0]}.4" for g in genes],
    ):
        found = one.resolve(names)
        clear = found.rows >= 0
        assert np.array_equal(found.rows[clear], np.flatnonzero(clear))
        assert clear.mean() > 0.99
