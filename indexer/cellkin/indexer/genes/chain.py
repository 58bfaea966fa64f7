"""The fallback chain, which chooses the text of each gene."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cellkin.indexer.genes.orthologs import Partners
from cellkin.indexer.genes.text import TEMPLATES, Template
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import TextRung

NAME_SOURCE = "NCBI Gene name"
DEFAULT_CHAIN = (
    TextRung.OWN_SUMMARY,
    TextRung.STRING_FUNCTION,
    TextRung.ORTHOLOG_SUMMARY,
    TextRung.DESIGNATIONS,
)
"""Best first; a gene without a text on any rung has none."""

_NAMES_ONLY = Template.parse(TEMPLATES["designations"])


@dataclass(frozen=True)
class Summary:
    """A text about a gene, without the gene's name.

    Attributes
    ----------
    text
        Cleaned; never empty.
    source
        Its author, such as "RefSeq".
    """

    text: str
    source: str


@dataclass(frozen=True)
class GeneText:
    """The text of a gene.

    Attributes
    ----------
    rung
        The rung of the chain it comes from.
    text
        The text that is embedded; "" on rung NONE.
    source
        Its author, such as "RefSeq of 9606:5914 by orthology"; "" on rung NONE.
    gene_id
        GeneID that the text describes: the gene's own, that of the ortholog, or 0 on rung NONE.
    body
        The text before the template added names; identical bodies are counted as boilerplate.
    """

    rung: TextRung
    text: str
    source: str
    gene_id: int
    body: str


NO_TEXT = GeneText(TextRung.NONE, "", "", 0, "")


@dataclass(frozen=True)
class TextChain:
    """The available texts and the order of choice.

    Attributes
    ----------
    order
        The rungs to try, best first.
    template
        Formats the text.
    summaries
        Summaries by GeneID, including those of orthologs.
    functions
        STRING function texts by GeneID.
    partners
        One-to-one orthologs by GeneID, the preferred first.
    """

    order: tuple[TextRung, ...]
    template: Template
    summaries: Mapping[int, Summary]
    functions: Mapping[int, Summary]
    partners: Partners

    def text_of(
        self, gene_id: int, symbol: str, name: str, designations: Sequence[str]
    ) -> GeneText:
        """Return the text of the best rung that has one."""
        for rung in self.order:
            if rung is TextRung.DESIGNATIONS:
                # A template with a summary would be incomplete without one.
                template = _NAMES_ONLY if self.template.uses_summary else self.template
                text = template.render(
                    symbol=symbol, name=name, summary="", designations=designations
                )
                if text:
                    return GeneText(rung, text, NAME_SOURCE, gene_id, text)
                continue
            found = self._find(rung, gene_id)
            if found is not None:
                summary, source, of_gene = found
                text = self.template.render(
                    symbol=symbol, name=name, summary=summary, designations=designations
                )
                return GeneText(rung, text, source, of_gene, summary)
        return NO_TEXT

    def _find(self, rung: TextRung, gene_id: int) -> tuple[str, str, int] | None:
        if rung is TextRung.ORTHOLOG_SUMMARY:
            for taxon, partner in self.partners.get(gene_id, ()):
                if found := self.summaries.get(partner):
                    source = f"{found.source} of {taxon}:{partner} by orthology"
                    return found.text, source, partner
            return None
        texts = self.summaries if rung is TextRung.OWN_SUMMARY else self.functions
        own = texts.get(gene_id)
        return (own.text, own.source, gene_id) if own else None


def checked_order(chain: Iterable[TextRung], template: Template) -> tuple[TextRung, ...]:
    """Validate a chain, and return the rungs that the template can use, in the given order.

    Raises
    ------
    InvalidArgumentError
        If the chain is empty, a rung is repeated or NONE, or the template has no summary and the
        chain no DESIGNATIONS, the only rung such a template can use.
    """
    order = tuple(chain)
    if len(set(order)) != len(order) or TextRung.NONE in order or not order:
        given = ", ".join(rung.name for rung in order) or "nothing"
        raise InvalidArgumentError(
            f"chain {given}: expected each of {', '.join(rung.name for rung in DEFAULT_CHAIN)} "
            "at most once, best first, and at least one"
        )
    if template.uses_summary:
        return order
    if TextRung.DESIGNATIONS not in order:
        raise InvalidArgumentError(
            "the template has no {summary}, so every text is made of names, "
            "but the chain leaves DESIGNATIONS out; add it to the chain"
        )
    return (TextRung.DESIGNATIONS,)
