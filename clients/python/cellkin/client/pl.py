"""Plots of results, in scanpy's style: each function draws on axes and returns them.

They need matplotlib, and `gene_network` networkx (extra ``plot``), imported on first use. Labels
have one color each in all pictures, by their place in the reference; `cellkin.client.tl.annotate`
writes it to ``uns['cellkin_label_colors']``, where ``scanpy.pl`` finds it.
"""

from cellkin.client.cell_plots import labels, on_reference
from cellkin.client.dot_plots import dotplot
from cellkin.client.gene_plots import (
    contrast,
    enrichment,
    gene_neighborhood,
    gene_network,
)
from cellkin.client.label_plots import composition, confidence, confusion, reliability

__all__ = [
    "composition",
    "confidence",
    "confusion",
    "contrast",
    "dotplot",
    "enrichment",
    "gene_neighborhood",
    "gene_network",
    "labels",
    "on_reference",
    "reliability",
]
