"""The corpus: one text per gene, and where it came from."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.genes import ncbi
from cellkin.indexer.genes.extras import read_extra_texts
from cellkin.indexer.genes.fetch import Source, local_file, source_file
from cellkin.indexer.genes.names import GeneNames
from cellkin.indexer.genes.orthologs import Partners, one_to_one
from cellkin.indexer.genes.report import CorpusReport, JoinCounts, SharedText, SourceFile
from cellkin.indexer.genes.string_db import read_protein_info, string_release
from cellkin.indexer.genes.text import Template, clean_summary, text_sha256
from cellkin.store.schema import CORPUS
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import TextRung
