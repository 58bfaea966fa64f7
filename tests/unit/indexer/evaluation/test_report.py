"""Reports: no model without its controls, and what table, JSON and page say."""

import html.parser
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.indexer.evaluation.cells import (
    TEXT,
    a_report,
    a_row,
    expression_controls,
    vector_controls,
)

from cellkin.indexer.evaluation import page as page_module
from cellkin.indexer.evaluation.page import page, write_page
from cellkin.indexer.evaluation.report import summary_table, to_json
from cellkin.indexer.evaluation.rows import Control, Row, Setting, best_control, lines
from cellkin.indexer.evaluation.words import verdict
from cellkin.pages.theme import DARK, LIGHT
from cellkin.wire.errors import (
    DimensionMismatchError,
    FailedPreconditionError,
    InvalidArgumentError,
    MissingDependencyError,
)


@pytest.fixture(scope="module")
def whole_page() -> str:
    return page([a_report()])


@pytest.mark.parametrize("left_out", range(4))
def test_a_model_needs_every_control_by_expression(left_out: int) -> None:
    controls = expression_controls()
    missing = controls.pop(left_out).setting.control
    assert missing is not None
    with pytest.raises(
        FailedPreconditionError, match=f"lacks its controls: {missing.value}\\."
    ) as e:
        a_report([a_row(TEXT), *controls, *vector_controls(TEXT)])
    assert e.value.metadata == {"method": TEXT.method, "missing": missing.value}


def test_a_model_of_text_needs_three_seeds_of_random_and_permuted() -> None:
    model = Setting("m", "text", "r", "minilm")
    with pytest.raises(FailedPreconditionError, match=r"random-vectors \(0 of 3 seeds\), permuted"):
        a_report([a_row(model), *expression_controls()])
    two = vector_controls(model, (0, 1))
    with pytest.raises(FailedPreconditionError, match=r"random-vectors \(2 of 3 seeds\)"):
        a_report([a_row(model), *expression_controls(), *two])
    a_report([a_row(model), *expression_controls(), *vector_controls(model)])


def test_a_model_of_expression_needs_no_gene_vectors_drawn() -> None:
    assert a_report([a_row(Setting("pca", "expression")), *expression_controls()]).rows


@pytest.mark.parametrize(
    "other",
    [
        Setting("m", "text", "paper", "minilm", refined=True),
        Setting("m", "text", "text-v2", "minilm", refined=False),
        Setting("m", "text", "text-v2", "biobert", refined=True),
    ],
)
def test_controls_of_another_recipe_are_none(other: Setting) -> None:
    with pytest.raises(FailedPreconditionError, match="permuted-vectors"):
        a_report([a_row(TEXT), *expression_controls(), *vector_controls(other)])


def test_only_methods_by_expression_may_be_absent_and_say_why() -> None:
    absent = Row(
        Setting("PCA-50, cosine 10-NN", control=Control.PCA_KNN), None, why_absent="no shared gene"
    )
    ours = Row(Setting("expression", "expression"), None, why_absent="no shared gene")
    rows = [a_row(TEXT), ours, absent, *expression_controls()[1:], *vector_controls(TEXT)]
    report = a_report(rows)
    assert page([report]).count("not run: no shared gene") == 2
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(summary_table(report))
    assert "not run" in console.export_text()
    for setting in (TEXT, vector_controls(TEXT)[0].setting):
        with pytest.raises(FailedPreconditionError, match="only methods by expression"):
            Row(setting, None, why_absent="too slow")
    with pytest.raises(FailedPreconditionError, match="give either"):
        Row(Setting("majority", control=Control.MAJORITY), None)


def test_lines_stand_beside_what_they_control() -> None:
    ordered = lines(a_report())
    assert [line.setting.method for line in ordered] == [
        "text-v2, prototypes",
        "random gene vectors",
        "permuted gene vectors",
        "PCA-50, cosine 10-NN",
        "HVG-z prototypes",
        "logistic regression",
        "majority",
        "CellTypist",
    ]
    assert [len(line.rows) for line in ordered] == [1, 3, 3, 1, 1, 1, 1, 1]
    assert ordered[1].beside == TEXT
    assert ordered[1].sd("accuracy") is not None
    best = best_control(ordered[0], ordered)
    figures = [line.mean("macro_f1") or 0 for line in ordered if line.setting.control]
    assert best.mean("macro_f1") == max(figures)


def test_an_auroc_of_a_few_cells_is_not_shown() -> None:
    row = a_row(TEXT)
    assert row.unknown_auroc is None
    assert a_row(TEXT, full=True).unknown_auroc == pytest.approx(0.83)


