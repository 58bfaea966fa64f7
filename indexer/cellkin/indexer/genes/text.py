"""Clean summaries, and combine them with names by templates."""

import hashlib
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from cellkin.wire.errors import InvalidArgumentError

TEMPLATES = {
    "name+summary": "{name}. {summary}",
    "summary": "{summary}",
    "name": "{name}",
    "designations": "{name}. {designations}",
}
"""Named templates; any other text is itself a template."""

_WORD = re.compile(r"\w+")
_FIELDS = ("symbol", "name", "summary", "designations")
_STOPS = (".", "!", "?")
# Some records lack the opening bracket.
_PROVENANCE = re.compile(
    r"(?P<stop>[.!?]?)(?:\s*\[?\b(?:provided|supplied) by [^\[\]]*\](?P<after>\.?))+"
)
_NOTES = re.compile(r"\b(?:Sequence|Publication) Note: .*")


def clean_summary(summary: str, *, strip_provenance: bool = True) -> str:
    """Return a summary on one line, without notes of author and date.

    Parameters
    ----------
    summary
        The summary in its source.
    strip_provenance
        Whether to remove marks such as ``[provided by RefSeq, Jul 2008]`` and the notes on
        sequences and publications that RefSeq appends. They do not describe the gene, but make
        texts of the same author and year similar.
    """
    text = " ".join(summary.split())
    if strip_provenance and ("]" in text or " Note: " in text):  # the patterns are slow
        text = _PROVENANCE.sub(lambda mark: mark["stop"] or mark["after"], text)
        text = _NOTES.sub("", text).strip()
    return text


def text_sha256(text: str) -> str:
    """Return the SHA-256 of the UTF-8 text, hexadecimal; "" for an empty text."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def join_sentences(parts: Sequence[str]) -> str:
    """Join parts with full stops, without doubling any; the last part is not changed."""
    joined = ""
    for part in parts:
        stop = "" if not joined or joined.endswith(_STOPS) else "."
        joined = f"{joined}{stop} {part}" if joined else part
    return joined


@dataclass(frozen=True)
class Template:
    """A parsed template of gene texts.

    Attributes
    ----------
    segments
        Literal texts, each with the field that follows it, or "".
    """

    segments: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, given: str) -> "Template":
        """Parse a template, given by name or as a text.

        Parameters
        ----------
        given
            A name of `TEMPLATES`, or a text with the fields ``{symbol}``, ``{name}``,
            ``{summary}``, ``{designations}``.

        Raises
        ------
        InvalidArgumentError
            If the text has no field, an unknown field, or unbalanced braces.
        """
        known = ", ".join(f"{{{field}}}" for field in _FIELDS)
        try:
            parsed = list(string.Formatter().parse(TEMPLATES.get(given, given)))
        except ValueError as error:
            raise InvalidArgumentError(
                f"template {given!r}: {error}; write {{{{ or }}}} for a brace that is no field"
            ) from None
        for _, field, spec, conversion in parsed:
            if field is not None and (field not in _FIELDS or spec or conversion):
                shown = (
                    field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                )
                raise InvalidArgumentError(
                    f"template {given!r}: unknown field {{{shown}}}; expected {known}"
                )
        if all(field is None for _, field, _, _ in parsed):
            raise InvalidArgumentError(
                f"template {given!r} has no field; expected one of {', '.join(TEMPLATES)}, "
                f"or a text with {known}"
            )
        return cls(tuple((literal, field or "") for literal, field, _, _ in parsed))

    @property
    def uses_summary(self) -> bool:
        """Whether the text of a gene depends on its summary."""
        return any(field == "summary" for _, field in self.segments)

    def render(self, *, symbol: str, name: str, summary: str, designations: Sequence[str]) -> str:
        """Return the text of one gene; "" if all fields of the template are empty.

        A full stop of the template is left out after a value that ends with one of ``.!?``, and
        beside an empty value. Designations are joined as sentences; those without a word that is
        neither in the name nor in earlier designations are left out.
        """
        values = {
            "symbol": symbol,
            "name": name,
            "summary": summary,
            "designations": join_sentences(_saying_more(name, designations)),
            "": "",
        }
        if not any(values[field] for _, field in self.segments):
            return ""
        text = ""
        for literal, field in self.segments:
            if literal.strip() == "." and field and not values[field]:
                continue
            if literal.startswith(".") and (not text or text.endswith(_STOPS)):
                text += literal[1:]
            else:
                text += literal
            text += values[field]
        return " ".join(text.split())


def _saying_more(name: str, designations: Sequence[str]) -> list[str]:
    """Return the designations with a new word; NCBI lists many spellings of one name."""
    said = set(_WORD.findall(name.lower()))
    more = []
    for designation in designations:
        words = set(_WORD.findall(designation.lower()))
        if words - said:
            more.append(designation)
            said |= words
    return more
