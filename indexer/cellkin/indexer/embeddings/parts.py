"""The order in which texts are embedded, and the parts that are committed."""

from collections.abc import Callable, Collection, Iterator, Mapping
from time import perf_counter

import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.models.contract import EmbeddingModel, PaidModel
from cellkin.space.arrays import Float32Matrix
from cellkin.wire.terms import TextRung

# Some seconds of work, the most an interruption loses; enough that texts of one length fill their
# batches.
_FRAGMENT_CHARACTERS = 200_000
_FIRST_CHARACTERS = 5_000
"""The first fragment is small and each next one twice as large, so that progress soon shows."""
_N_TIMED = 24
_LOCUS = r"^LOC\d+$"


def late_texts(genes: pa.Table) -> set[str]:
    """Return the digests of the texts to embed last: names of pseudogenes and unnamed loci.

    Parameters
    ----------
    genes
        Rows of a corpus. A text that other genes share is not late.
    """
    bare = pc.equal(genes["rung"], int(TextRung.DESIGNATIONS))
    minor = pc.or_(
        pc.equal(genes["gene_type"], "pseudo"), pc.match_substring_regex(genes["symbol"], _LOCUS)
    )
    late = pc.and_(bare, minor)
    others = genes.filter(pc.invert(late))["text_sha256"].to_pylist()
    return set(genes.filter(late)["text_sha256"].to_pylist()) - set(others)


def in_parts(
    model: EmbeddingModel, missing: Mapping[str, str], late: Collection[str]
) -> Iterator[tuple[list[str], Float32Matrix]]:
    """Embed texts in parts, late ones last, shortest first; a paid model divides them itself."""
    order = sorted(missing, key=lambda sha: (sha in late, len(missing[sha]), sha))
    if isinstance(model, PaidModel):
        for rows, vectors in model.embed_parts([missing[sha] for sha in order]):
            yield [order[row] for row in rows.tolist()], vectors
        return
    for fragment in _fragments(order, missing):
        yield fragment, model.embed([missing[sha] for sha in fragment])


def _fragments(order: list[str], texts: Mapping[str, str]) -> Iterator[list[str]]:
    fragment: list[str] = []
    n_characters, limit = 0, min(_FIRST_CHARACTERS, _FRAGMENT_CHARACTERS)
    for sha in order:
        fragment.append(sha)
        n_characters += len(texts[sha])
        if n_characters >= limit:
            yield fragment
            fragment, n_characters = [], 0
            limit = min(2 * limit, _FRAGMENT_CHARACTERS)
    if fragment:
        yield fragment


def timing(model: EmbeddingModel, texts: Collection[str]) -> Callable[[], float] | None:
    """Return a function that says how many seconds texts will take, None if a service embeds them.

    It embeds some of the texts twice and measures the second time, for in the first a library may
    prepare its kernels.
    """
    if isinstance(model, PaidModel) or not texts:
        return None

    def seconds() -> float:
        every = sorted(texts, key=len)
        # As many of each length as there are, at the middle of equal parts.
        n = min(_N_TIMED, len(every))
        sample = [every[(2 * i + 1) * len(every) // (2 * n)] for i in range(n)]
        model.embed(sample)
        start_s = perf_counter()
        model.embed(sample)
        taken_s = perf_counter() - start_s
        return taken_s * sum(map(len, every)) / sum(map(len, sample))

    return seconds
