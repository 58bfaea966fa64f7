"""Turn labels that are ontology terms, such as those of the Cell Ontology, into paths.

An ontology has far more ancestors than the labels of one reference need: a dozen above each term,
along several lines. Only ancestors that separate some labels from others are useful as a fallback,
so of ancestors that cover the same labels one is kept, and each label has one path.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cellkin.matrices.labels import is_missing
from cellkin.space.hierarchy import SEPARATOR
from cellkin.wire.errors import InputFileError, InvalidArgumentError, MissingDependencyError

_NAMED = 10


class Ontology:
    """Terms of an OBO file and their relations.

    Parameters
    ----------
    names
        Name of each term, by id.
    parents
        Ids of the parents of each term, by id.
    ids
        Id of each term, by id, former id and name; obsolete terms map to their replacement.
    considered
        Suggested alternatives, by id and name of an obsolete term.
    namespaces
        Namespace of each term that has one, by id.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        parents: Mapping[str, list[str]],
        ids: Mapping[str, str],
        considered: Mapping[str, list[str]],
        namespaces: Mapping[str, str],
    ) -> None:
        self.names, self.ids, self.namespaces = names, ids, namespaces
        self._parents, self._considered = parents, considered
        self._lines: dict[str, frozenset[str]] = {}

    @classmethod
    def read(cls, path: Path, relations: Iterable[str] = ("is_a",)) -> "Ontology":
        """Read an OBO file, which may be compressed.

        Parameters
        ----------
        path
            The file.
        relations
            Relations from a term to its parents.

        Raises
        ------
        InputFileError
            If the file does not exist or is not an OBO file.
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
            graph: Any = obonet.read_obo(path, ignore_obsolete=False)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise InputFileError(f"{path} cannot be read as an OBO file ({error})") from error
        named = {node: data for node, data in graph.nodes(data=True) if "name" in data}
        obsolete = {node: data for node, data in named.items() if _is_obsolete(data)}
        terms = {node: data for node, data in named.items() if node not in obsolete}
        if not terms:
            raise InputFileError(f"{path} has no terms; give an OBO file such as cl.obo")
        ids: dict[str, str] = {}
        for node, data in terms.items():
            ids.setdefault(data["name"], node)
        for node, data in terms.items():
            ids |= dict.fromkeys(data.get("alt_id", []), node)
        ids |= {node: node for node in terms}
        for node, data in obsolete.items():
            if (replacement := _replacement(node, obsolete)) in terms:
                ids[node] = replacement
                ids.setdefault(data["name"], replacement)
        followed = set(relations)
        parents = {
            node: [up for _, up, kind in graph.out_edges(node, keys=True) if kind in followed]
            for node in terms
        }
        considered: dict[str, list[str]] = {}
        for node, data in obsolete.items():
            replaced = [term for term in data.get("replaced_by", []) if term in terms]
            considered[node] = considered[data["name"]] = [*replaced, *data.get("consider", [])]
        names, namespaces = (
            {node: data[what] for node, data in terms.items() if what in data}
            for what in ("name", "namespace")
        )
        return cls(names, parents, ids, considered, namespaces)

    def paths(self, labels: Iterable[str]) -> dict[str, str]:
        """Return a path of names for each label, from its broadest ancestor to the label itself.

        Parameters
        ----------
        labels
            Ids, former ids or names of terms. Words for a missing label, such as ``unknown``, get
            no path.

        Returns
        -------
        dict
            Path by label.

        Raises
        ------
        InvalidArgumentError
            If labels are not terms of the ontology; the message lists them.
        """
        labels = sorted({label for label in labels if not is_missing(label)})
        if lost := [label for label in labels if label not in self.ids]:
            more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
            shown = ", ".join(map(self._shown, lost[:_NAMED]))
            raise InvalidArgumentError(
                f"{len(lost)} labels are no terms of the ontology: {shown}"
                f"{more}; give ids such as CL:0000740 or names of terms, or a newer ontology"
            )
        lines = {term: self.line(term) for term in {self.ids[label] for label in labels}}
        path_of = {}
        for term, above in self._arranged(lines).items():
            names = [self.names[t].replace(SEPARATOR, "-") for t in (*above, term)]
            path_of[term] = SEPARATOR.join(names)
        return {label: path_of[self.ids[label]] for label in labels}

    def _shown(self, lost: str) -> str:
        """Format a label that is not a term for the error, with what the ontology suggests."""
        if lost not in self._considered:
            return lost
        suggested = " or ".join(self._considered[lost])
        return f"{lost} (obsolete{f', consider {suggested}' if suggested else ''})"

    def line(self, term: str) -> frozenset[str]:
        """Return the ids of a term and all its ancestors."""
        if term not in self._lines:
            found, todo = {term}, [term]
            while todo:
                for up in self._parents.get(todo.pop(), []):
                    if up in self.names and up not in found:
                        found.add(up)
                        todo.append(up)
            self._lines[term] = frozenset(found)
        return self._lines[term]

    def _arranged(self, lines: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
        """Return the ancestors above each term: recursively the one that covers most terms."""
        groups: list[tuple[list[str], list[str]]] = [([], sorted(lines))]
        above: dict[str, list[str]] = {}
        while groups:
            path, terms = groups.pop()
            covers: dict[str, list[str]] = {}
            for term in terms:
                for ancestor in lines[term] - {term}:
                    covers.setdefault(ancestor, []).append(term)
            # A term that is an ancestor of other terms is placed beside them, below itself.
            for ancestor in set(covers) & set(terms):
                covers[ancestor].append(ancestor)
            telling = [a for a, below in covers.items() if 1 < len(below) < len(terms)]
            if not telling:
                above |= dict.fromkeys(terms, path)
                continue
            # Among those that cover equally many, the narrowest: the one with most ancestors.
            best = max(telling, key=lambda a: (len(covers[a]), len(self.line(a)), a))
            inside = set(covers[best])
            groups.append(([*path, best], sorted(inside)))
            groups.append((path, [term for term in terms if term not in inside]))
        return above


def _is_obsolete(term: Mapping[str, Any]) -> bool:
    return term.get("is_obsolete") == "true"


def _replacement(term: str, obsolete: Mapping[str, Mapping[str, Any]]) -> str:
    """Follow the chain of replacements of an obsolete term to its end."""
    met = set()
    while term in obsolete and term not in met:
        met.add(term)
        # With several replacements there is no telling which one is meant.
        replacements = obsolete[term].get("replaced_by", [])
        term = replacements[0] if len(replacements) == 1 else term
    return term
