"""Labeling cells through a real server: right labels, honest unknowns, refusals, nothing lost."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from cellkin.client import Client
from cellkin.client.annotate import annotate_file
from cellkin.wire.errors import (
    GenesUnmatchedError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from cellkin.wire.terms import ExpressionUnits, GeneRoute, UnknownReason

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_annotate_writes_labels_vectors_and_every_version(
    server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    before = query_path.read_bytes()
    out = tmp_path / "out.h5ad"
    done = run_cellkin("annotate", query_path, "--index", "trio", "--server", server, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "share of expression" in done.stdout
    assert query_path.read_bytes() == before
    query = anndata.read_h5ad(query_path)
    got = anndata.read_h5ad(out)
    assert (got.X != query.X).nnz == 0
    known = ~got.obs["cellkin_unknown"].to_numpy()
    assert known.mean() > 0.9
    labels = got.obs["cellkin_label"].astype(str)
    assert (labels == got.obs["cell_type"].astype(str))[known].all()
    assert (labels[~known] == "unknown").all()
    assert got.obs["cellkin_support"].between(0, 1).all()
    assert got.obs["cellkin_n_votes"].between(0, 10).all()
    chances, novelties = got.obs["cellkin_winner_probability"], got.obs["cellkin_novelty"]
    assert chances.between(0, 1).all()
    said = got.uns["cellkin"]
    sure, near = chances >= said["min_probability"], novelties <= said["novelty_limit"]
    assert said["min_probability"] == 0.5
    assert np.isfinite(said["novelty_limit"])
    assert ((sure & near) == known).all()
    reasons = got.obs["cellkin_reason"].astype(str)
    assert (reasons[~near] == "too far").all()
    assert (said["space"], said["own_mean"]) == ("expression", False)
    assert said["shared_expression"] == pytest.approx(1)
    assert "cellkin_fallback" not in got.obs
    vectors = got.obsm["X_cellkin"]
    assert vectors.shape[0] == 60
    assert np.isfinite(vectors).all()
    shares = got.obsm["cellkin_route_shares"]
    assert shares.shape == (60, len(said["routes"]))
    symbols = shares[:, list(said["routes"]).index("symbol")]
    np.testing.assert_array_equal(got.obs["cellkin_matched_share"], symbols)
    # A tenth of the genes has no text.
    assert 0.8 < symbols.mean() < 0.95
    assert "matched share of a cell's expression: median" in done.stdout
    versions = got.uns["cellkin"]["versions"]
    assert versions["index"].startswith("trio@")
    assert versions["embedding"].startswith("random-64-7@")
    assert versions["corpus"].startswith("genes@")
    assert len(versions["space_digest"]) == 64
    assert got.uns["cellkin"]["gene_match"]["genes_used"] == "108"
    assert (got.var["cellkin_match"] == "symbol").sum() == 120
    assert (got.var["cellkin_text"] == "none").sum() == 12


def test_probabilities_are_those_of_labels(
    server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    out = tmp_path / "out.h5ad"
    run_cellkin("annotate", query_path, "--index", "trio", "--server", server, "-o", out)
    obs = anndata.read_h5ad(out).obs
    known, chances = ~obs["cellkin_unknown"], obs["cellkin_winner_probability"]
    assert (obs["cellkin_probability"][known] == chances[known]).all()
    assert obs["cellkin_probability"][~known].isna().all()
    seconds = obs["cellkin_runner_up"].astype(str)
    assert (seconds != obs["cellkin_winner"].astype(str)).all()
    assert (obs["cellkin_runner_up_probability"] <= chances).all()


def test_json_is_for_programs(server: str, query_path: Path, run_cellkin: Run) -> None:
    done = run_cellkin("annotate", query_path, "--index", "trio", "--server", server, "--json")
    answer = json.loads(done.stdout)
    assert sum(answer["label_counts"].values()) == 60
    assert answer["labels"] == ["alpha", "beta", "delta"]
    assert answer["versions"]["index"].startswith("trio@")
    by_route = answer["route_shares"]
    assert sum(by_route.values()) == pytest.approx(1)
    assert by_route["unmatched"] + by_route["symbol"] == pytest.approx(1)


def test_genes_that_do_not_match_are_never_labeled(
    server: str,
    make_cells: Callable[..., anndata.AnnData],
    tmp_path: Path,
    run_cellkin: Run,
) -> None:
    path, out = tmp_path / "alien.h5ad", tmp_path / "out.h5ad"
    make_cells(9, 3, [f"probe{i}" for i in range(120)]).write_h5ad(path)
    done = run_cellkin("annotate", path, "--index", "trio", "--server", server, "-o", out)
    assert done.returncode == 2
    assert "error: 120 gene names mean 0 genes that count, too few to label" in done.stderr
    assert "route_unmatched: 120" in done.stderr
    assert not out.exists()
    with Client(server) as client, pytest.raises(GenesUnmatchedError) as caught:
        annotate_file(client, path, "trio")
    assert caught.value.metadata["genes_used"] == "0"


@pytest.mark.parametrize("space", ["text", "expression"])
def test_an_empty_cell_is_unknown_and_the_others_are_not_disturbed(
    server: str, make_cells: Callable[..., anndata.AnnData], tmp_path: Path, space: str
) -> None:
    full = make_cells(12, 4)
    hollow = full.copy()
    counts = hollow.X.toarray()
    counts[5] = 0
    if space == "text":
        counts[5, 9] = 3  # GENE10 has no text
    hollow.X = sp.csr_matrix(counts)
    answers = []
    for name, data in (("full", full), ("hollow", hollow)):
        data.write_h5ad(tmp_path / f"{name}.h5ad")
        with Client(server) as client:
            path = tmp_path / f"{name}.h5ad"
            answers.append(annotate_file(client, path, "trio", space=space))
    was, got = answers
    assert got.unknown[5]
    assert got.labels[5] == "unknown"
    assert got.predictions.reasons[5] == UnknownReason.NO_GENE_MATCHED
    assert (got.predictions.winners[5], got.predictions.probabilities[5]) == (-1, 0)
    assert not got.predictions.vectors[5].any()
    unmatched = got.predictions.route_shares[5, GeneRoute.UNMATCHED]
    assert unmatched == got.predictions.route_shares[5].sum() == (space == "text")
    others = np.arange(12) != 5
    assert got.predictions.vectors[others].tobytes() == was.predictions.vectors[others].tobytes()
    assert list(got.labels[others]) == list(was.labels[others])


@pytest.mark.parametrize("space", ["text", "expression"])
@pytest.mark.parametrize("form", ["csc", "dense", "log1p", "scaled to 10,000", "shuffled genes"])
def test_the_form_of_a_file_does_not_change_its_labels(
    server: str, make_cells: Callable[..., anndata.AnnData], tmp_path: Path, form: str, space: str
) -> None:
    plain = make_cells(20, 5)
    other = plain.copy()
    if form == "csc":
        other.X = sp.csc_matrix(plain.X)
    elif form == "dense":
        other.X = plain.X.toarray()
    elif form == "shuffled genes":
        other = plain[:, np.random.default_rng(0).permutation(plain.n_vars)].copy()
    else:
        scaled = sp.diags(1e4 / np.asarray(plain.X.sum(axis=1)).ravel()) @ plain.X
        other.X = sp.csr_matrix(scaled.log1p() if form == "log1p" else scaled, dtype=np.float32)
    answers = []
    for name, data in (("plain", plain), ("other", other)):
        data.write_h5ad(tmp_path / f"{name}.h5ad")
        with Client(server) as client:
            path = tmp_path / f"{name}.h5ad"
            answers.append(annotate_file(client, path, "trio", space=space))
    was, got = answers
    lengths = np.linalg.norm(was.predictions.vectors, axis=1, keepdims=True)
    change = (got.predictions.vectors - was.predictions.vectors) / lengths
    np.testing.assert_allclose(change, 0, atol=2e-5)
    np.testing.assert_allclose(got.predictions.supports, was.predictions.supports, atol=2e-3)
    found, before = got.predictions, was.predictions
    np.testing.assert_allclose(found.probabilities, before.probabilities, atol=2e-3)
    np.testing.assert_allclose(found.novelties, before.novelties, atol=2e-3)
    np.testing.assert_allclose(found.route_shares, before.route_shares, atol=1e-6)
    assert list(got.winners) == list(was.winners)


def test_another_species_is_read_as_such(
    server: str, make_cells: Callable[..., anndata.AnnData], tmp_path: Path
) -> None:
    make_cells(9, 6, [f"Gene{i}" for i in range(1, 121)]).write_h5ad(tmp_path / "mouse.h5ad")
    with Client(server) as client:
        report = annotate_file(client, tmp_path / "mouse.h5ad", "trio").report
        forced = annotate_file(client, tmp_path / "mouse.h5ad", "trio", taxon=9606).report
    assert (report.match.taxon, report.match.taxon_inferred) == (10090, True)
    assert (forced.match.taxon, forced.match.taxon_inferred) == (9606, False)
    assert forced.match.by_route() == {GeneRoute.CASE_FOLDED: 120}


def test_the_floor_decides_what_is_unknown(
    server: str, make_cells: Callable[..., anndata.AnnData], tmp_path: Path
) -> None:
    # Doublets of two types, in several proportions: their neighbors disagree.
    data = make_cells(60, 9)
    data.X = sp.csr_matrix(data.X + data.X[np.roll(np.arange(60), 1)])
    data.write_h5ad(tmp_path / "doublets.h5ad")
    with Client(server) as client:
        usual = annotate_file(client, tmp_path / "doublets.h5ad", "trio")
        strict = annotate_file(client, tmp_path / "doublets.h5ad", "trio", min_probability=0.9)
    found = usual.predictions
    chances, far = found.probabilities, found.novelties > usual.report.novelty_limit
    assert 0.3 < chances.min() < 0.9
    assert (usual.report.min_probability, strict.report.min_probability) == pytest.approx(
        (0.5, 0.9)
    )
    assert list(usual.unknown) == list((chances < 0.5) | far)
    assert list(strict.unknown) == list((chances < np.float32(0.9)) | far)
    assert (strict.predictions.reasons[far] == UnknownReason.TOO_FAR).all()
    low = strict.predictions.reasons[~far & (chances < np.float32(0.9))]
    assert (low == UnknownReason.LOW_PROBABILITY).all()
    assert list(strict.winners) == list(usual.winners)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("QUERY", "--index", "nope"), "error: no cell index 'nope' in this store; there is: trio"),
        (("QUERY", "--index", "trio@2020-01-01.1"), "has no version '2020-01-01.1'; there is: "),
        (("QUERY", "--index", "Bad Name"), "error: cell index 'Bad Name': a name has up to 100"),
        (
            ("QUERY", "--index", "trio", "--min-probability", "2"),
            "error: min_probability is 2; give a number in (0, 1]",
        ),
        (("QUERY", "--index", "trio", "--taxon", "7"), "9606"),
        (("/no/such.h5ad", "--index", "trio"), "error: no file /no/such.h5ad"),
        (("QUERY", "--index", "trio", "-o", "QUERY"), "is the input itself; give another file"),
    ],
)
def test_bad_requests_are_refused(
    server: str, query_path: Path, run_cellkin: Run, arguments: tuple[str, ...], message: str
) -> None:
    given = [str(query_path) if a == "QUERY" else a for a in arguments]
    done = run_cellkin("annotate", *given, "--server", server)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_cut_short_is_refused(
    server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    cut = tmp_path / "cut.h5ad"
    cut.write_bytes(query_path.read_bytes()[:20_000])
    done = run_cellkin("annotate", cut, "--index", "trio", "--server", server)
    assert done.returncode == 2
    assert "cannot be read as .h5ad" in done.stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [(-1.0, "values down to -1; centered or scaled"), (np.nan, "some values are not finite")],
)
def test_values_that_are_no_expression_are_refused(
    server: str,
    make_cells: Callable[..., anndata.AnnData],
    tmp_path: Path,
    value: float,
    message: str,
) -> None:
    data = make_cells(6, 7)
    data.X.data[0] = value
    data.write_h5ad(tmp_path / "bad.h5ad")
    with Client(server) as client, pytest.raises(InvalidArgumentError, match=message):
        annotate_file(client, tmp_path / "bad.h5ad", "trio")


def test_no_server(query_path: Path, run_cellkin: Run) -> None:
    done = run_cellkin("annotate", query_path, "--index", "trio", "--server", "127.0.0.1:9")
    assert done.returncode == 2
    assert "error: no cellkin server answers at 127.0.0.1:9; start one with" in done.stderr
    with Client("127.0.0.1:9") as client, pytest.raises(UnavailableError):
        client.search_genes("INS")


def blocks(*parts: tuple[list[int], list[int], list[float]]) -> list[sp.csr_matrix]:
    made = []
    for indptr, columns, values in parts:
        block = sp.csr_matrix((len(indptr) - 1, 120), dtype=np.float32)
        block.indptr, block.indices = np.array(indptr), np.array(columns)
        block.data = np.array(values, np.float32)
        made.append(block)
    return made


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (([0, 2], [0, 120], [1, 1]), "columns from 0 to 120; the header has genes 0 to 119"),
        (([0, 3], [0, 1], [1, 1]), "indptr must ascend from 0 to the number of values, 2"),
        (([0, 2, 1, 2], [0, 1], [1, 1]), "indptr must ascend"),
        (([0, 2], [0], [1, 1]), "1 columns for 2 values"),
        (([0, 1], [0], [-1]), "values must be finite and not negative"),
        (([0, 1], [0], [np.inf]), "values must be finite and not negative"),
    ],
)
def test_blocks_that_are_no_matrix_are_refused(
    server: str, part: tuple[list[int], list[int], list[float]], message: str
) -> None:
    genes = [f"GENE{i}" for i in range(1, 121)]
    with Client(server) as client:
        _, answers = client.stream_predict_subtypes(
            "trio", genes, blocks(part), units=ExpressionUnits.LINEAR
        )
        with pytest.raises(InvalidArgumentError, match=message):
            list(answers)


def test_search_genes(server: str, run_cellkin: Run) -> None:
    asked = ("search", "genes", "GENE5", "--taxon", "9606", "-k", "4", "--server", server)
    done = run_cellkin(*asked, "--embedding", "random:64:7", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["gene"]["gene_id"] == 5
    similarities = [s for _, s in answer["neighbors"]]
    assert len(similarities) == 4
    assert similarities == sorted(similarities, reverse=True)
    assert all(gene["taxon"] == 9606 and gene["gene_id"] != 5 for gene, _ in answer["neighbors"])
    table = run_cellkin(*asked, "--embedding", "random:64:7")
    assert "Genes nearest to GENE5 (human, GeneID 5) in random-64-7@" in table.stdout


def test_search_genes_of_another_species(server: str) -> None:
    with Client(server) as client:
        found = client.search_genes(
            "GENE5", embedding="random:64:7", taxon=9606, target_taxon=10090
        )
    assert {gene.taxon for gene, _ in found.neighbors} == {10090}


@pytest.mark.parametrize(
    ("gene", "taxon", "k", "error", "message"),
    [
        ("NOSUCH", 9606, 1, NotFoundError, "no gene of human is called 'NOSUCH' in this corpus"),
        ("SHARED", 9606, 1, InvalidArgumentError, "'SHARED' may mean any of 2: GENE1 "),
        (" ", 9606, 1, InvalidArgumentError, "no gene was named"),
        ("GENE5", 9606, 1001, InvalidArgumentError, "k is 1001; ask for 1 to 1000 neighbors"),
        ("GENE10", 9606, 1, Exception, r"'GENE10' \(GeneID 10\) has no text in corpus genes@"),
    ],
)
def test_gene_searches_that_are_refused(
    server: str, gene: str, taxon: int, k: int, error: type[Exception], message: str
) -> None:
    with Client(server) as client, pytest.raises(error, match=message):
        client.search_genes(gene, taxon=taxon, k=k, embedding="random:64:7")


def test_the_default_embedding_is_named_when_it_is_missing(server: str) -> None:
    with (
        Client(server) as client,
        pytest.raises(
            NotFoundError,
            match="no gene embedding 'all-minilm-l6-v2' in this store; there is: random",
        ),
    ):
        client.search_genes("GENE5")


def test_blocks_are_read_in_the_callers_thread_and_only_as_answers_come(server: str) -> None:
    # A library's lock held by a thread that dies with the process would hang it at its end.
    readers, taken = set(), 0

    def reading() -> Iterator[sp.csr_matrix]:
        nonlocal taken
        for _ in range(30):
            readers.add(threading.current_thread())
            taken += 1
            yield sp.csr_matrix(np.ones((1, 120), np.float32))

    genes = [f"GENE{i}" for i in range(1, 121)]
    with Client(server) as client:
        _, answers = client.stream_predict_subtypes(
            "trio", genes, reading(), units=ExpressionUnits.LINEAR
        )
        assert taken == 0
        next(answers)
        assert 0 < taken < 10
        assert len(list(answers)) == 29
    assert readers == {threading.current_thread()}


def test_refused_queries_end_every_time(server: str, query_path: Path, run_cellkin: Run) -> None:
    for _ in range(5):
        done = run_cellkin("annotate", query_path, "--index", "nope", "--server", server)
        assert done.returncode == 2
