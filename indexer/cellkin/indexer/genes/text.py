"""What is written for a gene: cleaned summaries, and the template that joins them to names."""

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
"""Templates known by name; any other text is itself a template."""

_WORD = re.compile(r"\w+")
_FIELDS = ("symbol", "name", "summary", "designations")
_STOPS = (".", "!", "?")
# A few records have lost the opening bracket.
_PROVENANCE = re.compile(
    r"(?P<stop>[.!?]?)(?:\s*\[?\b(?:provided|supplied) by [^\[\]]*\](?P<after>\.?))+"
)
_NOTES = re.compile(r"\b(?:Sequence|Publication) Note: .*")


def clean_summary(summary: str, *, strip_provenance: bool = True) -> str:
    """Return a summary on one line, without the marks of who wrote it and when.

    Parameters
    ----------
    summary
        As its source has it.
    strip_provenance
        Take out marks such as ``[provided by RefSeq, Jul 2008]`` and the notes on sequences and
        publications that RefSeq appends. They say nothing of the gene, yet make texts of one hand
        and year alike.
    """
    text = " ".join(summary.split())
    if strip_provenance and ("]" in text or " Note: " in text):  # the patterns are slow
        text = _PROVENANCE.sub(lambda mark: mark["stop"] or mark["after"], text)
        text = _NOTES.sub("", text).strip()
    return text


def text_sha256(text: str) -> str:
    """Return the SHA-256 of the text in UTF-8, hexadecimal; "" for no text."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def join_sentences(parts: Sequence[str]) -> str:
    """Join parts with full stops, none doubled; the last part is left as it is."""
    joined = ""
    for part in parts:
        stop = "" if not joined or joined.endswith(_STOPS) else "."
        joined = f"{joined}{stop} {part}" if joined else part
    return joined


@dataclass(frozen=True)
class Template:
    """How the text of a gene is put together.

    Attributes
    ----------
    segments
        Literal text and the field that follows it, "" where none does.
    """

    segments: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, given: str) -> "Template":
        """Return the template of that name, or the text itself as one.

        Parameters
        ----------
        given
            A name of `TEMPLATES`, or a text with the fields ``{symbol}``, ``{name}``,
            ``{summary}``, ``{designations}``.

        Raises
        ------
        InvalidArgumentError
            If the text has no field, an unknown one, or braces that do not pair.
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
        """Return the text of one gene; "" where every field of the template is empty.

        No full stop is doubled: that of the template gives way to one that ends a value, and there
        is none before or after an empty value. Designations are joined as sentences, without those
        that have no word which the name and the designations before have not.
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
    """Return the designations that have a new word; NCBI lists many spellings of one name."""
    said = set(_WORD.findall(name.lower()))
    more = []
    for designation in designations:
        words = set(_WORD.findall(designation.lower()))
        if words - said:
            more.append(designation)
            said |= words
    return more
