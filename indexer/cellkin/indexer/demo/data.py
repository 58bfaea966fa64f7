"""Download the demo's data from the package index, verify and convert it.

Two wheels contain data for label transfer between species: ``came`` has the human and mouse
pancreas of Baron et al. (2016, https://doi.org/10.1016/j.cels.2016.08.011), ``goatools`` the
protein-coding genes of NCBI Gene of both species. They are opened as archives; nothing in them is
installed, imported or run.
"""

import ast
import gzip
import hashlib
import io
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np

from cellkin.wire.errors import InputFileError, IntegrityError, UnavailableError


@dataclass(frozen=True)
class Wheel:
    """A wheel with data of the demo.

    Parameters
    ----------
    requirement
        Requirement for pip, with exact version.
    filename
        File name that pip saves it as.
    sha256
        Digest of the published file, hexadecimal.
    """

    requirement: str
    filename: str
    sha256: str


CELLS = Wheel(
    "came==0.1.13",
    "came-0.1.13-py3-none-any.whl",
    "7fdb1a65006ca668e0cab51576a09bf540f074346e5f120ec654cd4f91627f7d",
)
GENES = Wheel(
    "goatools==1.6.7",
    "goatools-1.6.7-py3-none-any.whl",
    "6af3d675bd5656a56e201264d4b67ffa97bc4abbe44d2a0d0e32b8a8ab1e1cc0",
)
TAXA = {"human": 9606, "mouse": 10090}
"""NCBI taxonomy id of each species."""

_LEAST_SHARE = 0.01
"""Least share of cells that express a gene of the demo."""

_RENAMED = {"t_cell": "T_cell"}
"""The one type whose name differs in letter case between the two species."""

_ARGUMENT = re.compile(r"""(\w+)=(-?\d+|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?:, |$)""")
"""A named literal of a call."""

_GENE_INFO_COLUMNS = (
    "#tax_id",
    "GeneID",
    "Symbol",
    "LocusTag",
    "Synonyms",
    "dbXrefs",
    "chromosome",
    "map_location",
    "description",
    "type_of_gene",
    "Symbol_from_nomenclature_authority",
    "Full_name_from_nomenclature_authority",
    "Nomenclature_status",
    "Other_designations",
    "Modification_date",
    "Feature_type",
)


@dataclass(frozen=True)
class DemoFiles:
    """The converted files and their sizes.

    Parameters
    ----------
    gene_info
        Genes of both species, in the format of NCBI's ``gene_info.gz``.
    human, mouse
        Raw counts (cells x genes, float32 CSR) as ``.h5ad`` with ``obs['cell_type']`` and
        ``obs['donor']``.
    n_genes, n_cells
        Rows, by species.
    """

    gene_info: Path
    human: Path
    mouse: Path
    n_genes: dict[str, int]
    n_cells: dict[str, int]


def prepare(folder: Path) -> DemoFiles:
    """Download files that are not in ``folder`` yet, and convert them.

    Parameters
    ----------
    folder
        Folder of the converted files; downloads are in its ``downloads/``.

    Returns
    -------
    DemoFiles
        Their paths and sizes.

    Raises
    ------
    UnavailableError
        A wheel could not be downloaded.
    IntegrityError
        A wheel is not the published file.
    InputFileError
        A wheel does not hold the expected data.
    """
    with ThreadPoolExecutor() as pool:
        cells, genes = pool.map(lambda wheel: fetch(wheel, folder / "downloads"), (CELLS, GENES))
    paths = {species: folder / f"{species}.h5ad" for species in TAXA}
    with zipfile.ZipFile(cells) as archive:
        # Read at once, as each step backward in a compressed member would decompress it again.
        samples = zipfile.ZipFile(io.BytesIO(archive.read("came/sample_data.zip")))
    converted = {species: _convert_cells(samples, species, path) for species, path in paths.items()}
    n_cells = {species: cells.n_obs for species, cells in converted.items()}
    expressed = {species: _expressed(cells) for species, cells in converted.items()}
    gene_info = folder / "gene_info.gz"
    n_genes = _convert_genes(genes, gene_info, expressed)
    return DemoFiles(gene_info, paths["human"], paths["mouse"], n_genes, n_cells)


