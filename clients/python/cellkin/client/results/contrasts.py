"""Contrasts of two groups of cells."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.client.results.enrichment import EnrichedSets, given, read_sets
from cellkin.client.results.genes import GeneRecord, read_record
from cellkin.client.results.predictions import read_match
from cellkin.client.results.sample import ReportWarning, read_warnings
from cellkin.client.results.tables import Shown, Tabular, Told
from cellkin.client.results.versions import Versions
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.match import GeneMatch


@dataclass(frozen=True, repr=False)
class ContrastReport(Shown):
    """Report of a contrast, made before its cells are compared.

    Parameters
    ----------
    versions
        Versions of the response.
    match
        Match of each gene to the corpus; None if labels of the reference are compared.
    a, b
        Labels of the groups, as resolved.
    """

    versions: Versions
    match: GeneMatch | None
    a: tuple[str, ...]
    b: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class RegulatorActivities(Tabular):
    """Differences of the estimated activity of regulators, most significant first.

    Parameters
    ----------
    collections
        Collection version of each.
    regulators
        Their names.
    n_targets
        (n_regulators,) int64, measured targets.
    scores
        (n_regulators,) float32, t statistics of the univariate linear model, positive in group a.
    p_values, fdrs
        (n_regulators,) float64 p-values and their false discovery rates.
    """

    collections: tuple[str, ...]
    regulators: tuple[str, ...]
    n_targets: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    p_values: npt.NDArray[np.float64]
    fdrs: npt.NDArray[np.float64]

    def columns(self) -> dict[str, Any]:
        """Return one row per regulator."""
        return {
            "collection": list(self.collections),
            "regulator": list(self.regulators),
            "n_targets": self.n_targets,
            "score": self.scores,
            "p_value": self.p_values,
            "fdr": self.fdrs,
        }


@dataclass(frozen=True, repr=False)
class Contrast(Tabular):
    """Two groups of cells compared by genes, gene sets and regulators.

    Genes are by descending statistic. Those with ``predicted_from_text`` were not measured: their
    statistic is predicted from genes of similar text, and other values are NaN.

    Parameters
    ----------
    report
        The groups, and the match of the genes.
    n_a, n_b
        Numbers of cells of the groups.
    gene_test
        ``wilcoxon`` for cells, ``welch`` for the profiles of labels.
    genes
        The n genes.
    contributions
        (n,) float32, contribution to the direction that separates the groups in the expression
        space; 0 for genes outside of it.
    means_a, means_b
        (n,) float32, mean log1p of counts per 10,000.
    detected_a, detected_b
        (n,) float32 in [0, 1], share of cells in which the gene is detected.
    log2_fold_changes
        (n,) float32, of the mean counts per 10,000 with 1 added to each.
    statistics
        (n,) float32, positive in group a.
    p_values, fdrs
        (n,) float64, two-sided p-values and their false discovery rates.
    pseudobulk_p_values
        (n,) float64, p-values over the means of batches; NaN with fewer than three batches a side.
    predicted_from_text
        (n,) bool.
    n_genes
        Number of genes tested.
    sets
        Enrichment of gene sets.
    regulators
        Activities of regulators.
    collections
        Versions of the collections of sets and regulons.
    n_permutations
        Number of permutations of group labels.
    called_by_chance
        Mean number of sets that are called when group labels are permuted.
    warnings
        Limits of the result.
    """

    report: ContrastReport
    n_a: int
    n_b: int
    gene_test: str
    genes: tuple[GeneRecord, ...]
    contributions: npt.NDArray[np.float32]
    means_a: npt.NDArray[np.float32]
    means_b: npt.NDArray[np.float32]
    detected_a: npt.NDArray[np.float32]
    detected_b: npt.NDArray[np.float32]
    log2_fold_changes: npt.NDArray[np.float32]
    statistics: npt.NDArray[np.float32]
    p_values: npt.NDArray[np.float64]
    fdrs: npt.NDArray[np.float64]
    pseudobulk_p_values: npt.NDArray[np.float64]
    predicted_from_text: npt.NDArray[np.bool_]
    n_genes: int
    sets: EnrichedSets
    regulators: RegulatorActivities
    collections: tuple[str, ...]
    n_permutations: int
    called_by_chance: float
    warnings: tuple[ReportWarning, ...]

    @property
    def versions(self) -> Versions:
        """Versions of the response."""
        return self.report.versions

    @property
    def name_a(self) -> str:
        """The labels of group a, in one string."""
        return ", ".join(self.report.a) or "a"

    @property
    def name_b(self) -> str:
        """The labels of group b, in one string."""
        return ", ".join(self.report.b) or "others"

    @property
    def title(self) -> str:
        """What was compared, in one line."""
        return (
            f"{self.name_a} ({self.n_a:,} cells) against {self.name_b} ({self.n_b:,} cells): "
            f"{self.n_genes:,} genes by {self.gene_test}"
        )

    @property
    def chance(self) -> str:
        """How many sets are called, and how many if group labels are permuted, in one line."""
        if not self.sets.sets:
            return "no gene set was tested"
        return (
            f"{len(self.sets.called)} sets are called; with permuted group labels "
            f"{self.called_by_chance:.2g} are, on average of {self.n_permutations:,} permutations"
        )

    def manifest(self) -> dict[str, Any]:
        """Return what was compared, by which versions, and the limits of the result, for JSON."""
        match = self.report.match
        return {
            "a": list(self.report.a),
            "b": list(self.report.b),
            "n_a": self.n_a,
            "n_b": self.n_b,
            "gene_test": self.gene_test,
            "n_genes": self.n_genes,
            "n_sets_called": len(self.sets.called),
            "called_by_chance": self.called_by_chance,
            "n_permutations": self.n_permutations,
            "versions": asdict(self.versions),
            "collections": list(self.collections),
            "gene_match": match.to_metadata() if match else {},
            "warnings": [asdict(warning) for warning in self.warnings],
        }

    def columns(self) -> dict[str, Any]:
        """Return one row per gene."""
        return {
            "gene": [gene.symbol for gene in self.genes],
            "gene_id": np.array([gene.gene_id for gene in self.genes], np.int64),
            "statistic": self.statistics,
            "p_value": self.p_values,
            "fdr": self.fdrs,
            "log2_fold_change": self.log2_fold_changes,
            "contribution": self.contributions,
            "mean_a": self.means_a,
            "mean_b": self.means_b,
            "detected_a": self.detected_a,
            "detected_b": self.detected_b,
            "pseudobulk_p_value": self.pseudobulk_p_values,
            "predicted_from_text": self.predicted_from_text,
            "text": [gene.rung.label for gene in self.genes],
            "name": [gene.name for gene in self.genes],
        }

    def strongest(self, n: int) -> npt.NDArray[np.int64]:
        """Return the measured genes with the largest statistics of either sign.

        Parameters
        ----------
        n
            Number of genes a side.

        Returns
        -------
        ndarray
            (at most 2 n,) int64 positions, by descending statistic.
        """
        measured = np.flatnonzero(~self.predicted_from_text)
        up = [at for at in measured if self.statistics[at] > 0][:n]
        down = [at for at in measured if self.statistics[at] < 0][-n:]
        return np.array([*up, *down], np.int64)

    def _title(self) -> str:
        return self.title

    def _told(self) -> Told:
        return self.title, [self.chance, *map(str, self.warnings)], self.columns()


def read_contrast_report(message: wire.ContrastReport) -> ContrastReport:
    """Read the report of a contrast."""
    return ContrastReport(
        Versions.from_message(message.versions),
        read_match(message.genes) if message.HasField("genes") else None,
        tuple(message.a),
        tuple(message.b),
    )


def read_contrast(report: ContrastReport, message: wire.ContrastResult) -> Contrast:
    """Read the result of a contrast."""
    genes, predicted = message.genes, np.array([g.predicted_from_text for g in message.genes], bool)

    def measured(name: str, dtype: Any = np.float32) -> Any:
        return np.where(predicted, np.nan, [getattr(gene, name) for gene in genes]).astype(dtype)

    return Contrast(
        report,
        message.n_a,
        message.n_b,
        message.gene_test,
        tuple(read_record(gene.gene) for gene in genes),
        measured("contribution"),
        measured("mean_a"),
        measured("mean_b"),
        measured("detected_a"),
        measured("detected_b"),
        measured("log2_fold_change"),
        np.array([gene.statistic for gene in genes], np.float32),
        measured("p_value", np.float64),
        measured("fdr", np.float64),
        np.array([given(gene, "pseudobulk_p_value") for gene in genes], np.float64),
        predicted,
        message.n_genes,
        EnrichedSets(read_sets(message.sets)),
        _read_regulators(message.regulators),
        tuple(each.version for each in message.collections),
        message.n_permutations,
        message.called_by_chance,
        read_warnings(message.warnings),
    )


def _read_regulators(found: Any) -> RegulatorActivities:
    return RegulatorActivities(
        tuple(each.collection for each in found),
        tuple(each.regulator for each in found),
        np.array([each.n_targets for each in found], np.int64),
        np.array([each.score for each in found], np.float32),
        np.array([each.p_value for each in found], np.float64),
        np.array([each.fdr for each in found], np.float64),
    )
