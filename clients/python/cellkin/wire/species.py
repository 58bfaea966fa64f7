"""Species of single-cell data: names, and formats of their Ensembl gene ids."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cellkin.wire.errors import InvalidArgumentError


@dataclass(frozen=True)
class Species:
    """A species known by name; any other is given by its taxonomy id.

    Parameters
    ----------
    taxon
        NCBI taxonomy id, as NCBI Gene uses it.
    name
        Common name, used for display.
    scientific
        Scientific name.
    ensembl
        Prefix of its Ensembl gene ids, "" if they have none of their own.
    assemblies
        Prefixes of the names of its assemblies.
    others
        Other accepted names.
    """

    taxon: int
    name: str
    scientific: str
    ensembl: str = ""
    assemblies: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


SPECIES = (
    Species(9606, "human", "Homo sapiens", "ENSG", ("GRCh", "hg")),
    Species(10090, "mouse", "Mus musculus", "ENSMUSG", ("GRCm", "mm")),
    Species(10116, "rat", "Rattus norvegicus", "ENSRNOG", ("GRCr", "rn", "mRatBN")),
    Species(
        9544, "macaque", "Macaca mulatta", "ENSMMUG", ("Mmul_", "rheMac"),
        ("rhesus", "rhesus macaque", "rhesus monkey"),
    ),
    Species(
        9541, "crab-eating macaque", "Macaca fascicularis", "ENSMFAG", ("macFas",),
        ("cynomolgus", "cynomolgus macaque", "cynomolgus monkey", "long-tailed macaque"),
    ),
    Species(9598, "chimpanzee", "Pan troglodytes", "ENSPTRG", ("panTro",), ("chimp",)),
    Species(9595, "gorilla", "Gorilla gorilla gorilla", "ENSGGOG", (), ("Gorilla gorilla",)),
    Species(9601, "orangutan", "Pongo abelii", "ENSPPYG", (), ("Sumatran orangutan",)),
    Species(9483, "marmoset", "Callithrix jacchus", "ENSCJAG", ("calJac",), ("common marmoset",)),
    Species(30608, "mouse lemur", "Microcebus murinus", "ENSMICG", (), ("gray mouse lemur",)),
    Species(9823, "pig", "Sus scrofa", "ENSSSCG", ("Sscrofa", "susScr"), ("swine",)),
    Species(9913, "cow", "Bos taurus", "ENSBTAG", ("bosTau",), ("cattle", "bovine")),
    Species(9940, "sheep", "Ovis aries", "ENSOARG"),
    Species(9925, "goat", "Capra hircus", "ENSCHIG"),
    Species(9796, "horse", "Equus caballus", "ENSECAG", ("EquCab",)),
    Species(9615, "dog", "Canis lupus familiaris", "ENSCAFG", ("CanFam",), ("Canis familiaris",)),
    Species(9685, "cat", "Felis catus", "ENSFCAG"),
    Species(9669, "ferret", "Mustela putorius furo", "ENSMPUG"),
    Species(9986, "rabbit", "Oryctolagus cuniculus", "ENSOCUG", ("OryCun",)),
    Species(10141, "guinea pig", "Cavia porcellus", "ENSCPOG"),
    Species(10036, "golden hamster", "Mesocricetus auratus", "ENSMAUG", (), ("Syrian hamster",)),
    Species(10029, "Chinese hamster", "Cricetulus griseus", "ENSCGRG"),
    Species(10181, "naked mole-rat", "Heterocephalus glaber", "ENSHGLG", (), ("naked mole rat",)),
    Species(13616, "opossum", "Monodelphis domestica", "ENSMODG"),
    Species(9031, "chicken", "Gallus gallus", "ENSGALG", ("GRCg", "galGal")),
    Species(59729, "zebra finch", "Taeniopygia guttata", "ENSTGUG"),
    Species(8364, "frog", "Xenopus tropicalis", "ENSXETG", (), ("western clawed frog",)),
    Species(8355, "African clawed frog", "Xenopus laevis"),
    Species(8296, "axolotl", "Ambystoma mexicanum"),
    Species(7955, "zebrafish", "Danio rerio", "ENSDARG", ("GRCz", "danRer")),
    Species(8090, "medaka", "Oryzias latipes", "ENSORLG"),
    Species(7719, "sea squirt", "Ciona intestinalis", "ENSCING"),
    Species(
        7227, "fly", "Drosophila melanogaster", "FBgn", ("BDGP", "dm"),
        ("fruit fly", "fruitfly", "drosophila"),
    ),
    Species(
        6239, "worm", "Caenorhabditis elegans", "WBGene", ("WBcel", "ce"),
        ("nematode", "roundworm"),
    ),
    Species(
        559292, "yeast", "Saccharomyces cerevisiae S288C", "", (),
        ("budding yeast", "Saccharomyces cerevisiae"),
    ),
    Species(3702, "Arabidopsis", "Arabidopsis thaliana", "", (), ("thale cress",)),
)  # fmt: skip
"""Most used first: if gene names fit several species equally well, the first is chosen."""

_BY_TAXON = {species.taxon: species for species in SPECIES}
_ID = re.compile(r"(ENS[A-Z]*G|FBgn|WBGene)[0-9]+")
_CLOSE = 0.6
_NO_TAXON = 1 << 31


def taxon_name(taxon: int) -> str:
    """Return the common name of a species, or ``taxon ID`` if it is not in `SPECIES`."""
    species = _BY_TAXON.get(taxon)
    return species.name if species else f"taxon {taxon}"


def taxon_id(given: int | str) -> int:
    """Return the NCBI taxonomy id of a species.

    Parameters
    ----------
    given
        The id, as a number or text; or the common or scientific name of a species in `SPECIES`,
        in any letter case: ``mouse``, ``Mus musculus``, ``mus_musculus``, ``M. musculus`` or
        ``mmusculus``. 0 or "" means not given: the species is inferred where possible.

    Raises
    ------
    InvalidArgumentError
        If it is not a name in `SPECIES`, or a number below 0 or above 2**31 - 1.
    """
    text = str(given).strip()
    if not text:
        return 0
    if not isinstance(given, str) or text.lstrip("+-").isdecimal():
        if isinstance(given, bool) or not text.isdecimal() or int(text) >= _NO_TAXON:
            raise InvalidArgumentError(
                f"taxon is {given!r}; give an NCBI taxonomy id, such as 9606, or the name of a "
                "species, such as human",
                field="taxon",
            )
        return int(text)
    taxon_of = _taxa_by_name()
    name = _spelled(text)
    if name in taxon_of:
        return taxon_of[name]
    close = difflib.get_close_matches(name, taxon_of, n=3, cutoff=_CLOSE)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    raise InvalidArgumentError(
        f"no species is known here as {given!r}; {meant}Give its NCBI taxonomy id, such as 9606, "
        "or a common or scientific name, such as mouse or Mus musculus",
        {"close": ",".join(close)},
        field="taxon",
    )


def species_of_ids(names: Iterable[str]) -> int:
    """Return the species of which most names are Ensembl ids, 0 if there is none."""
    prefixes = Counter(found[1] if (found := _ID.match(name)) else "" for name in names)
    prefix, n = next(iter(prefixes.most_common(1)), ("", 0))
    taxon_of = {species.ensembl: species.taxon for species in SPECIES if species.ensembl}
    return taxon_of.get(prefix, 0) if 2 * n > prefixes.total() else 0


def _taxa_by_name() -> dict[str, int]:
    taxa: dict[str, int] = {}
    for species in SPECIES:
        names = [species.name, species.scientific, *species.others]
        genus = species.scientific.split()[0]
        for rest in [n.removeprefix(f"{genus} ") for n in names if n.startswith(f"{genus} ")]:
            names += [f"{genus[0]}. {rest}", f"{genus[0]}.{rest}", f"{genus[0]}{rest}"]
        taxa |= {_spelled(name): species.taxon for name in names}
    return taxa


def _spelled(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").split())
