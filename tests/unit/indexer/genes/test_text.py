import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.indexer.genes.text import (
    TEMPLATES,
    Template,
    clean_summary,
    text_sha256,
)
from cellkin.wire.errors import InvalidArgumentError

words = st.text(st.sampled_from("abc .!?"), max_size=12).map(lambda text: " ".join(text.split()))


def render(template: str, **values: str) -> str:
    others = values.pop("designations", "")
    given = {"symbol": "", "name": "", "summary": ""} | values
    designations = others.split("|") if others else []
    return Template.parse(template).render(**given, designations=designations)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Binds. [provided by RefSeq, Jul 2008].", "Binds."),
        ("Binds [supplied by OMIM, Apr 2004].[provided by RefSeq, Jul 2008].", "Binds."),
        ("Binds (ATP) [provided by MGI curators]", "Binds (ATP)"),
        ("Binds. provided by RefSeq, Jul 2020]. Sequence Note: derived.", "Binds."),
        ("Binds. Publication Note: This record.\n Please see.", "Binds."),
        (
            "Provided by the gut. Has a [4Fe-4S] cluster.",
            "Provided by the gut. Has a [4Fe-4S] cluster.",
        ),
        ("[provided by RefSeq, Jul 2008]", ""),
        ("  two\t words\n", "two words"),
    ],
)
def test_marks_of_provenance_are_taken_out(before: str, after: str) -> None:
    assert clean_summary(before) == after


def test_marks_of_provenance_can_stay() -> None:
    text = "Binds. [provided by RefSeq, Jul 2008]. Publication Note: x"
    assert clean_summary(f" {text} ", strip_provenance=False) == text


@settings(deadline=None)
@given(words)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean_summary(f"{text} [provided by RefSeq, Jul 2008].")
    assert clean_summary(once) == once
    assert "provided" not in once


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("name+summary", "insulin. A hormone."),
        ("summary", "A hormone."),
        ("name", "insulin"),
        ("designations", "insulin. preproinsulin. proinsulin"),
        ("{symbol} ({name}): {summary}", "INS (insulin): A hormone."),
        ("{{{symbol}}}", "{INS}"),
        ("{symbol}\n{name}", "INS insulin"),
    ],
)
def test_templates_put_texts_together(template: str, text: str) -> None:
    values = {"symbol": "INS", "name": "insulin", "summary": "A hormone."}
    assert render(template, **values, designations="preproinsulin|insulin|proinsulin") == text


def test_no_full_stop_is_doubled_or_left_over() -> None:
    assert render("name+summary", name="protein no.", summary="Binds.") == "protein no. Binds."
    assert render("name+summary", name="who?", summary="Binds.") == "who? Binds."
    assert render("name+summary", summary="Binds.") == "Binds."
    assert render("designations", name="insulin") == "insulin"
    assert render("designations", designations="a.|b|a.") == "a. b"
    assert render("{name}. {designations}. {summary}", name="a", summary="b") == "a. b"


def test_without_values_there_is_no_text() -> None:
    assert render("Gene {symbol}: {name}") == ""


@settings(deadline=None)
@given(words, words, st.lists(words.filter(bool), max_size=4))
def test_the_text_holds_the_values_and_no_new_double_stop(
    name: str, summary: str, others: list[str]
) -> None:
    text = render("name+summary", name=name, summary=summary, designations="|".join(others))
    assert name in text
    assert summary in text
    assert len(text) <= len(name) + len(summary) + 2
    assert text == text.strip()
    assert bool(text) == bool(name or summary)


@settings(deadline=None)
@given(words, st.lists(words.filter(bool), max_size=5))
def test_no_word_of_a_designation_is_lost(name: str, others: list[str]) -> None:
    template = Template.parse("designations")
    text = template.render(symbol="", name=name, summary="", designations=others)
    known = set(re.findall(r"\w+", text.lower()))
    assert known == set(re.findall(r"\w+", " ".join([name, *others]).lower()))


def test_designations_that_say_nothing_new_are_left_out() -> None:
    template = Template.parse("designations")
    others = ["Insulin", "proinsulin", "insulin, proinsulin", "INS protein"]
    assert template.render(symbol="", name="insulin", summary="", designations=others) == (
        "insulin. proinsulin. INS protein"
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{gene}: {summary}",
            "template '{gene}: {summary}': unknown field {gene}; "
            "expected {symbol}, {name}, {summary}, {designations}",
        ),
        (
            "{name!r:>10}",
            "template '{name!r:>10}': unknown field {name!r:>10}; "
            "expected {symbol}, {name}, {summary}, {designations}",
        ),
        (
            "{}",
            "template '{}': unknown field {}; expected {symbol}, {name}, {summary}, {designations}",
        ),
        (
            "{name",
            "template '{name': expected '}' before end of string; "
            "write {{ or }} for a brace that is no field",
        ),
        (
            "summaries",
            "template 'summaries' has no field; expected one of name+summary, summary, name, "
            "designations, or a text with {symbol}, {name}, {summary}, {designations}",
        ),
        (
            "",
            "template '' has no field; expected one of name+summary, summary, name, "
            "designations, or a text with {symbol}, {name}, {summary}, {designations}",
        ),
    ],
)
def test_a_wrong_template_is_refused(template: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        Template.parse(template)
    assert str(raised.value) == said


def test_the_templates_with_a_summary_are_known() -> None:
    using = [name for name in TEMPLATES if Template.parse(name).uses_summary]
    assert using == ["name+summary", "summary"]


def test_the_digest_is_that_of_the_utf8_text() -> None:
    assert text_sha256("Sjögren") == hashlib.sha256("Sjögren".encode()).hexdigest()
    assert text_sha256("") == ""
