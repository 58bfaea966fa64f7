from collections import Counter

import pytest

from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import SPECIES, taxon_id, taxon_name


@pytest.mark.parametrize(
    ("given", "taxon"),
    [
        (10090, 10090),
        ("10090", 10090),
        (" 9606 ", 9606),
        (0, 0),
        ("0", 0),
        ("", 0),
        (4_932, 4932),  # any species of NCBI by its id
        ("mouse", 10090),
        ("Mouse", 10090),
        ("Mus musculus", 10090),
        ("mus_musculus", 10090),
        ("M. musculus", 10090),
        ("mmusculus", 10090),
        ("hsapiens", 9606),
        ("rhesus macaque", 9544),
        ("fruit fly", 7227),
        ("C. elegans", 6239),
        ("Saccharomyces cerevisiae", 559292),
        ("zebrafish", 7955),
        ("guinea  pig", 10141),
        ("S. cerevisiae", 559292),
        ("C. familiaris", 9615),
        ("G. gorilla", 9595),
    ],
)
def test_a_species_is_named_in_many_ways(given: int | str, taxon: int) -> None:
    assert taxon_id(given) == taxon


@pytest.mark.parametrize(
    ("given", "close"),
    [("mose", "mouse"), ("zebra fish", "zebrafish"), ("Mus muscullus", "mus musculus")],
)
def test_an_unknown_name_is_refused_with_close_ones(given: str, close: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"did you mean .*{close}") as caught:
        taxon_id(given)
    assert close in caught.value.metadata["close"].split(",")
    assert caught.value.field == "taxon"


@pytest.mark.parametrize("given", ["S. hamster", "Shamster", "A. clawed frog", "S. orangutan"])
def test_common_names_have_no_short_form(given: str) -> None:
    with pytest.raises(InvalidArgumentError, match="no species"):
        taxon_id(given)


@pytest.mark.parametrize("given", ["qqqq", -1, "-9606", 1 << 31, True, 9606.5])
def test_what_is_no_species_is_refused(given: int | str) -> None:
    with pytest.raises(InvalidArgumentError, match="taxonomy id"):
        taxon_id(given)


def test_every_name_and_prefix_is_of_one_species() -> None:
    for species in SPECIES:
        names = (species.name, species.scientific, *species.others)
        assert {taxon_id(name) for name in names} == {species.taxon}
        assert taxon_name(species.taxon) == species.name
    for column in ("taxon", "name", "scientific"):
        assert Counter(getattr(s, column) for s in SPECIES).most_common(1)[0][1] == 1
    prefixes = [s.ensembl for s in SPECIES if s.ensembl]
    assert len(set(prefixes)) == len(prefixes)


def test_other_species_are_shown_by_their_id() -> None:
    assert taxon_name(4932) == "taxon 4932"
