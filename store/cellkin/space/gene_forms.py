"""Parse the forms of gene names: prefixes, composites, prefixed ids, suffixes of repeated names."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from cellkin.wire.features import MISSING_WORDS, non_gene
from cellkin.wire.species import SPECIES

Parts: TypeAlias = tuple[str, str, int]
"""The parts of a name: label, Ensembl id, and stated species (NCBI taxonomy id, 0 for none)."""
Apart: TypeAlias = Callable[[str], Parts | None]
"""`take_apart` for one corpus."""

# Short names of assemblies are recognized only with the numbers of existing releases.
_NUMBERS = {"hg": "1[89]|38", "mm": "9|10|39", "rn": "[4-8]", "dm": "[36]", "ce": "1[01]"}
_ASSEMBLIES = {name: species.taxon for species in SPECIES for name in species.assemblies}
_ASSEMBLY = "|".join(
    f"{name}(?={numbers})" if (numbers := _NUMBERS.get(name)) else name for name in _ASSEMBLIES
)
_PREFIX = (  # "++" keeps matching linear in the length of a name
    rf"(?: (?P<assembly> GRC[a-z] | {_ASSEMBLY} )"
    r" [0-9]{1,2} [a-z]? (?: \.p?[0-9]{1,2} )? [-_]++ )"
)
_ASSEMBLY_PREFIX = re.compile(_PREFIX, re.VERBOSE | re.IGNORECASE)
_FORM = re.compile(
    rf"""
    {_PREFIX}?
    (?: (?: (?P<before> .+? ) [-_|] )??
        (?P<ensembl> (?P<kind> ENS[A-Z]*G | FBgn | WBGene ) [0-9]+ ) (?: \.[0-9]+ )?
        (?: [-_|] (?P<after> .+ ) )?
      | (?: GeneID: | LOC ) (?P<number> [0-9]+ )
      | (?P<rest> .+ )
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_PLAIN = re.compile(r"(ENS[A-Z]*G|FBGN|WBGENE)([0-9]+)(?:\.[0-9]+)?")
_MARKS = (*(name.upper() for name in _ASSEMBLIES), "GRC", "GENEID:", "LOC")
_BEGIN = frozenset(mark[:2] for mark in _MARKS)
_KINDS = {kind.upper(): kind for kind in ("FBgn", "WBGene")}
"""Spelling of id prefixes that are not in capitals."""
_SUFFIX = re.compile(r"[-.][1-9][0-9]*(?=\n)")
_KIND = re.compile(r"(ENS[A-Z]*G|FBgn|WBGene)[0-9]+")


def stated_species(ensembl_ids: Mapping[int, Iterable[str]]) -> dict[str, int]:
    """Map prefixes of Ensembl ids and assemblies, in capitals, to NCBI taxonomy ids.

    Parameters
    ----------
    ensembl_ids
        Some Ensembl ids of each species of a corpus: a prefix that only one species has is mapped
        to it, in addition to the prefixes in `SPECIES`.
    """
    learned: dict[str, set[int]] = {}
    for taxon, ids in ensembl_ids.items():
        for kind in filter(None, map(_KIND.fullmatch, ids)):
            learned.setdefault(kind[1].upper(), set()).add(taxon)
    stated = {kind: taxon for kind, (taxon, *others) in learned.items() if not others}
    stated |= {name.upper(): taxon for name, taxon in _ASSEMBLIES.items()}
    return stated | {s.ensembl.upper(): s.taxon for s in SPECIES if s.ensembl}


def without_assembly(name: str) -> str:
    """Remove the prefix that states an assembly, as in ``GRCh38_INS``.

    Parameters
    ----------
    name
        Name without surrounding whitespace.
    """
    if name[:2].upper() not in _BEGIN:
        return name
    prefix = _ASSEMBLY_PREFIX.match(name)
    return (prefix and name[prefix.end() :]) or name


def take_apart(name: str, species: Mapping[str, int]) -> Parts | None:
    """Parse prefixes, composites and prefixed ids; return None for other names.

    Parameters
    ----------
    name
        Name without surrounding whitespace.
    species
        From `stated_species`.
    """
    upper = name.upper()
    marked = upper[:2] in _BEGIN and upper.startswith(_MARKS)
    if not (marked or "ENS" in upper or "FBGN" in upper or "WBGENE" in upper):
        return None  # most names end here, without a regular expression
    if plain := _PLAIN.fullmatch(upper):
        kind, number = plain.groups()
        return "", _KINDS.get(kind, kind) + number, species.get(kind, 0)
    form = _FORM.fullmatch(name)
    if form is None or form["rest"] == name:
        return None
    assembly, before, ensembl, kind, after, number, rest = form.groups(default="")
    if before and non_gene(name):
        return None  # DEPRECATED_ENSG00000254647 does not measure the gene
    beside = before or after
    # The 1 in ENSG00000254647-1 is not a GeneID.
    label = number or rest or ("" if beside.isdigit() else beside)
    kind = kind.upper()
    ensembl = _KINDS.get(kind, kind) + ensembl[len(kind) :]
    return label.strip(), ensembl, species.get(kind or assembly.upper(), 0)


def fold(names: Iterable[str]) -> list[str]:
    """Normalize what is often lost: letter case, and dashes (``.`` in R's column names)."""
    return [name.replace(".", "-") for name in map(str.casefold, names)]


def repeated_names(given: Sequence[str]) -> dict[int, list[int]]:
    """Find names that are another name of the list with the suffix of a repeated name.

    Parameters
    ----------
    given
        The names, without surrounding whitespace.

    Returns
    -------
    dict[int, list[int]]
        Position of a name -> positions of the same name with the suffix that scanpy (``-1``) or R
        (``.1``) adds.
    """
    # One search through the joined names is several times faster than one per name.
    text = "\n".join(["", *given, ""])
    base_of = {}
    for suffix in _SUFFIX.finditer(text):
        start = text.rfind("\n", 0, suffix.start()) + 1
        base_of[text[start : suffix.end()]] = text[start : suffix.start()]
    there = set(base_of.values()).intersection(given)
    if not there:
        return {}
    base_of = {name: base for name, base in base_of.items() if base in there}
    wanted = there | base_of.keys()
    place_of: dict[str, int] = {}
    places: dict[str, list[int]] = {}
    for at, name in [(at, name) for at, name in enumerate(given) if name in wanted]:
        if name in there:
            place_of[name] = at
        if name in base_of:
            places.setdefault(base_of[name], []).append(at)
    return {place_of[base]: repeated for base, repeated in places.items()}


def missing_spellings() -> frozenset[str]:
    """Return the words for a missing name in every combination of letter case, and ""."""
    spelled = {""}
    for word in MISSING_WORDS:
        letters = [{sign.lower(), sign.upper()} for sign in word]
        ends = {""}
        for each in letters:
            ends = {end + sign for end in ends for sign in each}
        spelled |= ends
    return frozenset(spelled)
