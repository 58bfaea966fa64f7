"""A server of contrasts in the process of a test: it answers the messages of the protocol."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.unit.client.fake import INDEX, FakeServer, _AwaitedCall, _Channel

from cellkin.client import AsyncClient
from cellkin.v1 import cell_service_pb2, gene_service_pb2, versions_pb2
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import CellkinError

SETS = "go-bp@2026-01-01.1"
REGULONS = "regulons@2026-01-01.1"
VERSIONS = versions_pb2.Versions(index=INDEX, corpus="genes@2026-01-01.1", server="0.1.0")


def record(gene_id: int, symbol: str) -> gene_service_pb2.GeneRecord:
    """Return the names of a gene."""
    return gene_service_pb2.GeneRecord(
        gene_id=gene_id,
        taxon=9606,
        symbol=symbol,
        name=f"gene {symbol}",
        rung=gene_service_pb2.TEXT_RUNG_OWN_SUMMARY,
    )


def gene(gene_id: int, symbol: str, statistic: float, **given: Any) -> wire.GeneContrast:
    """Return a gene of a contrast."""
    values: dict[str, Any] = {
        "contribution": statistic / 10, "mean_a": 2.0, "mean_b": 1.0, "detected_a": 0.9,
        "detected_b": 0.4, "log2_fold_change": statistic / 2, "p_value": 10 ** -abs(statistic),
        "fdr": 2 * 10 ** -abs(statistic),
    }  # fmt: skip
    return wire.GeneContrast(gene=record(gene_id, symbol), statistic=statistic, **values | given)


def enriched(name: str, effect: float, called: bool, *genes: str) -> wire.SetEnrichment:
    """Return the enrichment of a set."""
    p_value = 1e-6 if called else 0.3
    return wire.SetEnrichment(
        collection=SETS, set=name, n_genes=40, effect=effect, p_value=p_value, fdr=2 * p_value,
        permuted_p_value=2 * p_value, permuted_fdr=3 * p_value, called=called, leading_genes=genes,
    )  # fmt: skip


def result(n_a: int = 30, n_b: int = 20) -> wire.ContrastResult:
    """Return the result of a contrast."""
    return wire.ContrastResult(
        versions=VERSIONS, n_a=n_a, n_b=n_b, gene_test="wilcoxon",
        genes=[
            gene(1, "RHO", 9.0, pseudobulk_p_value=0.01),
            gene(2, "PDE6B", 7.0),
            gene(9, "TEXT1", 1.5, predicted_from_text=True),
            gene(3, "GAPDH", -0.5),
            gene(4, "ARR3", -8.0),
        ],
        sets=[
            enriched("phototransduction", 2.5, True, "RHO", "PDE6B"),
            enriched("cone <development>", -1.9, True, "ARR3"),
            enriched("glycolysis", 0.3, False, "GAPDH"),
        ],
        regulators=[
            wire.RegulatorActivity(
                collection=REGULONS, regulator="NRL", n_targets=12, score=6.0, p_value=1e-8,
                fdr=1e-7,
            )
        ],
        collections=[wire.GeneSetCollection(version=name) for name in (SETS, REGULONS)],
        n_permutations=1000, called_by_chance=0.25, n_genes=4,
        warnings=[cell_service_pb2.Warning(reason="FEW_CELLS", message="few cells are compared")],
    )  # fmt: skip


@dataclass
class FakeContrasts(FakeServer):
    """Answers contrasts and remembers what it was sent.

    Parameters
    ----------
    refusal
        The error raised in place of the result; None for none.
    """

    refusal: CellkinError | None = None

    def answer(self, requests: Iterator[Any]) -> Iterator[Any]:
        """Answer one contrast: the header at once, cells not, the finish by the result."""
        seen: list[Any] = []
        self.sent.append(seen)
        seen.append(next(requests))
        header = seen[0].header
        n = len(header.genes)
        genes = cell_service_pb2.GeneMatch(
            taxon=9606, gene_ids=codec.encode(np.arange(1, n + 1)),
            routes=codec.encode(np.full(n, 3, np.uint8)),
            rungs=codec.encode(np.ones(n, np.uint8)),
            in_space=codec.encode(np.ones(n, np.uint8)),
        )  # fmt: skip
        report = wire.ContrastReport(
            versions=VERSIONS, genes=genes if n else None, a=header.a, b=header.b
        )
        yield wire.ContrastSubtypesResponse(report=report)
        counts = [0, 0]
        for request in requests:
            seen.append(request)
            if request.HasField("finish"):
                break
            groups = np.frombuffer(request.cells.groups, np.uint8)
            counts = [counts[group] + int((groups == group).sum()) for group in (0, 1)]
        if self.refusal is not None:
            raise self.refusal
        yield wire.ContrastSubtypesResponse(result=result(*(counts if n else (30, 20))))
        self.closed += 1


async def _awaited(server: FakeContrasts, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    waiting = [await anext(requests)]
    answers = server.answer(iter(lambda: waiting.pop(0) if waiting else None, None))
    yield next(answers)
    waiting.extend([request async for request in requests])
    for answer in answers:
        yield answer


def awaiting_client_of(server: FakeContrasts) -> AsyncClient:
    """Return a client of the server that is awaited."""
    client = AsyncClient("127.0.0.1:9")
    client._channel = _Channel(  # type: ignore[assignment]
        lambda requests, metadata: _AwaitedCall(server, _awaited(server, requests))
    )
    return client
