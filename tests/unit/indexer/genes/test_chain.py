from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.indexer.genes.chain import (
    DEFAULT_CHAIN,
    NO_TEXT,
    GeneText,
    Summary,
    TextChain,
    checked_order,
)
from cellkin.indexer.genes.text import Template
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import TextRung

GENE, PARTNER, FAR_PARTNER = 1, 101, 201
OWN, STRING, ORTHOLOG, NAMES = DEFAULT_CHAIN
FULL = {
    OWN: GeneText(OWN, "insulin. Own.", "RefSeq", GENE, "Own."),
    STRING: GeneText(STRING, "insulin. Function.", "STRING v12.0", GENE, "Function."),
    ORTHOLOG: GeneText(
        ORTHOLOG, "insulin. Theirs.", "RefSeq of 10090:101 by orthology", PARTNER, "Theirs."
    ),
    NAMES: GeneText(NAMES, "insulin. proinsulin", "NCBI Gene name", GENE, "insulin. proinsulin"),
}


def text_of(
    has: set[TextRung],
    order: tuple[TextRung, ...] = DEFAULT_CHAIN,
    template: str = "name+summary",
) -> GeneText:
    summaries = {}
    if OWN in has:
        summaries[GENE] = Summary("Own.", "RefSeq")
    if ORTHOLOG in has:
        summaries[PARTNER] = Summary("Theirs.", "RefSeq")
    chain = TextChain(
        order=order,
        template=Template.parse(template),
        summaries=summaries,
        functions={GENE: Summary("Function.", "STRING v12.0")} if STRING in has else {},
        partners={GENE: [(10090, PARTNER), (10116, FAR_PARTNER)]},
    )
    name, designations = ("insulin", ["insulin", "proinsulin"]) if NAMES in has else ("", [])
    return chain.text_of(GENE, "INS", name, designations)


@pytest.mark.parametrize("rung", DEFAULT_CHAIN)
def test_each_rung_gives_its_text_and_says_whose_it_is(rung: TextRung) -> None:
    assert text_of({rung, NAMES}, (rung,)) == FULL[rung]


@settings(deadline=None)
@given(
    st.sets(st.sampled_from(DEFAULT_CHAIN)),
    st.integers(1, 4).flatmap(lambda n: st.sampled_from(list(permutations(DEFAULT_CHAIN, n)))),
)
def test_the_first_rung_that_has_a_text_is_taken(
    has: set[TextRung], order: tuple[TextRung, ...]
) -> None:
    rungs = [rung for rung in order if rung in has]
    assert text_of(has, order).rung == (rungs[0] if rungs else TextRung.NONE)


def test_a_gene_without_any_text_has_none() -> None:
    assert text_of(set()) == NO_TEXT == GeneText(TextRung.NONE, "", "", 0, "")


def test_an_orthologue_lends_its_own_summary_only() -> None:
    chain = TextChain(
        order=DEFAULT_CHAIN,
        template=Template.parse("summary"),
        summaries={301: Summary("Theirs.", "RefSeq")},
        functions={PARTNER: Summary("Function.", "STRING v12.0")},
        partners={GENE: [(10090, PARTNER)], PARTNER: [(7955, 301)]},
    )
    assert chain.text_of(GENE, "INS", "", []) == NO_TEXT


def test_of_several_orthologues_the_first_with_a_summary_lends_it() -> None:
    chain = TextChain(
        order=(ORTHOLOG,),
        template=Template.parse("summary"),
        summaries={FAR_PARTNER: Summary("Far.", "Alliance of Genome Resources")},
        functions={},
        partners={GENE: [(10090, PARTNER), (10116, FAR_PARTNER)]},
    )
    source = "Alliance of Genome Resources of 10116:201 by orthology"
    assert chain.text_of(GENE, "INS", "insulin", []) == GeneText(
        ORTHOLOG, "Far.", source, FAR_PARTNER, "Far."
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("summary", "insulin. proinsulin"),
        ("Gene {symbol}: {summary}", "insulin. proinsulin"),
        ("name", "insulin"),
        ("Gene {symbol}, {name}", "Gene INS, insulin"),
    ],
)
def test_names_stand_alone_where_there_is_no_summary(template: str, text: str) -> None:
    assert text_of({NAMES}, template=template).text == text


def test_a_template_without_summary_stands_on_names_only() -> None:
    assert checked_order(DEFAULT_CHAIN, Template.parse("name")) == (NAMES,)
    assert checked_order((STRING, OWN), Template.parse("summary")) == (STRING, OWN)


@pytest.mark.parametrize(
    ("chain", "shown"),
    [
        ((), "nothing"),
        ((OWN, OWN), "OWN_SUMMARY, OWN_SUMMARY"),
        ((OWN, TextRung.NONE), "OWN_SUMMARY, NONE"),
    ],
)
def test_a_wrong_chain_is_refused(chain: tuple[TextRung, ...], shown: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        checked_order(chain, Template.parse("summary"))
    assert str(raised.value) == (
        f"chain {shown}: expected each of OWN_SUMMARY, STRING_FUNCTION, ORTHOLOG_SUMMARY, "
        "DESIGNATIONS at most once, best first, and at least one"
    )


def test_a_template_of_names_needs_the_rung_of_names() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        checked_order((OWN,), Template.parse("name"))
    assert str(raised.value) == (
        "the template has no {summary}, so every text is made of names, "
        "but the chain leaves DESIGNATIONS out; add it to the chain"
    )
