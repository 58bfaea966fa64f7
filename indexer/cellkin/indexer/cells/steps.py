"""Steps shared by all cell jobs: read, match, count, place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.cells.engines import Engine
from cellkin.indexer.cells.labels import require_different
from cellkin.indexer.cells.ontology import Ontology
from cellkin.indexer.cells.plan import MatchedFile, count_genes, matrix_files, sample_of, shards_of
from cellkin.indexer.cells.publish import Progress, Spaces, Stages
from cellkin.indexer.cells.sources import Reference, SourceFile, read_sources
from cellkin.indexer.cells.worker import Placed, Shard, Work
from cellkin.matrices.features import hinting
from cellkin.space.arrays import Int64Vector
from cellkin.space.genes import Resolution
from cellkin.store.catalog import Entry
from cellkin.store.cell_table import table_name
from cellkin.store.corpus import GeneNames
from cellkin.store.store import Store
from cellkin.wire.errors import InvalidArgumentError

_REPORT_CELLS = 2_000


@dataclass(frozen=True)
class Files:
    """The files of a reference, cut into shards.

    Parameters
    ----------
    reference
        The reference as given.
    sources
        The files.
    shards
        The shards of all files.
    terms
        Path of each label that is an ontology term; empty without an ontology.
    """

    reference: Reference
    sources: list[SourceFile]
    shards: list[Shard]
    terms: dict[str, str]

    @classmethod
    def read(cls, reference: Reference) -> "Files":
        """Read everything about the files but their matrices; raises as `read_sources` does."""
        sources = read_sources(reference)
        terms = _terms(reference, sources)
        return cls.of(reference, [file.renamed(terms) for file in sources], terms)

    @classmethod
    def of(cls, reference: Reference, sources: list[SourceFile], terms: dict[str, str]) -> "Files":
        """Cut the files into shards."""
        return cls(reference, sources, shards_of(sources), terms)

    def resolved(self, genes: GeneNames) -> list[Resolution]:
        """Resolve the gene names of each file."""
        return [_resolved(source, genes, self.reference.taxon) for source in self.sources]

    def label_counts(self, names: Sequence[str]) -> Int64Vector:
        """Return the (n_names,) int64 numbers of cells of each label."""
        chunks = [c for s in self.sources for c in s.rows["label"].chunks]
        labels = pa.chunked_array(chunks, pa.string())
        codes = pc.drop_null(pc.index_in(labels, pa.array(names, pa.string())))
        return np.bincount(codes.to_numpy(), minlength=len(names))

    def require_different(self) -> None:
        """Raise an error if the labels cannot be learned; see `labels.require_different`."""
        labels = pa.chunked_array([c for s in self.sources for c in s.rows["label"].chunks])
        found = labels.drop_null().value_counts()
        counts = dict(zip(*(found.field(i).to_pylist() for i in range(2)), strict=True))
        require_different(counts, ", ".join(map(str, self.reference.paths)))

    def require_labels(self, model: Entry) -> None:
        """Raise an error for labels that a space was not fitted to: they could not be predicted."""
        known = set(model.manifest["label_counts"])
        given = {label for source in self.sources for label in source.labels}
        if new := sorted(given - known):
            raise InvalidArgumentError(
                f"labels in {self.reference.label!r} that {model.full_name} does not know: "
                f"{', '.join(new[:10])}{' and more' if len(new) > 10 else ''}; rename them to one "
                "of its labels, or index all files together by `cellkin cells index`"
            )

    def nothing_to_place(self) -> InvalidArgumentError:
        """Return the error for a reference with no cell that can be placed."""
        return InvalidArgumentError(
            f"{', '.join(map(str, self.reference.paths))}: no cell has both a label in "
            f"{self.reference.label!r} and a gene that counts"
        )


@dataclass(frozen=True)
class Place:
    """Engine that processes cells, and the table their rows are written to.

    Parameters
    ----------
    store, name
        The store, and the name of the index.
    engine, device
        Engine that runs the shards, and device that projects cells.
    stages
        Shows progress.
    """

    store: Store
    name: str
    engine: Engine
    device: str
    stages: Stages

    def work(
        self, files: Files, matched: list[MatchedFile], n_genes: int, spaces: Spaces | None = None
    ) -> Work:
        """Describe the work for workers.

        ``n_genes`` is the number of genes of the text space; ``spaces`` are given once fitted.
        """
        spaces = spaces or Spaces()
        return Work(
            matrix_files(matched, files.reference.how, n_genes),
            n_genes,
            spaces.text,
            spaces.expression,
            self.store.table_uri(table_name(self.name)),
            spaces.schema,
            self.device,
        )

    def count_mass(
        self, files: Files, matched: list[MatchedFile], n_genes: int
    ) -> list[npt.NDArray[np.float64]]:
        """Sum the expression of each gene name of each file over a sample, for the report."""
        sample = sample_of(files.shards, _REPORT_CELLS)
        work = self.work(files, matched, n_genes)
        return count_genes(self.engine, work, sample, lambda shard: None).mass

    def place(self, files: Files, matched: list[MatchedFile], spaces: Spaces) -> list[Placed]:
        """Place all cells."""
        work = self.work(files, matched, spaces.n_text_genes, spaces)
        with self.stages("placing cells") as progress:
            placed: list[Placed] = self.engine.run(
                work, "place", files.shards, counting(files.shards, progress)
            )
        if not any(p.n_kept for p in placed):
            raise files.nothing_to_place()
        return placed


def counting(shards: Sequence[Shard], progress: Progress) -> Callable[[Shard], None]:
    """Return a callback for finished shards that reports progress in cells."""
    total = sum(shard.stop - shard.start for shard in shards)
    done = 0

    def finished(shard: Shard) -> None:
        nonlocal done
        done += shard.stop - shard.start
        progress(done, total)

    return finished


def _terms(reference: Reference, sources: Sequence[SourceFile]) -> dict[str, str]:
    if reference.ontology is None:
        return dict(reference.terms)
    return Ontology.read(reference.ontology).paths(
        label for source in sources for label in source.labels
    )


def _resolved(source: SourceFile, genes: GeneNames, taxon: int) -> Resolution:
    with hinting(lambda: source.gene_hint):
        return genes.resolver.resolve(source.gene_names, taxon)
