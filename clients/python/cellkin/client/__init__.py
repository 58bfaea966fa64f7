"""The Python client of a cellkin server.

>>> from cellkin.client import Client
>>> with Client("127.0.0.1:50051") as client:                  # doctest: +SKIP
...     client.search_genes("INS", taxon=9606).neighbors[0]
"""

from cellkin.client.client import Client, Gene, GeneNeighborhood
from cellkin.client.connection import Tls
from cellkin.client.predictions import Predictions, QueryReport
from cellkin.client.versions import Versions

__all__ = ["Client", "Gene", "GeneNeighborhood", "Predictions", "QueryReport", "Tls", "Versions"]
