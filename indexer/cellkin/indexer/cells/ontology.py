"""Labels that are terms of an ontology, such as the Cell Ontology: paths made of what they share.

An ontology says far more than the labels of one reference need: a dozen ancestors above each, in
several lines of descent. What an answer can fall back to are ancestors that tell some labels from
others, so of those that cover the same labels one is kept, and a label has one path.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cellkin.space.hierarchy import SEPARATOR
from cellkin.wire.errors import InputFileError, InvalidArgumentError, MissingDependencyError

_NAMED = 10


class Ontology:
    """The terms of an OBO file and the classes they are of (``is_a``).

    Parameters
    ----------
    names
        By id, what a term is called.
    parents
        By id, what it is a kind of.
    ids
        By id, former id and name, the id of a term.
    """

    def __init__(
        self, names: Mapping[str, str], parents: Mapping[str, list[str]], ids: Mapping[str, str]
    ) -> None:
        self._names, self._parents, self._ids = names, parents, ids

    @classmethod
    def read(cls, path: Path) -> "Ontology":
        """Read an OBO file, which may be compressed; terms it calls obsolete are left out.

        Raises
        ------
        InputFileError
            If there is no such file, or it is none.
        MissingDependencyError
            If obonet is not installed.
        """
        try:
            import obonet
        except ImportError as error:
            raise MissingDependencyError(
                "reading an ontology needs obonet; pip install 'cellkin[cells]'"
            ) from error
        try:
            graph: Any = obonet.read_obo(path)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise InputFileError(f"{path} cannot be read as an OBO file ({error})") from error
        terms = {node: data for node, data in graph.nodes(data=True) if "name" in data}
        if not terms:
            raise InputFileError(f"{path} has no terms; give an OBO file such as cl.obo")
        ids: dict[str, str] = {}
        for node, data in terms.items():
            ids.setdefault(data["name"], node)
        for node, data in terms.items():
            ids |= dict.fromkeys(data.get("alt_id", []), node)
        ids |= {node: node for node in terms}
        parents = {
            node: [up for _, up, kind in graph.out_edges(node, keys=True) if kind == "is_a"]
            for node in terms
        }
        return cls({node: data["name"] for node, data in terms.items()}, parents, ids)

    def paths(self, labels: Iterable[str]) -> dict[str, str]:
        """Return a path of names for every label, from what it shares with most to itself.

        Parameters
        ----------
        labels
            Ids, former ids or names of terms.

        Raises
        ------
        InvalidArgumentError
            If a label is no term; the message lists those.
        """
        labels = sorted(set(labels))
        if lost := [label for label in labels if label not in self._ids]:
            more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
            raise InvalidArgumentError(
                f"{len(lost)} labels are no terms of the ontology: {', '.join(lost[:_NAMED])}"
                f"{more}; give ids such as CL:0000740 or names of terms, or a newer ontology"
            )
        lines = {term: self._line(term) for term in {self._ids[label] for label in labels}}
        path_of = {}
        for term, above in self._arranged(lines).items():
            names = [self._names[t].replace(SEPARATOR, "-") for t in (*above, term)]
            path_of[term] = SEPARATOR.join(names)
        return {label: path_of[self._ids[label]] for label in labels}

    def _line(self, term: str) -> frozenset[str]:
        """Return a term and all it is a kind of."""
        found, todo = {term}, [term]
        while todo:
            for up in self._parents.get(todo.pop(), []):
                if up in self._names and up not in found:
                    found.add(up)
                    todo.append(up)
        return frozenset(found)

    def _arranged(self, lines: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
        """Put terms below the ancestor that covers most of them, and so on within."""
        groups: list[tuple[list[str], list[str]]] = [([], sorted(lines))]
        above: dict[str, list[str]] = {}
        while groups:
            path, terms = groups.pop()
            covers: dict[str, list[str]] = {}
            for term in terms:
                for ancestor in lines[term] - {term}:
                    covers.setdefault(ancestor, []).append(term)
            # A term that others are kinds of stands beside them, below itself.
            for ancestor in set(covers) & set(terms):
                covers[ancestor].append(ancestor)
            telling = [a for a, below in covers.items() if 1 < len(below) < len(terms)]
            if not telling:
                above |= dict.fromkeys(terms, path)
                continue
            # Of those that cover as many, the narrowest: the one that is most things itself.
            best = max(telling, key=lambda a: (len(covers[a]), len(self._line(a)), a))
            inside = set(covers[best])
            groups.append(([*path, best], sorted(inside)))
            groups.append((path, [term for term in terms if term not in inside]))
        return above
