"""Other tools that label cells, if installed, run as in their documentation."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from cellkin.indexer.evaluation.baselines import Answer, Baseline, check_reference
from cellkin.indexer.spaces.sample import log_expression
from cellkin.indexer.spaces.variable_genes import N_VARIABLE
from cellkin.space.arrays import CsrMatrix, Int32Vector
from cellkin.wire.errors import GenesUnmatchedError, MissingDependencyError

_INGEST_COMPONENTS = 50

# The first incompatible versions: scikit-learn 1.8 removed the multi_class that CellTypist 1.7.1
# passes (its issue 164); pynndescent 0.7 leaves unset the number of trees that ingest of scanpy
# 1.11.5 reads.
_SKLEARN = (1, 8)
_PYNNDESCENT = (0, 7)


def installed_peers() -> tuple[list[Baseline], list[str]]:
    """Return the peers that can be run.

    Returns
    -------
    peers, reasons
        The peers, and for each other one a sentence with the reason.
    """
    found: list[Baseline] = []
    reasons: list[str] = []
    for peer in (CellTypist(), ScanpyIngest()):
        try:
            peer.require()
        except MissingDependencyError as error:
            reasons.append(error.message)
        else:
            found.append(peer)
    return found, reasons


@dataclass(frozen=True)
class CellTypist:
    """``celltypist.train`` with its defaults, then ``annotate`` without majority voting.

    It uses all genes. The probability is that of its one-against-rest regression; the novelty is 1
    minus the probability.
    """

    name: str = "CellTypist"

    @staticmethod
    def require() -> None:
        """Raise an error if it cannot be run here.

        Raises
        ------
        MissingDependencyError
            If it is not installed, or scikit-learn is too new for it.
        """
        _require("CellTypist", "celltypist", "scikit-learn", _SKLEARN)

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedCellTypist":
        """Train a model; see `Baseline.fit`."""
        check_reference(counts, genes, labels)
        self.require()
        import celltypist

        # CellTypist rejects cells without counts, as they do not sum to 10,000.
        kept = np.asarray(counts.sum(axis=1)).ravel() > 0
        with _quiet():
            model = celltypist.train(
                log_expression(counts[kept]).astype(np.float32),
                labels=labels[kept].astype(str),
                genes=np.array(genes),
            )
        return FittedCellTypist(model)


@dataclass(frozen=True)
class FittedCellTypist:
    """A trained ``celltypist.models.Model``."""

    model: Any

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Annotate cells; see `Fitted.predict`."""
        import celltypist

        if not set(genes) & set(self.model.features):
            raise GenesUnmatchedError(
                f"none of the model's {len(self.model.features)} genes is among the query's "
                f"{len(genes)}, compared letter by letter; match them before"
            )
        with _quiet():
            result = celltypist.annotate(_annotated(counts, genes), model=self.model)
        probability = result.probability_matrix.to_numpy().max(axis=1).astype(np.float64)
        codes = result.predicted_labels["predicted_labels"].to_numpy().astype(np.int32)
        return Answer(codes, probability, 1.0 - probability)


@dataclass(frozen=True)
class ScanpyIngest:
    """``scanpy.tl.ingest``: 2,000 variable genes, PCA-50, 15 neighbors, the most frequent label.

    It has neither probability nor novelty.
    """

    name: str = "scanpy ingest"

    @staticmethod
    def require() -> None:
        """Raise an error if it cannot be run here.

        Raises
        ------
        MissingDependencyError
            If it is not installed, or pynndescent is too new for it.
        """
        _require("scanpy ingest", "scanpy", "pynndescent", _PYNNDESCENT)

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedIngest":
        """Prepare the reference; see `Baseline.fit`."""
        check_reference(counts, genes, labels)
        self.require()
        import pandas as pd
        import scanpy as sc

        reference = _annotated(counts, genes)
        with _quiet():
            sc.pp.highly_variable_genes(reference, n_top_genes=min(N_VARIABLE, len(genes)))
            reference = reference[:, reference.var["highly_variable"]].copy()
            n_components = min(_INGEST_COMPONENTS, min(reference.shape) - 1)
            sc.pp.pca(reference, n_comps=n_components)
            sc.pp.neighbors(reference)
        reference.obs["label"] = pd.Categorical(labels.astype(str))
        return FittedIngest(reference)


@dataclass(frozen=True)
class FittedIngest:
    """The reference as an `anndata.AnnData` with principal components and neighbors."""

    reference: Any

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Ingest cells; see `Fitted.predict`. Genes that the query lacks are 0."""
        import scanpy as sc

        names = list(self.reference.var_names)
        query = _annotated(counts, genes)
        if set(names).isdisjoint(query.var_names):
            raise GenesUnmatchedError(
                f"none of the reference's {len(names)} variable genes is among the query's "
                f"{len(genes)}, compared letter by letter; match them before"
            )
        query = _aligned(query, names)
        with _quiet():
            sc.tl.ingest(query, self.reference, obs="label", embedding_method="pca")
        return Answer(query.obs["label"].to_numpy().astype(np.int32), None, None)


def _annotated(counts: CsrMatrix, genes: Sequence[str]) -> Any:
    import anndata as ad
    import pandas as pd

    cells = ad.AnnData(
        log_expression(counts).astype(np.float32),
        obs=pd.DataFrame(index=[str(row) for row in range(counts.shape[0])]),
        var=pd.DataFrame(index=pd.Index(genes, dtype=str)),
    )
    return cells[:, ~cells.var_names.duplicated()].copy()


def _aligned(query: Any, names: list[str]) -> Any:
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    column = {name: at for at, name in enumerate(query.var_names)}
    pairs = [(column[name], at) for at, name in enumerate(names) if name in column]
    rows, columns = np.array(pairs).T
    pick = sp.csr_matrix(
        (np.ones(len(pairs), np.float32), (rows, columns)), (query.n_vars, len(names))
    )
    return ad.AnnData(query.X @ pick, obs=query.obs, var=pd.DataFrame(index=names))


def _require(what: str, package: str, beside: str, broken: tuple[int, int]) -> None:
    try:
        version(package)
        found = version(beside)
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            f'{what} needs {error.name}, which is not installed; pip install "cellkin[peers]"'
        ) from error
    if tuple(map(int, found.split(".")[:2])) >= broken:
        raise MissingDependencyError(
            f"{what} does not work with {beside} {found}; in an environment of its own, pip "
            f'install "cellkin[peers]", which takes one below {".".join(map(str, broken))}'
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the progress output and warnings of the peers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