def test_the_verdict_says_what_the_intervals_allow() -> None:
    model = Setting("pca", "expression")
    assert "no evidence of a difference" in verdict(
        a_report([a_row(model, right=0.85), *expression_controls()])
    )
    assert "behind by" in verdict(a_report([a_row(model, right=0.2), *expression_controls()]))
    controls = [a_row(row.setting, right=0.3) for row in expression_controls()]
    assert "ahead by" in verdict(a_report([a_row(model, right=0.99), *controls]))
    assert "no model to judge" in verdict(a_report(expression_controls()))


def test_the_table_fits_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=110)
    console.print(summary_table(a_report()))
    text = capsys.readouterr().out
    first = next(line for line in text.splitlines() if "text-v2, prototypes" in line)
    assert "0.8" in first or "0.9" in first
    assert re.search(r"\+0\.\d{3}", first)
    assert "1.2" in first
    assert "50" in first
    assert "Too weak to trust for beta (0.71)" in " ".join(text.split())
    assert "drawn over 4 batches" in text


def test_the_json_holds_every_row() -> None:
    report = a_report()
    read = json.loads(json.dumps(to_json([report])))
    assert read["schema"] == 1
    rows = read["reports"][0]["rows"]
    assert len(rows) == len(report.rows)
    assert rows[0]["scores"]["intervals"]["macro_f1"]["n"] == 4
    assert rows[0]["confusion"][0][-1] == 0
    assert rows[0]["left_out"][1] == {"name": "beta", "n_cells": 20, "auroc": 0.71, "found": None}


class Tags(html.parser.HTMLParser):
    """Checks that tags nest, and gathers what a page would fetch and its identifiers."""

    VOID = frozenset({"meta", "br", "path", "use", "line", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.used: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                (self.used if (value or "").startswith("#") else self.fetched).append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_stands_alone(whole_page: str) -> None:
    tags = Tags()
    tags.feed(whole_page)
    assert tags.open == []
    assert tags.fetched == []
    assert len(tags.ids) == len(set(tags.ids))
    assert {use.removeprefix("#") for use in tags.used} <= set(tags.ids)
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org)", whole_page)


def test_the_page_shows_what_a_supplement_needs(whole_page: str) -> None:
    for text in ("ECE 0.", "known cells of each type", "stated probability", "known type (cells)"):
        assert text in whole_page, text
    assert "alpha (40)" in whole_page
    assert "Too weak to trust for beta (0.71)" in whole_page
    assert "How to read this" in whole_page
    assert "A note &amp; more." in whole_page
    assert "gamma &amp; &lt;co&gt;" in whole_page
    assert "<title>Pancreas &lt;human&gt;: evaluation</title>" in whole_page
    assert whole_page.count('<tr class="model">') == 1
    assert whole_page.count('<tr class="beside">') == 2


def test_the_page_carries_its_figures(whole_page: str) -> None:
    data = re.search(r'<script type="application/json" id="figures">(.*?)</script>', whole_page)
    assert data is not None
    assert json.loads(data[1]) == json.loads(json.dumps(to_json([a_report()])))


def test_pictures_follow_the_theme_of_the_page(whole_page: str) -> None:
    drawn = re.findall(r"<svg.*?</svg>", whole_page, flags=re.DOTALL)
    colors = re.findall(r"(?:fill|stroke): ([^;\"]+)", " ".join(drawn))
    assert len(colors) > 100
    found = {c for c in colors if not c.startswith("var(--")}
    assert found <= {"none", *LIGHT.values()}
    css = whole_page[: whole_page.index("</style>")]
    for role, color in LIGHT.items():
        assert css.count(f"--{role}: #") == 2
        for part in ("fill", "stroke"):
            assert f'[style*="{part}: {color}"] {{ {part}: var(--{role}) !important; }}' in css
    assert len(set(LIGHT.values())) == len(LIGHT) == len(DARK)


def test_the_same_report_gives_the_same_bytes(whole_page: str, tmp_path: Path) -> None:
    write_page([a_report()], tmp_path / "p.html")
    assert (tmp_path / "p.html").read_text(encoding="utf-8") == whole_page


def test_what_cannot_be_drawn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgumentError, match="at least one"):
        page([])
    report = a_report()
    monkeypatch.setattr(page_module, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"cellkin\[evaluate\]"):
        page([report])


def test_types_and_counts_go_together() -> None:
    report = a_report()
    with pytest.raises(DimensionMismatchError, match="3 types and 2 counts"):
        type(report)("t", "q", "r", report.types, (1, 2), report.rows)
