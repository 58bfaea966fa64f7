"""Recognition of matrix columns whose names are clearly not genes."""

import re
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt


class NonGene(StrEnum):
    """Kinds of columns whose names are clearly not genes."""

    MISSING = "missing names"
    """Missing values as pandas, R or tables write them: ``nan``, ``NA``, ``''``."""
    REGION = "genomic regions"
    """Peaks, bins and variants: ``chr1:100-200``."""
    CONTROL = "controls"
    """Control probes, spike-ins and counters: ``BLANK_0001``, ``ERCC-00002``, ``__no_feature``."""
    ANTIBODY = "antibody tags"
    """Tags recognizable by name: ``CD3_TotalSeqB``, ``HTO_1``, isotype controls."""


MISSING_WORDS = frozenset(
    ("", "nan", "na", "n/a", "#n/a", "<na>", "none", "null", "-", "--", "?", ".", "...")
)
"""In lower case, without surrounding spaces."""

# Names are matched in lower case. Real symbols and synonyms are near: 14-3-3, ERCC1, Chrm-1, NEGR1,
# CHR4_55, Adt-1, NA-14, IGHG1.
_REGION = re.compile(
    r"""
    chr [a-z0-9_.]+ (?: : [0-9]+ .* | [:_-] [0-9]+ [_-] [0-9]{2,} (?: [:_-] .* )? )
  | [a-z0-9_.]+ : [0-9]+ - [0-9]{2,} (?: [:_-] [-+.] )?
  | (?: [0-9]{1,2} | [xy] | mt | (?: gl | ki | kl | jh | mu | n[ctwz]_ ) [0-9]+\.[0-9]+ )
    [_-] [0-9]+ [_-] [0-9]{3,}
    """,
    re.VERBOSE,
)
_CONTROL = re.compile(
    r"""
    neg (?: ative )? [-_. ]? (?: control | ctrl | prb | probe ) .* | negative [-_. ]? [0-9]+
  | (?: unassigned | deprecated | unused ) [-_. ]? codeword .*
  | (?: deprecated | antisense | intergenic ) [-_. ] .+
  | (?: system | positive | genomic ) [-_. ]? control .* | falsecode .*
  | blank [-_. ]? [a-z]? [0-9]*
  | ercc [-_.] [0-9]{5} | sirv [0-9]{1,3} | spike [-_. ]? in [^a-z]* | phix [0-9]*
  | __ (?: no_feature | ambiguous | too_low_aqual | not_aligned | alignment_not_unique )
  | n_ (?: unmapped | multimapping | nofeature | ambiguous ) | unmapped | unassigned
    """,
    re.VERBOSE,
)
_ANTIBODY = re.compile(
    r"""
    .* [-_. ] totalseq .* | .+ [-_.] (?: adt | hto ) | (?: adt | hto ) (?: _ .+ | - [a-z] .+ )
  | hto - [0-9]+ | hash [-_. ]? tag .* | .* isotype .*
  | (?: .* [-_. ] )? ig [adgm] [0-9]? [a-c]? (?: [-_. ] .* )? (?: control | ctrl ) .*
    """,
    re.VERBOSE,
)
_FORMS = (
    (NonGene.REGION, _REGION),
    (NonGene.CONTROL, _CONTROL),
    (NonGene.ANTIBODY, _ANTIBODY),
)
# Fast path: nearly all gene names begin differently.
_BEGIN = frozenset(
    [
        *("", "na", "n/", "#n", "<n", "no", "nu", "-", "--", "?", ".", ".."),
        *("ch", "x_", "x-", "y_", "y-", "mt", "nc", "nt", "nw", "nz", "gl", "ki", "kl", "jh", "mu"),
        *(f"{digit}{sign}" for digit in "0123456789" for sign in "0123456789_-"),
        *("ne", "un", "de", "an", "in", "sy", "po", "ge", "fa", "bl", "er", "si", "sp", "ph"),
        *("__", "n_", "ad", "ht", "ha"),
    ]
)
_END = ("-adt", "_adt", ".adt", "-hto", "_hto", ".hto")
_REPEATED = re.compile(r"(.*)[-._][0-9]+")


def non_gene(name: str) -> NonGene | None:
    """Return the kind of non-gene that a column name denotes; None if it may be a gene.

    Parameters
    ----------
    name
        The column name; surrounding spaces are ignored.

    Notes
    -----
    A species may have a gene of such a name, as the fly's ``nan``; a caller that knows the species
    decides.
    """
    lower = name.strip().lower()
    usual = not (
        lower[:2] in _BEGIN
        or ":" in lower
        or "totalseq" in lower
        or "isotype" in lower
        or "control" in lower
        or "ctrl" in lower
        or lower.endswith(_END)
    )
    if usual:
        return None
    if lower in MISSING_WORDS:
        return NonGene.MISSING
    return next((kind for kind, form in _FORMS if form.fullmatch(lower)), None)


def non_genes(names: Sequence[str]) -> dict[int, NonGene]:
    """Find the columns that are clearly not genes.

    Parameters
    ----------
    names
        The column names of one matrix.

    Returns
    -------
    dict[int, NonGene]
        Kind by column position, ascending. A repeated name with a suffix, such as ``nan-1`` beside
        ``nan``, is not a gene either.
    """
    found = {at: kind for at, name in enumerate(names) if (kind := non_gene(name))}
    missing = {names[at] for at, kind in found.items() if kind is NonGene.MISSING}
    if missing:
        for at, name in enumerate(names):
            repeated = _REPEATED.fullmatch(name)
            if repeated and repeated[1] in missing:
                found.setdefault(at, NonGene.MISSING)
    return dict(sorted(found.items()))


def gene_like(names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return a mask of the columns that may be genes.

    Parameters
    ----------
    names
        The column names of one matrix.

    Returns
    -------
    NDArray
        (n_names,) bool, False for the columns that `non_genes` finds.
    """
    like = np.ones(len(names), bool)
    like[list(non_genes(names))] = False
    return like
