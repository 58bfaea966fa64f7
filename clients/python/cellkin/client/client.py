"""The connection to a cellkin server."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.connection import Connection, Tls
from cellkin.v1 import cell_service_pb2 as cell
from cellkin.v1 import cell_service_pb2_grpc, gene_service_pb2_grpc, versions_pb2
from cellkin.v1 import gene_service_pb2 as gene
from cellkin.wire import codec
from cellkin.wire.errors import CellkinError
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import ExpressionUnits, TextRung

# Blocks sent and not yet answered: enough to keep the server busy while the next one is read.
_MAX_IN_FLIGHT = 4


@dataclass(frozen=True)
class Versions:
    """What an answer was made from, aliases resolved."""

    index: str
    space_digest: str
    embedding: str
    corpus: str
    server: str

    @classmethod
    def _from_message(cls, message: versions_pb2.Versions) -> "Versions":
        return cls(
            message.index, message.space_digest, message.embedding, message.corpus, message.server
        )


@dataclass(frozen=True)
class Gene:
    """One gene of a corpus."""

    gene_id: int
    taxon: int
    symbol: str
    name: str
    rung: TextRung

    @classmethod
    def _from_message(cls, message: gene.GeneRecord) -> "Gene":
        return cls(
            message.gene_id, message.taxon, message.symbol, message.name, TextRung(message.rung)
        )


@dataclass(frozen=True)
class GeneNeighborhood:
    """The genes nearest to a gene in what is written about them.

    Parameters
    ----------
    gene
        The gene that was meant.
    neighbors
        Genes and cosine similarities in [-1, 1], best first, ties by ascending GeneID.
    versions
        What the answer was made from.
    """

    gene: Gene
    neighbors: list[tuple[Gene, float]]
    versions: Versions


@dataclass(frozen=True)
class QueryReport:
    """What a query met before any cell was labelled.

    Parameters
    ----------
    labels
        The subtypes that predictions refer to.
    match
        How each gene name met the corpus.
    min_support
        Below this support a cell is unknown.
    k
        Neighbors that vote.
    """

    versions: Versions
    recipe: str
    labels: list[str]
    match: GeneMatch
    min_support: float
    k: int


@dataclass(frozen=True)
class Predictions:
    """The labels of a block of cells, in order.

    Parameters
    ----------
    winners
        (n_cells,) int32 into the report's labels, -1 where there was no vote.
    supports
        (n_cells,) float32 in [0, 1], the winner's share of the vote. No probability.
    n_votes
        (n_cells,) uint8, neighbors that carry the winning label.
    reasons
        (n_cells,) uint8, an `UnknownReason`; 0 where the winner is the label.
    vectors
        (n_cells, dim) float32, unit rows, zero where no gene matched; (n_cells, 0) unless asked
        for.
    """

    winners: npt.NDArray[np.int32]
    supports: npt.NDArray[np.float32]
    n_votes: npt.NDArray[np.uint8]
    reasons: npt.NDArray[np.uint8]
    vectors: npt.NDArray[np.float32]


class Client:
    """A connection to a cellkin server; close it, or use it in a ``with`` block.

    Parameters
    ----------
    server
        ``host:port``.
    token
        Sent with every request; only over TLS, or to this machine.
    tls
        How the connection is encrypted; None for not at all.
    timeout_s
        Seconds a single answer may take; streams of cells may take longer.
    attempts
        How often a request is sent in all while the server has too much to do or does not answer.
        A busy server says how long to wait.
    """

    def __init__(
        self,
        server: str = "127.0.0.1:50051",
        *,
        token: str | None = None,
        tls: Tls | None = None,
        timeout_s: float = 60.0,
        attempts: int = 4,
    ) -> None:
        self._connection = Connection(server, token, tls, timeout_s, attempts)
        channel = self._connection.channel
        self._cells = cell_service_pb2_grpc.CellServiceStub(channel)
        self._genes = gene_service_pb2_grpc.GeneServiceStub(channel)

    def __enter__(self) -> "Client":
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def search_genes(
        self,
        name: str,
        *,
        taxon: int = 0,
        k: int = 10,
        embedding: str = "",
        target_taxon: int = 0,
    ) -> GeneNeighborhood:
        """Find the genes whose texts are nearest to that of a gene.

        Parameters
        ----------
        name
            Symbol, synonym, Ensembl id or NCBI GeneID.
        taxon
            NCBI taxonomy id; 0 takes the species that has the name, and is refused where several
            have.
        k
            Neighbors, 1 to 1000.
        embedding
            ``MODEL[@VERSION_OR_ALIAS]``; empty for the default model.
        target_taxon
            Species to search in; 0 for that of the gene.

        Raises
        ------
        NotFoundError
            If there is no such gene or embedding.
        InvalidArgumentError
            If the name is ambiguous or k out of range.
        FailedPreconditionError
            If the gene has no text.
        """
        request = gene.SearchGenesRequest(
            gene=name, taxon=taxon, k=k, embedding=embedding, target_taxon=target_taxon
        )
        answer: gene.SearchGenesResponse = self._connection.ask(self._genes.SearchGenes, request)
        return GeneNeighborhood(
            Gene._from_message(answer.gene),
            [(Gene._from_message(hit.gene), hit.similarity) for hit in answer.hits],
            Versions._from_message(answer.versions),
        )

    def predict_subtypes(
        self,
        index: str,
        genes: Sequence[str],
        blocks: Iterable[Any],
        *,
        units: ExpressionUnits,
        taxon: int = 0,
        min_support: float | None = None,
        return_vectors: bool = False,
    ) -> tuple[QueryReport, Iterator[Predictions]]:
        """Label a stream of cells.

        Parameters
        ----------
        index
            ``NAME[@VERSION_OR_ALIAS]``.
        genes
            Names of the columns.
        blocks
            CSR matrices (n_cells, n_genes) float32, taken one by one as answers come.
        units
            What the values are.
        taxon
            NCBI taxonomy id; 0 infers it from the names.
        min_support
            The least support of a label; None for the floor stored with the index.
        return_vectors
            Whether to bring the cells' vectors.

        Returns
        -------
        report
            What the query met.
        predictions
            One item a block, in order; take them to keep the stream going.

        Raises
        ------
        NotFoundError
            If there is no such index.
        GenesUnmatchedError
            If too few genes match; its metadata is the match report.
        """
        header = cell.QueryHeader(
            index=index,
            genes=genes,
            taxon=taxon,
            units=int(units),  # type: ignore[arg-type]  # the enum's values are the proto's
            min_support=min_support,
            return_vectors=return_vectors,
        )

        # gRPC takes the requests from a thread of its own, which outlives a call that fails. The
        # blocks are read here, in the caller's thread: a file library whose lock a dying thread
        # holds would hang the process at its end.
        waiting: SimpleQueue[cell.StreamPredictSubtypesRequest | None] = SimpleQueue()

        def requests() -> Iterator[cell.StreamPredictSubtypesRequest]:
            nonlocal waiting
            waiting.put(None)
            waiting = SimpleQueue()
            waiting.put(cell.StreamPredictSubtypesRequest(header=header))
            return iter(waiting.get, None)

        try:
            first, responses = self._connection.open(self._cells.StreamPredictSubtypes, requests)
        except CellkinError:
            waiting.put(None)
            raise
        return _read_report(first.report), self._predictions(blocks, waiting, responses)

    def _predictions(
        self,
        blocks: Iterable[Any],
        waiting: "SimpleQueue[cell.StreamPredictSubtypesRequest | None]",
        responses: Any,
    ) -> Iterator[Predictions]:
        in_flight = 0
        try:
            for block in blocks:
                waiting.put(cell.StreamPredictSubtypesRequest(cells=_to_message(block)))
                in_flight += 1
                if in_flight == _MAX_IN_FLIGHT:
                    yield _read_predictions(
                        self._connection.told(lambda: next(responses)).predictions
                    )
                    in_flight -= 1
            waiting.put(None)
            for _ in range(in_flight):
                yield _read_predictions(self._connection.told(lambda: next(responses)).predictions)
        finally:
            waiting.put(None)
            responses.cancel()


def _to_message(block: Any) -> cell.CellBlock:
    return cell.CellBlock(
        indptr=codec.encode(block.indptr.astype(np.int64, copy=False)),
        columns=codec.encode(block.indices.astype(np.int32, copy=False)),
        values=codec.encode(block.data.astype(np.float32, copy=False)),
    )


def _read_report(report: cell.QueryReport) -> QueryReport:
    genes = report.genes
    match = GeneMatch(
        genes.taxon,
        genes.taxon_inferred,
        codec.decode(genes.gene_ids, np.int64, "gene_ids"),
        codec.decode(genes.routes, np.uint8, "routes"),
        codec.decode(genes.rungs, np.uint8, "rungs"),
        codec.decode(genes.in_space, np.uint8, "in_space"),
    )
    return QueryReport(
        Versions._from_message(report.versions),
        report.recipe,
        list(report.labels),
        match,
        report.min_support,
        report.k,
    )


def _read_predictions(block: cell.PredictionBlock) -> Predictions:
    winners = codec.decode(block.winners, np.int32, "winners")
    return Predictions(
        winners,
        codec.decode(block.supports, np.float32, "supports"),
        codec.decode(block.n_votes, np.uint8, "n_votes"),
        codec.decode(block.unknown_reasons, np.uint8, "unknown_reasons"),
        codec.decode(block.vectors, np.float32, "vectors").reshape(len(winners), block.dim),
    )
