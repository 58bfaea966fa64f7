"""The real gene files, where the machine has them."""

from pathlib import Path

import pytest

from cellkin.indexer.genes.corpus import CorpusSources, build_corpus
from cellkin.indexer.genes.ncbi import read_gene_info
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import TextRung

DATA = Path(__file__).parents[5] / "shared" / "data"


@pytest.mark.skipif(
    not ((DATA / "ncbi").is_dir() and (DATA / "string").is_dir()), reason=f"no gene files in {DATA}"
)
def test_the_rungs_of_human_and_mouse(capsys: pytest.CaptureFixture[str]) -> None:
    ncbi, string = DATA / "ncbi", DATA / "string"
    assert read_gene_info(ncbi / "gene_info.gz").num_rows == 92_110
    corpus = build_corpus(
        CorpusSources(
            gene_info=ncbi / "gene_info.gz",
            gene_summary=ncbi / "gene_summary.gz",
            gene_orthologs=ncbi / "gene_orthologs.gz",
            strings=tuple(string / f"{taxon}.protein.info.v12.0.txt.gz" for taxon in (9606, 10090)),
        )
    )
    report = corpus.report
    with capsys.disabled():
        for taxon, counts in report.rungs.items():
            shown = ", ".join(f"{rung.label} {count:,}" for rung, count in counts.items())
            print(f"\n{taxon_name(taxon)}: {shown}", end="")  # noqa: T201
    assert report.summary_only == {9606: 122, 10090: 867}
    assert report.n_genes == 92_110 + 989
    assert report.rungs[9606][TextRung.OWN_SUMMARY] == 15_149
    assert report.rungs[10090][TextRung.OWN_SUMMARY] == 3_835
    assert corpus.table["text_sha256"].to_pylist().count("") == sum(
        counts[TextRung.NONE] for counts in report.rungs.values()
    )
    rows = corpus.table.filter(
        [symbol == "Rbpms" for symbol in corpus.table["symbol"].to_pylist()]
    ).to_pylist()
    assert [(row["taxon"], row["rung"], row["text_source"]) for row in rows] == [
        (10090, TextRung.STRING_FUNCTION, "STRING v12.0")
    ]
    # The paragraphs on microRNAs and on olfactory receptors.
    assert [shared.n_genes for shared in report.shared_texts[:2]] == [3_132, 1_510]
