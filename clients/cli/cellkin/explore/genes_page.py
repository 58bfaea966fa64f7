"""The page "Genes"."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import panel as pn
import panel_material_ui as pmui

from cellkin.client import Client, Enrichment, Gene, GeneNeighborhood
from cellkin.explore import charts
from cellkin.explore.parts import Notices, alert, boxes, choices, heading, note, offer, table
from cellkin.explore.session import Session
from cellkin.wire.errors import CellkinError, InvalidArgumentError, NotFoundError
from cellkin.wire.species import taxon_id, taxon_name

_GENE, _SET, _WORDS = "gene", "gene set", "words"
_LINKED = 25
"""Genes of the network."""
_STEPS = 200
_TEXT = 1200


@dataclass(frozen=True)
class Asked:
    """What the user asks for.

    Parameters
    ----------
    kind
        ``gene``, ``gene set`` or ``words``.
    text
        Gene names separated by spaces or commas, ``COLLECTION/SET``, or words.
    species
        Name of the species; empty for that of the gene name.
    k
        Neighbors.
    embedding
        The gene embedding; empty for the default one.
    compared
        Other embeddings.
    """

    kind: str
    text: str
    species: str
    k: int
    embedding: str
    compared: tuple[str, ...]

    def query(self, client: Client) -> dict[str, Any]:
        """Return the arguments of `Client.search_genes` that say what is searched for.

        Raises
        ------
        InvalidArgumentError
            If nothing is given, or a set without its collection.
        """
        text, taxon = self.text.strip(), taxon_id(self.species) if self.species else 0
        if not text:
            raise InvalidArgumentError(f"nothing is given to search for; enter a {self.kind}")
        if self.kind == _WORDS:
            return {"text": text, "target_taxon": taxon or taxon_id("human")}
        if self.kind == _SET:
            collection, slash, name = text.partition("/")
            if not slash:
                raise InvalidArgumentError(f"{text!r} has no collection; write COLLECTION/SET")
            members = client.get_gene_set(collection, name).members
            return {"name": [str(member.gene.gene_id) for member in members]}
        names = text.replace(",", " ").split()
        return {"name": names[0] if len(names) == 1 else names, "taxon": taxon}


@dataclass(frozen=True)
class Found:
    """What was found.

    Parameters
    ----------
    neighborhood
        The neighborhood.
    gene
        The gene itself, if one was asked for.
    links
        Pairs of positions: 0 is the query, n the hit of rank n. Genes are linked if each is among
        the nearest of the other.
    """

    neighborhood: GeneNeighborhood
    gene: Gene | None
    links: tuple[tuple[int, int], ...]


class GenesPage:
    """Search for genes; `view` is what is shown.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._notices = Notices(session)
        self._kind = choices("Search by", [_GENE, _SET, _WORDS])
        self._text = pmui.TextInput(
            label="Gene, such as INS", placeholder="INS", sizing_mode="stretch_width"
        )
        self._species = pmui.Select(
            label="Species",
            options={"of the gene": "", "human": "human", "mouse": "mouse"},
            width=160,
        )
        self._k = pmui.IntInput(label="Neighbors", value=20, start=1, end=1000, width=120)
        self._embedding = pmui.Select(label="Embedding", options=[""], width=280)
        self._compared = boxes("Compare with embeddings")
        self._collections = boxes("Test gene sets of")
        self._go = pmui.Button(label="Search", on_click=self._search)
        self._kind.param.watch(self._asked_by, "value")
        self._text.param.watch(self._search, "enter_pressed")
        self._results = pn.Column(sizing_mode="stretch_width")
        self.view = pn.Column(
            pn.Row(self._kind),
            pn.Row(self._text, self._species, self._k, self._go, sizing_mode="stretch_width"),
            pn.Row(self._embedding, self._compared, self._collections, sizing_mode="stretch_width"),
            self._notices.view,
            self._results,
            sizing_mode="stretch_width",
        )

    async def load(self) -> None:
        """List the embeddings and collections of the server."""
        with self._notices.telling():
            models, collections = await self._session.ask(_catalog, self._session.client)
            self._embedding.options = {"default": ""} | {name: name for name in models}
            offer(self._compared, models)
            offer(self._collections, collections)

    def _asked_by(self, event: Any) -> None:
        labels = {
            _GENE: "Gene, such as INS; or several",
            _SET: "Gene set, as COLLECTION/SET",
            _WORDS: "Words, such as insulin secretion",
        }
        self._text.label = labels[event.new]
        self._text.placeholder = ""

    async def _search(self, _: Any) -> None:
        asked = Asked(
            self._kind.value, self._text.value_input or self._text.value or "", self._species.value,
            int(self._k.value or 20), self._embedding.value or "", tuple(self._compared.value),
        )  # fmt: skip
        with self._notices.telling(self._go):
            self._results.loading = True
            try:
                found = await self._session.ask(search, self._session.client, asked)
                self._results.objects = _view(found, asked)
                if self._collections.value:
                    enriched = await self._session.ask(
                        enrich, self._session.client, asked, tuple(self._collections.value)
                    )
                    self._results.append(_enriched(enriched))
            finally:
                self._results.loading = False


