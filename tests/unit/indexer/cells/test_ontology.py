"""Labels that are terms of an ontology become paths of what tells them apart."""

from pathlib import Path

import pytest

from cellkin.indexer.cells.ontology import Ontology
from cellkin.wire.errors import InputFileError, InvalidArgumentError

OBO = """format-version: 1.2
ontology: toy

[Term]
id: C:0
name: cell

[Term]
id: C:1
name: animal cell
is_a: C:0 ! cell

[Term]
id: C:2
name: neural cell
is_a: C:1 ! animal cell

[Term]
id: C:3
name: neuron
is_a: C:2 ! neural cell

[Term]
id: C:4
name: retinal ganglion cell
alt_id: C:40
is_a: C:3 ! neuron
relationship: part_of X:1 ! retina

[Term]
id: C:5
name: amacrine/other
is_a: C:3 ! neuron

[Term]
id: C:6
name: Mueller glia
is_a: C:2 ! neural cell
is_a: C:8 ! supporting cell

[Term]
id: C:7
name: endothelial cell
is_a: C:1 ! animal cell

[Term]
id: C:8
name: supporting cell
is_a: C:1 ! animal cell

[Term]
id: C:9
name: ghost
is_obsolete: true
consider: C:3
consider: C:6

[Term]
id: C:10
name: obsolete nerve cell
is_obsolete: true
replaced_by: C:11

[Term]
id: C:11
name: obsolete neuronal cell
is_obsolete: true
replaced_by: C:3

[Term]
id: C:12
name: obsolete circle
is_obsolete: true
replaced_by: C:12

[Term]
id: C:13
name: obsolete two cells
is_obsolete: true
replaced_by: C:3
replaced_by: C:7

[Typedef]
id: part_of
name: part of
"""


@pytest.fixture
def ontology(tmp_path: Path) -> Ontology:
    path = tmp_path / "toy.obo"
    path.write_text(OBO)
    return Ontology.read(path)


def test_ancestors_that_tell_labels_apart_make_the_path(ontology: Ontology) -> None:
    assert ontology.paths(["C:4", "C:5", "C:6", "C:7"]) == {
        "C:4": "neural cell/neuron/retinal ganglion cell",
        "C:5": "neural cell/neuron/amacrine-other",
        "C:6": "neural cell/Mueller glia",
        "C:7": "endothelial cell",
    }


def test_of_ancestors_of_the_same_labels_the_narrowest_is_named(ontology: Ontology) -> None:
    assert ontology.paths(["C:4", "C:5", "C:7"]) == {
        "C:4": "neuron/retinal ganglion cell",
        "C:5": "neuron/amacrine-other",
        "C:7": "endothelial cell",
    }


def test_a_label_above_others_stands_below_itself(ontology: Ontology) -> None:
    assert ontology.paths(["C:3", "C:4", "C:7"]) == {
        "C:3": "neuron/neuron",
        "C:4": "neuron/retinal ganglion cell",
        "C:7": "endothelial cell",
    }


def test_former_ids_and_names_are_terms_too(ontology: Ontology) -> None:
    assert ontology.paths(["C:40", "endothelial cell"]) == {
        "C:40": "retinal ganglion cell",
        "endothelial cell": "endothelial cell",
    }


def test_labels_that_share_all_or_nothing_have_no_ancestors(ontology: Ontology) -> None:
    assert ontology.paths(["C:4"]) == {"C:4": "retinal ganglion cell"}
    assert ontology.paths(["C:4", "C:5"])["C:4"] == "retinal ganglion cell"


def test_what_is_no_term_is_refused(ontology: Ontology) -> None:
    with pytest.raises(InvalidArgumentError, match=r"2 labels are no terms.*: C:99, beta;"):
        ontology.paths(["C:4", "beta", "C:99"])


def test_what_replaces_an_obsolete_term_stands_for_it(ontology: Ontology) -> None:
    assert ontology.paths(["C:10", "obsolete neuronal cell", "C:3", "C:7"]) == {
        "C:10": "neuron",
        "obsolete neuronal cell": "neuron",
        "C:3": "neuron",
        "C:7": "endothelial cell",
    }


@pytest.mark.parametrize(
    ("term", "said"),
    [("C:9", r"C:9 \(obsolete, consider C:3 or C:6\)"), ("C:12", r"C:12 \(obsolete\)"),
     ("C:13", r"C:13 \(obsolete, consider C:3 or C:7\)"),
     ("ghost", r"ghost \(obsolete, consider C:3 or C:6\)")],
)  # fmt: skip
def test_what_nothing_replaces_is_refused_with_what_to_consider(
    ontology: Ontology, term: str, said: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        ontology.paths([term, "C:4"])


def test_cells_of_no_type_do_not_stop_an_ontology(ontology: Ontology) -> None:
    assert ontology.paths(["unknown", "C:4"]) == {"C:4": "retinal ganglion cell"}


@pytest.mark.parametrize("text", ["", "no obo at all\n", "[Term]\nid: C:0\n"])
def test_what_is_no_ontology_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.obo"
    path.write_text(text)
    with pytest.raises(InputFileError):
        Ontology.read(path)
    with pytest.raises(InputFileError, match="cannot be read"):
        Ontology.read(tmp_path / "none.obo")
