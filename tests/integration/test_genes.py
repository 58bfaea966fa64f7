"""`cellkin genes` as a user runs it, on small made tables: fetch, import, show, embed, load."""

import hashlib
import http.server
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.indexer.models.openai_server import Exchange, FakeOpenAI, vector

from cellkin.indexer.genes.fetch import NCBI_FILES
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]
DATA = Path(__file__).parents[3] / "shared" / "data"
SHARED = "A very short RNA. [provided by RefSeq, Jul 2008]"


def table(*rows: tuple[object, ...]) -> str:
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)


def gene(taxon: int, gene_id: int, symbol: str, synonyms: str, name: str) -> tuple[object, ...]:
    kind = "protein-coding"
    return (taxon, gene_id, symbol, "-", synonyms, "-", "-", "-", name, kind, *["-"] * 6)


FILES = {
    "gene_info": table(
        ("#tax_id", "GeneID", "Symbol", "LocusTag", "Synonyms", "dbXrefs", "chromosome",
         "map_location", "description", "type_of_gene", "Symbol_from_nomenclature_authority",
         "Full_name_from_nomenclature_authority", "Nomenclature_status", "Other_designations",
         "Modification_date", "Feature_type"),
        gene(9606, 1, "AAA", "OLDA|BOTH", "first gene"),
        gene(9606, 2, "BBB", "BOTH", "second gene"),
        gene(9606, 3, "CCC", "-", "-"),
        gene(9606, 4, "MIR1", "-", "microRNA 1"),
        gene(9606, 5, "MIR2", "-", "microRNA 2"),
        gene(10090, 101, "Aaa", "-", "first mouse gene"),
        gene(10090, 102, "Bbb", "-", "second mouse gene"),
    ),
    "gene_summary": table(
        ("#tax_id", "GeneID", "Source", "Summary"),
        (9606, 1, "RefSeq", "Binds RNA. [provided by RefSeq, Jul 2008]"),
        (9606, 4, "RefSeq", SHARED),
        (9606, 5, "RefSeq", SHARED),
    ),
    "gene_orthologs": table(
        ("#tax_id", "GeneID", "relationship", "Other_tax_id", "Other_GeneID"),
        (9606, 1, "Ortholog", 10090, 101),
    ),
    "gene2ensembl": table(
        ("#tax_id", "GeneID", "Ensembl_gene_identifier"), (9606, 1, "ENSG00000000001")
    ),
    "gene_history": table(("#tax_id", "GeneID", "Discontinued_GeneID"), (9606, 1, 999)),
    "9606.protein.info.v12.0.txt": table(
        ("#string_protein_id", "preferred_name", "protein_size", "annotation"),
        ("9606.P2", "BBB", 1, "Second; Cuts proteins."),
    ),
    "10090.protein.info.v12.0.txt": table(
        ("#string_protein_id", "preferred_name", "protein_size", "annotation"),
        ("10090.P9", "Zzz", 1, "Unknown; Does nothing."),
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def ask(run: Run, *arguments: str | Path) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(run: Run, *arguments: str | Path) -> str:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    return done.stderr


@pytest.fixture(scope="session")
def imported(tables: Path, tmp_path_factory: pytest.TempPathFactory, run_cellkin: Run) -> Path:
    """A store with the corpus of the small tables, to which tests add embeddings."""
    store = tmp_path_factory.mktemp("genes") / "store"
    ask(
        run_cellkin, "genes", "import", "--store", store, "--boilerplate", "1",
        "--gene-info", tables / "gene_info", "--gene-summary", tables / "gene_summary",
        "--gene-orthologs", tables / "gene_orthologs", "--gene2ensembl", tables / "gene2ensembl",
        "--gene-history", tables / "gene_history",
        "--string", tables / "9606.protein.info.v12.0.txt",
    )  # fmt: skip
    return store


def test_show_names_the_rung_and_the_source(imported: Path, run_cellkin: Run) -> None:
    corpus = Store.open(str(imported)).catalog.resolve(Kind.CORPUS, VersionName("genes"))
    for name in ("ENSG00000000001.3", "999"):
        shown = ask(run_cellkin, "genes", "show", name, "--taxon", "9606", "--store", imported)
        text = "first gene. Binds RNA."
        assert shown == (
            "gene          AAA, human\n"
            "GeneID        1\n"
            "taxon         9606\n"
            "name          first gene\n"
            "type          protein-coding\n"
            "synonyms      OLDA, BOTH\n"
            "Ensembl ids   ENSG00000000001\n"
            f"corpus        {corpus.full_name}\n"
            "text from     own summary\n"
            "source        RefSeq\n"
            "shared        2 genes rest on this summary: boilerplate, it says little of any of "
            "them\n"
            f"SHA-256       {hashlib.sha256(text.encode()).hexdigest()}\n"
            f"\n{text}\n"
        )


def test_show_flags_what_is_not_the_genes_own(imported: Path, run_cellkin: Run) -> None:
    shown = ask(run_cellkin, "genes", "show", "Aaa", "--taxon", "10090", "--store", imported)
    assert "text from     orthologue's summary\n" in shown
    assert "source        RefSeq of 9606:1 by orthology\n" in shown
    assert "text of       GeneID 1, of another species: no text of this gene itself\n" in shown
    shown = ask(run_cellkin, "genes", "show", "MIR1", "--store", imported, "--json")
    record = json.loads(shown)
    assert (record["is_boilerplate"], record["n_sharing"]) == (True, 2)
    assert (record["is_orthologs_text"], record["rung"]) == (False, "own summary")
    shown = ask(run_cellkin, "genes", "show", "CCC", "--store", imported)
    assert shown.endswith("text from     none\n")


@pytest.mark.parametrize(
    ("name", "options", "want"),
    [
        (
            "BOTH",
            [],
            "error: gene 'BOTH' may mean any of 2: AAA (human, GeneID 1), BBB (human, GeneID 2); "
            "give a taxon or a GeneID\n",
        ),
        ("XXX", [], "error: no gene is called 'XXX' in this corpus\n"),
        (
            "Bbb",
            ["--taxon", "9606", "--corpus", "other"],
            "error: no corpus 'other' in this store;",
        ),
        ("Zzz", ["--taxon", "10090"], "error: no gene of mouse is called 'Zzz' in this corpus\n"),
        ("AAA", ["--taxon", "7227"], "error: no gene of species 7227 (fly) in the corpus"),
        (" ", [], "error: no gene was named; give a symbol, synonym, Ensembl id or GeneID\n"),
    ],
)
def test_show_refuses(
    imported: Path, run_cellkin: Run, name: str, options: list[str], want: str
) -> None:
    said = refusal(run_cellkin, "genes", "show", name, "--store", imported, *options)
    assert said.startswith(want)


def test_every_option_of_an_import_is_in_the_manifest(
    tables: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    (tmp_path / "own.json").write_text('{"BBB": "My words. [provided by me]", "Nobody": "x"}')
    store = tmp_path / "store"
    manifest = json.loads(
        ask(
            run_cellkin, "genes", "import", "--store", store, "--name", "mine",
            "--gene-info", tables / "gene_info", "--gene-summary", tables / "gene_summary",
            "--string", tables / "9606.protein.info.v12.0.txt",
            "--texts", "9606", tmp_path / "own.json", "--taxon", "9606",
            "--template", "{symbol}: {summary}", "--chain", "string, own", "--boilerplate", "1",
            "--keep-provenance", "--json",
        )
    )  # fmt: skip
    assert manifest["settings"] == {
        "template": "{symbol}: {summary}",
        "chain": ["own STRING function", "own summary"],
        "summary_order": ["RefSeq", "Alliance of Genome Resources"],
        "strip_provenance": False,
        "boilerplate_threshold": 1,
    }
    assert manifest["taxa"] == [9606]
    assert manifest["texts"] == [{"taxon": 9606, "location": str(tmp_path / "own.json")}]
    assert [source["role"] for source in manifest["sources"]] == [
        "gene_info", "gene_summary", "string", "extra",
    ]  # fmt: skip
    assert manifest["rungs"]["9606"]["none"] == 1
    assert manifest["shared_texts"][0]["n_genes"] == 2
    options = ("--store", store, "--corpus", "mine", "--json")
    shown = json.loads(ask(run_cellkin, "genes", "show", "BBB", *options))
    assert shown["text"] == "BBB: Cuts proteins."
    shown = json.loads(ask(run_cellkin, "genes", "show", "AAA", *options))
    assert shown["text"] == "AAA: Binds RNA. [provided by RefSeq, Jul 2008]"
    stored = Store.open(str(store)).catalog.resolve(Kind.CORPUS, VersionName("mine")).manifest
    assert {key: stored[key] for key in ("settings", "taxa", "texts", "sources")} == {
        key: manifest[key] for key in ("settings", "taxa", "texts", "sources")
    }


@pytest.mark.parametrize(
    ("options", "want"),
    [
        (
            ["--chain", "own,orthologue"],
            "error: chain 'own,orthologue': 'orthologue' is no rung; expected some of own, string, "
            "ortholog, names, best first, with commas between\n",
        ),
        (["--chain", "own,own"], "error: chain OWN_SUMMARY, OWN_SUMMARY: expected each of "),
        (["--template", "{sumary}"], "error: template '{sumary}': unknown field {sumary};"),
        (["--taxon", "7227"], "error: NCBI gene_info file "),
        (["--gene-summary", "ftp://a.example/b"], "error: source ftp://a.example/b: expected a "),
    ],
)
def test_import_refuses(
    tables: Path, tmp_path: Path, run_cellkin: Run, options: list[str], want: str
) -> None:
    said = refusal(
        run_cellkin, "genes", "import", "--store", tmp_path / "s",
        "--gene-info", tables / "gene_info", *options,
    )  # fmt: skip
    assert said.startswith(want)
    assert not (tmp_path / "s").exists()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """A server with the small tables where NCBI and STRING have theirs."""
    folder = tmp_path / "mirror"
    release = folder / "protein.info.v12.0"
    release.mkdir(parents=True)
    for name in NCBI_FILES:
        (folder / name).write_text(FILES[name.removesuffix(".gz")])
    for name in FILES:
        if "protein.info" in name:
            (release / f"{name}.gz").write_text(FILES[name])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_what_is_fetched_can_be_imported(mirror: str, tmp_path: Path, run_cellkin: Run) -> None:
    options = (
        "--taxon", "9606", "--taxon", "10090", "--into", tmp_path / "my tables",
        "--ncbi-url", mirror, "--string-url", mirror,
    )  # fmt: skip
    done = run_cellkin("genes", "fetch", *options)
    assert done.returncode == 0, done.stderr
    assert "gene_info.gz (MiB): 0 of 0\n" in done.stderr
    digest = hashlib.sha256(FILES["gene_info"].encode()).hexdigest()
    (line,) = (line for line in done.stdout.splitlines() if " gene_info.gz " in line)
    assert digest[:16] in line
    assert " GMT " in line
    assert " new " in line
    said, command = done.stdout.splitlines()[-2:]
    assert said == "next, STORE being the folder of the store:"
    words = shlex.split(command)
    again = json.loads(ask(run_cellkin, "genes", "fetch", *options, "--json"))
    assert again["import"] == words
    assert [file["changed"] for file in again["files"]] == [False] * 7
    assert again["files"][0]["sha256"] == digest
    words[words.index("STORE")] = str(tmp_path / "store")
    manifest = json.loads(ask(run_cellkin, *words[1:], "--json"))
    assert manifest["n_genes"] == 7
    assert [source["last_modified"][-3:] for source in manifest["sources"]] == ["GMT"] * 7


def test_a_url_is_imported(mirror: str, tmp_path: Path, run_cellkin: Run) -> None:
    # What is downloaded is kept in the home folder.
    done = subprocess.run(
        [Path(sys.executable).with_name("cellkin"), "genes", "import", "--json",
         "--store", tmp_path / "s", "--gene-info", f"{mirror}/gene_info.gz"],
        env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["sources"][0]["location"] == f"{mirror}/gene_info.gz"
    assert list((tmp_path / ".cache" / "cellkin" / "downloads").glob("*/gene_info.gz"))


def test_a_file_the_server_does_not_have(mirror: str, tmp_path: Path, run_cellkin: Run) -> None:
    said = refusal(
        run_cellkin, "genes", "fetch", "--taxon", "fly", "--into", tmp_path / "t",
        "--ncbi-url", f"{mirror}/elsewhere", "--string-url", mirror,
    )  # fmt: skip
    assert f"{mirror}/elsewhere/gene_info.gz" in said
    assert "404 File not found" in said


def test_a_species_that_string_does_not_have(mirror: str, tmp_path: Path, run_cellkin: Run) -> None:
    done = run_cellkin(
        "genes", "fetch", "--taxon", "human", "--taxon", "axolotl", "--into", tmp_path / "t",
        "--ncbi-url", mirror, "--string-url", mirror,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "STRING has 1 of 2 species (9606)" in done.stdout
    words = shlex.split(done.stdout.splitlines()[-1])
    assert words.count("--string") == 1
    assert words[-4:] == ["--taxon", "9606", "--taxon", "8296"]


def test_controls_are_embedded_and_named(imported: Path, run_cellkin: Run) -> None:
    def embed(model: str) -> dict[str, object]:
        said = ask(run_cellkin, "genes", "embed", "--store", imported, "--model", model, "--json")
        made: dict[str, object] = json.loads(said)
        return made

    embed("random:8:1")
    permuted = embed("permuted:random-8-1:2")
    assert str(permuted["embedding"]).startswith("permuted-random-8-1-2@")
    assert permuted["digest"] == embed("permuted:random-8-1:2")["digest"]
    symbols = embed("symbol-only:all-minilm-l6-v2")
    assert str(symbols["embedding"]).startswith("symbol-only-all-minilm-l6-v2@")
    # AAA and Aaa, BBB and Bbb, MIR1, MIR2; CCC has no text.
    assert (symbols["n_genes"], symbols["n_embedded"], symbols["n_long"]) == (6, 6, 0)


def test_vectors_are_loaded(imported: Path, tmp_path: Path, run_cellkin: Run) -> None:
    path = tmp_path / "v.npz"
    genes = np.array(["AAA", "OLDA", "BOTH", "bbb", "XXX"])
    np.savez(path, genes=genes, vectors=np.array([[3, 4], [3, 4], [1, 1], [0, 2], [1, 0]]))
    options = ("genes", "load", path, "--store", imported, "--taxon", "9606")
    said = ask(run_cellkin, *options, "--name", "mine")
    rows = dict(re.findall(r"│ (.+?) +│ (\d+) │", said))
    assert rows == {
        "given, read as human": "5",
        "by symbol": "1",
        "by synonym": "1",
        "by symbol, other case": "1",
        "ambiguous, not used": "1",
        "unmatched": "1",
        "text: own summary": "2",
        "text: own STRING function": "1",
        "used, 2 distinct genes": "3",
    }
    assert ": 2 genes, 2 dimensions, each vector scaled to length 1\n" in said
    assert "left out: 1 names whose gene has the same vector by another\n" in said
    manifest = json.loads(ask(run_cellkin, *options, "--name", "mine", "--json"))
    assert manifest["settings"]["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    said = refusal(run_cellkin, "genes", "load", "v.pkl", "--store", imported, "--name", "mine")
    assert said.startswith("error: vectors file v.pkl: a pickle can run any code when it is opened")


def test_a_killed_run_never_pays_twice(
    tmp_path: Path,
    make_corpus: Callable[[], pa.Table],
    run_cellkin: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store.create(str(tmp_path / "store"))
    corpus = store.publish_corpus("genes", make_corpus(), {})
    model = ("--store", tmp_path / "store", "--model", "text-embedding-3-small:8")
    released = threading.Event()

    def hang(exchange: Exchange) -> None:
        released.wait(60)
        exchange.handler.close_connection = True

    with FakeOpenAI() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "unused")
        said = refusal(run_cellkin, "genes", "embed", *model)
        assert said.startswith("error: embedding text-embedding-3-small-8 costs an amount that is ")
        assert server.bodies == []
        server.misdeeds.extend([None] * 3 + [hang] * 4)
        process = subprocess.Popen(
            [Path(sys.executable).with_name("cellkin"), "genes", "embed", *model, "--yes"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Four are under way at once, and none is sent before the answer it follows is committed.
        deadline_s = time.monotonic() + 60
        while len(server.bodies) < 7 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        released.set()
        assert len(server.bodies) == 7
        answered = {text for inputs in server.inputs[:3] for text in inputs}
        server.bodies.clear()
        done = json.loads(ask(run_cellkin, "genes", "embed", *model, "--yes", "--json"))
        sent = [text for inputs in server.inputs for text in inputs]
    assert len(server.bodies) == 4
    assert (done["n_resumed"], done["n_embedded"]) == (96, 120)
    assert len(sent) == len(set(sent)) == 120
    assert not answered & set(sent)
    entry = store.catalog.resolve(Kind.EMBEDDING, VersionName("text-embedding-3-small-8"))
    texts = {row["gene_id"]: row["text"] for row in store.corpus(corpus).to_pylist()}
    embedding = store.embedding(entry)
    want = [vector(texts[gene_id], 8) for gene_id in embedding.gene_ids.tolist()]
    np.testing.assert_allclose(embedding.vectors, want, atol=1e-6)


@pytest.mark.skipif(
    not ((DATA / "ncbi").is_dir() and (DATA / "string").is_dir()), reason=f"no gene files in {DATA}"
)
def test_the_real_rbpms(tmp_path: Path, run_cellkin: Run) -> None:
    ncbi, store = DATA / "ncbi", tmp_path / "store"
    start_s = time.monotonic()
    ask(
        run_cellkin, "genes", "import", "--store", store,
        "--gene-info", ncbi / "gene_info.gz", "--gene-summary", ncbi / "gene_summary.gz",
        "--gene-orthologs", ncbi / "gene_orthologs.gz",
        "--string", DATA / "string" / "10090.protein.info.v12.0.txt.gz",
    )  # fmt: skip
    assert time.monotonic() - start_s < 60
    shown = ask(run_cellkin, "genes", "show", "Rbpms", "--taxon", "10090", "--store", store)
    assert "GeneID        19663\n" in shown
    assert "text from     own STRING function\nsource        STRING v12.0\n" in shown