def search(client: Client, asked: Asked) -> Found:
    """Search for genes, and for the links between what was found."""
    query = asked.query(client)
    named = query.get("name")
    found = client.search_genes(
        **query, k=asked.k, embedding=asked.embedding, compare_embeddings=asked.compared
    )
    gene = None
    if isinstance(named, str):
        gene = client.get_gene(str(found.gene.gene_id), corpus=found.versions.corpus)
    return Found(found, gene, _links(client, found))


def enrich(client: Client, asked: Asked, collections: tuple[str, ...]) -> Enrichment:
    """Test which gene sets the neighborhood is enriched in."""
    neighborhood = {**asked.query(client), "k": max(100, asked.k), "embedding": asked.embedding}
    return client.enrich_genes(collections, neighborhood=neighborhood, n_sets=20)


def _links(client: Client, found: GeneNeighborhood) -> tuple[tuple[int, int], ...]:
    """Return pairs of genes each of which is among the nearest of the other."""
    genes = [*(found.genes if len(found.genes) == 1 else ()), *found.hits[:_LINKED]]
    first = 0 if len(found.genes) == 1 else 1
    at = {gene.gene_id: place for place, gene in enumerate(genes, first)}
    near: set[tuple[int, int]] = set()
    for gene in genes:
        try:
            hits = client.search_genes(
                str(gene.gene_id), k=len(genes), embedding=found.versions.embedding,
                taxa=found.searched.taxa, gene_types=found.searched.gene_types,
            ).hits  # fmt: skip
        except CellkinError:
            continue  # without a text in this embedding
        near |= {(at[gene.gene_id], at[hit.gene_id]) for hit in hits if hit.gene_id in at}
    return tuple(sorted((a, b) for a, b in near if a < b and (b, a) in near))


def _view(found: Found, asked: Asked) -> list[Any]:
    hits = found.neighborhood
    columns = hits.columns()
    ranks = [name for name in columns if name.startswith("rank in ")]
    frame = pd.DataFrame(
        {
            "gene": columns["symbol"],
            "name": columns["name"],
            "cosine": columns["similarity"],
            "percentile": 100 * np.asarray(columns["background_percentile"]),
            **{name: columns[name] for name in ranks},
            "text from": columns["text"],
            "NCBI Gene": columns["link"],
        }
    )
    what = ", ".join(gene.symbol for gene in hits.genes[:10]) or asked.text
    parts: list[Any] = [
        heading(f"Genes whose texts are nearest to {what}", 5),
        alert("info", _sentence(hits.caution)),
        note(
            f"{hits.versions.embedding}; searched {hits.n_searched:,} genes, {hits.searched}. The "
            "percentile is the share of random pairs of genes that are less similar."
        ),
    ]
    parts += [alert("warning", str(warning)) for warning in hits.warnings]
    if hits.unmatched:
        parts.append(alert("warning", f"not used: {', '.join(hits.unmatched[:20])}"))
    if ranks:
        parts.append(note(_agreement(hits)))
    text = [_gene(found.gene)] if found.gene else []
    below = pn.Row(
        pn.Column(table(frame, digits=["cosine", "percentile"], links=["NCBI Gene"], rows=20),
                    sizing_mode="stretch_width"),
        pn.Column(*text, heading("Network"), _network(found, what), width=460),
        sizing_mode="stretch_width",
    )  # fmt: skip
    return [*parts, below]


