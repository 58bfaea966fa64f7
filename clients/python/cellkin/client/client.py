"""The connection to a cellkin server."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from cellkin.client.connection import Connection, Tls
from cellkin.client.predictions import (
    SPACES,
    Predictions,
    QueryReport,
    read_predictions,
    read_report,
    to_message,
)
from cellkin.client.versions import Versions
from cellkin.v1 import cell_service_pb2 as cell
from cellkin.v1 import cell_service_pb2_grpc, gene_service_pb2_grpc
from cellkin.v1 import gene_service_pb2 as gene
from cellkin.wire.errors import CellkinError, InvalidArgumentError
from cellkin.wire.terms import ExpressionUnits, TextRung

# Blocks sent and not yet answered: enough to keep the server busy while the next one is read.
_MAX_IN_FLIGHT = 4


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
            Versions.from_message(answer.versions),
        )

    def predict_subtypes(
        self,
        index: str,
        genes: Sequence[str],
        blocks: Iterable[Any],
        *,
        units: ExpressionUnits,
        taxon: int = 0,
        min_probability: float | None = None,
        return_vectors: bool = False,
        space: str | None = None,
        background: Any = None,
        exclude_batches: Sequence[str] = (),
    ) -> tuple[QueryReport, Generator[Predictions, None, None]]:
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
        min_probability
            The least probability of a label; None for that stored with the index.
        return_vectors
            Whether to bring the cells' vectors.
        space
            ``text`` or ``expression``; None lets the server choose by the genes that are shared.
        background
            CSR matrix (n_cells, n_genes) of cells drawn evenly from the query, at least 200, whose
            mean is taken off in the text space; None for the reference's mean.
        exclude_batches
            Batches of the reference that do not vote; then neighbors alone decide.

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
        InvalidArgumentError
            If there is no such space.
        GenesUnmatchedError
            If too few genes match; its metadata is the match report.
        """
        if space not in SPACES:
            raise InvalidArgumentError(f"space is {space!r}; give 'text' or 'expression'")
        header = cell.QueryHeader(
            index=index,
            genes=genes,
            taxon=taxon,
            units=int(units),  # type: ignore[arg-type]  # the enum's values are the proto's
            min_probability=min_probability,
            return_vectors=return_vectors,
            space=SPACES[space],
            center=cell.CENTER_UNSPECIFIED if background is None else cell.CENTER_QUERY,
            exclude_batches=exclude_batches,
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
            if background is not None:
                cells = to_message(background)
                waiting.put(cell.StreamPredictSubtypesRequest(background=cells))
            return iter(waiting.get, None)

        try:
            first, responses = self._connection.open(self._cells.StreamPredictSubtypes, requests)
        except CellkinError:
            waiting.put(None)
            raise
        return read_report(first.report), self._predictions(blocks, waiting, responses)

    def _predictions(
        self,
        blocks: Iterable[Any],
        waiting: "SimpleQueue[cell.StreamPredictSubtypesRequest | None]",
        responses: Any,
    ) -> Generator[Predictions, None, None]:
        in_flight = 0
        try:
            for block in blocks:
                waiting.put(cell.StreamPredictSubtypesRequest(cells=to_message(block)))
                in_flight += 1
                if in_flight == _MAX_IN_FLIGHT:
                    yield read_predictions(
                        self._connection.told(lambda: next(responses)).predictions
                    )
                    in_flight -= 1
            waiting.put(None)
            for _ in range(in_flight):
                yield read_predictions(self._connection.told(lambda: next(responses)).predictions)
        finally:
            waiting.put(None)
            responses.cancel()
