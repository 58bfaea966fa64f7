"""Fit the data that foreign samples are checked with: gene pairs and label profiles."""

import numpy as np

from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.spaces.text import FittedText, label_dispersion
from cellkin.space.gene_pairs import ForeignReference
from cellkin.space.vectors import NearestMeasured

KEPT = 2_000
"""Number of measured genes that may be partners: those that separate the labels best."""


def fit_foreign(fitted: FittedText, sample: Sample) -> ForeignReference:
    """Pair all genes of a text space with measured genes.

    Parameters
    ----------
    fitted
        The text space, fitted to the sample.
    sample
        The labeled cells.
    """
    space = fitted.space
    rows = space.rows_of(sample.gene_ids)
    met = np.flatnonzero(rows >= 0)
    measured = rows[met]
    weights = label_dispersion(sample)[met]
    best = np.argsort(-weights, kind="stable")[:KEPT]
    kept = np.sort(best[weights[best] > 0])
    place = np.full(len(measured), -1, np.int32)
    place[kept] = np.arange(len(kept), dtype=np.int32)
    partners = np.full(len(space.gene_ids), -1, np.int32)
    cosines = np.ones(len(space.gene_ids), np.float32)
    if len(measured):
        found = fitted.nearest or NearestMeasured.of(space.vectors, measured, 1)
        partners[measured] = place
        partners[found.rest] = place[found.places[:, 0]]
        cosines[found.rest] = found.cosines[:, 0]
    profiles = sample.moments.sums[:, met[kept]] / sample.counts()[:, None]
    return ForeignReference(
        partners, cosines, np.asarray(profiles, np.float32), weights[kept].astype(np.float32)
    )