def _agreement(hits: GeneNeighborhood) -> str:
    """Tell how many of the hits are also among the nearest of each embedding compared with."""
    k = len(hits.hits)
    told = [
        f"{int(((ranks > 0) & (ranks <= k)).sum())} of them by {name}"
        for name, ranks in zip(hits.compared_embeddings, hits.compared_ranks.T, strict=True)
    ]
    return f"Of these {k} genes, also among the {k} nearest: {'; '.join(told)}."


def _gene(gene: Gene) -> Any:
    source = gene.rung.label + (f", {gene.text_source}" if gene.text_source else "")
    text = gene.text[:_TEXT] + (" ..." if len(gene.text) > _TEXT else "")
    also = f"; also {', '.join(gene.synonyms[:8])}" if gene.synonyms else ""
    return pn.Column(
        heading(f"{gene.symbol} ({taxon_name(gene.taxon)}, GeneID {gene.gene_id})"),
        note(f"{gene.name}; {gene.gene_type}{also}"),
        note(text or "There is no text about this gene."),
        note(f"Text: {source}."),
        sizing_mode="stretch_width",
    )  # fmt: skip


def _network(found: Found, what: str) -> Any:
    hits = found.neighborhood
    shown = hits.hits[:_LINKED]
    names = [what if len(what) < 30 else "query", *(hit.symbol for hit in shown)]
    similarities = [1.0, *hits.similarities[: len(shown)].tolist()]
    linked = set(found.links)
    if not hits.genes or len(hits.genes) > 1:  # a text or several genes: linked to what is nearest
        linked |= {(0, at) for at in range(1, min(6, len(names)))}
    texts = [names[0]] + [
        f"{hit.symbol}: {hit.name}, cosine {cosine:.3f}"
        for hit, cosine in zip(shown, similarities[1:], strict=True)
    ]
    places = spring(len(names), sorted(linked))
    return pn.Column(
        charts.network(names, sorted(linked), places, texts),
        note("Linked genes are each among the nearest of the other."),
        sizing_mode="stretch_width",
    )


def spring(n: int, links: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """Place points so that linked ones are near each other and others apart.

    Parameters
    ----------
    n
        Number of points.
    links
        Pairs of them.
    """
    angle = 2 * np.pi * np.arange(n) / max(1, n)
    places: npt.NDArray[np.float64] = np.column_stack([np.cos(angle), np.sin(angle)])
    linked = np.zeros((n, n))
    for a, b in links:
        linked[a, b] = linked[b, a] = 1
    ideal = 1 / np.sqrt(max(1, n))
    for step in range(_STEPS):
        apart = places[:, None] - places[None]
        distance = np.maximum(np.linalg.norm(apart, axis=-1), 1e-3)
        force = ideal**2 / distance**2 - linked * distance / ideal
        move = (apart * force[..., None]).sum(axis=1) - places
        length = np.maximum(np.linalg.norm(move, axis=1, keepdims=True), 1e-9)
        places += move / length * np.minimum(length, 0.1 * (1 - step / _STEPS))
    return [(float(x), float(y)) for x, y in places]


def _enriched(found: Enrichment) -> Any:
    frame = pd.DataFrame(found.columns())
    frame = frame[["collection", "set", "n_genes", "n_overlap", "effect", "fdr", "permuted_fdr",
                   "called", "leading_genes"]]  # fmt: skip
    return pn.Column(
        heading("Gene sets that the neighborhood is enriched in", 5),
        note(_sentence(found.title)),
        *(alert("warning", str(each)) for each in found.warnings),
        table(frame, digits=["effect", "fdr", "permuted_fdr"], rows=20),
        sizing_mode="stretch_width",
    )


def _catalog(client: Client) -> tuple[list[str], list[str]]:
    models = [model.name for model in client.list_embedding_models()]
    try:
        collections = [each.version for each in client.list_gene_set_collections()]
    except NotFoundError:
        collections = []
    return models, collections


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