def fetch(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel with pip, unless ``folder`` has it, and verify its digest.

    Parameters
    ----------
    wheel
        The wheel.
    folder
        Download folder; created if missing.

    Returns
    -------
    Path
        The checked file.

    Raises
    ------
    UnavailableError
        pip could not download it; the message ends with the output of pip.
    IntegrityError
        The SHA-256 is not that of the published file.
    """
    path = folder / wheel.filename
    if not path.exists():
        # --only-binary: a source distribution would run its own code just to be downloaded.
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--quiet", "--disable-pip-version-check", "-d", str(folder), wheel.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            raise UnavailableError(
                f"pip could not download {wheel.requirement} as {wheel.filename}. Check that a "
                f"package index can be reached (pip config list), then run again. pip said:\n"
                f"{done.stderr.strip() or 'nothing'}"
            )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise IntegrityError(
            f"{path} has SHA-256 {found}, expected {wheel.sha256} of {wheel.requirement}: it is "
            "damaged or not the published file. Delete it and run again."
        )
    return path


def parse_genes(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Parse the genes of a goatools module without running it.

    Parameters
    ----------
    lines
        Lines of the module; those of genes read ``<GeneID> : NtData(tax_id=9606, ...),``.

    Yields
    ------
    dict
        Literal arguments of one gene by name, as strings; empty if missing.

    Raises
    ------
    InputFileError
        The line of a gene is not a call with literal arguments.
    """
    for number, line in enumerate(lines, start=1):
        _, is_gene, call = line.partition(" : NtData(")
        if not is_gene:
            continue
        try:
            yield _arguments(call.strip().removesuffix(",").removesuffix(")"))
        except (SyntaxError, ValueError) as error:
            raise InputFileError(
                f"Line {number} of the gene table is not a gene: {line.strip()[:60]!r}; expected "
                "'<GeneID> : NtData(name=literal, ...),'. Is this another version of goatools?"
            ) from error


def _arguments(text: str) -> dict[str, str]:
    # What is between the arguments, which must be nothing, their names and their literals, in turn.
    parts = _ARGUMENT.split(text)
    if len(parts) == 1 or any(parts[::3]):
        raise ValueError(text)
    return {name: _value(literal) for name, literal in zip(parts[1::3], parts[2::3], strict=True)}


def _value(literal: str) -> str:
    # Python's own parser is slow, and few literals need it.
    if "\\" in literal:
        return str(ast.literal_eval(literal))
    return literal[1:-1] if literal[0] in "'\"" else literal


def gene_info_line(gene: dict[str, str]) -> str:
    """Format one gene as a line of NCBI's ``gene_info``: 16 columns, '-' if missing.

    Parameters
    ----------
    gene
        A gene of `parse_genes`.

    Returns
    -------
    str
        Tab-separated line with a newline.

    Raises
    ------
    KeyError
        The gene lacks one of the arguments used here.
    """
    columns = dict.fromkeys(_GENE_INFO_COLUMNS, "-") | {
        "#tax_id": gene["tax_id"],
        "GeneID": gene["GeneID"],
        "Symbol": gene["Symbol"],
        "Synonyms": gene["Aliases"].replace(", ", "|"),
        "chromosome": gene["chromosome"],
        "map_location": gene["map_location"],
        "description": gene["description"],
        "type_of_gene": "protein-coding",
        "Other_designations": gene["other_designations"],
    }
    return "\t".join(value or "-" for value in columns.values()) + "\n"


def _expressed(cells: ad.AnnData) -> set[str]:
    """Return the genes expressed in at least 1 % of the cells.

    The others contribute little to any cell, and would add half as many texts to embed.
    """
    n_detected = np.asarray((cells.X > 0).sum(axis=0)).ravel()
    return set(cells.var_names[n_detected >= _LEAST_SHARE * cells.n_obs])


def _convert_genes(wheel: Path, target: Path, expressed: dict[str, set[str]]) -> dict[str, int]:
    """Write the genes that the cells of their species express, matched by symbol or alias."""
    n_genes = dict.fromkeys(TAXA, 0)
    # mtime=0 makes the bytes, and so their digest in the store, reproducible.
    with (
        zipfile.ZipFile(wheel) as archive,
        gzip.GzipFile(target, "wb", compresslevel=6, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as out,
    ):
        out.write("\t".join(_GENE_INFO_COLUMNS) + "\n")
        for species, taxon in TAXA.items():
            member = f"goatools/test_data/genes_NCBI_{taxon}_ProteinCoding.py"
            with archive.open(member) as module:
                for gene in parse_genes(io.TextIOWrapper(module, encoding="utf-8")):
                    names = [gene["Symbol"], *gene["Aliases"].split(", ")]
                    if expressed[species].isdisjoint(names):
                        continue
                    # A single designation halves the text to embed.
                    first, _, _ = gene["other_designations"].partition("|")
                    out.write(gene_info_line(gene | {"other_designations": first}))
                    n_genes[species] += 1
    return n_genes


def _convert_cells(samples: zipfile.ZipFile, species: str, target: Path) -> ad.AnnData:
    member = f"raw-Baron_{species}.h5ad"
    samples.extract(member, target.parent / "downloads")
    raw = target.parent / "downloads" / member
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.OldFormatWarning)  # the file dates from 2021
        cells = ad.read_h5ad(raw)
    raw.unlink()
    cell_types = cells.obs["cell_type1"].astype(str).replace(_RENAMED)
    cells.obs = cells.obs[["donor"]].assign(cell_type=cell_types.astype("category"))
    cells.write_h5ad(target)
    return cells
