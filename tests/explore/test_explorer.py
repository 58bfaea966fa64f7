"""The pages of `cellkin explore`, used in Chromium as a user does."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from tests.explore.conftest import MOUSE, opened, served_pages, take_picture

from cellkin.client import AnswerWarning, Client, tl

pytestmark = pytest.mark.slow
COLUMNS = ["label", "winner", "probability", "winner_probability", "novelty", "reason"]


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).first.click()


def label(page: Any, path: Path) -> None:
    """Drop a file, and label it."""
    open_tab(page, "Label a file")
    page.locator("input[type=file]").set_input_files(path)
    button = page.get_by_role("button", name="Label cells")
    page.wait_for_timeout(500)
    button.click()  # waits until the file is there
    page.get_by_text(re.compile(r"cells: \d+ labels")).wait_for()


def downloaded(page: Any, ending: str) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("link", name=re.compile(re.escape(ending) + "$")).click()
    return Path(waiting.value.path())


def click_a_cell(page: Any) -> None:
    """Click a colored point of the map."""
    from PIL import Image

    figure = page.locator(".bk-Figure:visible").first
    figure.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    picture = np.asarray(Image.open(BytesIO(figure.screenshot())).convert("RGB")).astype(int)
    colored = (picture.max(axis=-1) - picture.min(axis=-1)) > 90
    colored[:60] = False  # the tools
    rows, columns = np.nonzero(colored)
    assert len(rows) > 100, "the map shows no cells"
    box, middle = figure.bounding_box(), len(rows) // 2
    page.mouse.click(float(box["x"] + columns[middle]), float(box["y"] + rows[middle]))


def test_a_file_is_labeled_looked_at_and_downloaded(tab: Any, server: str, tmp_path: Path) -> None:
    label(tab, MOUSE)
    tab.get_by_text("the genes are foreign to the reference").wait_for()
    take_picture(tab, "explore-label")
    click_a_cell(tab)
    tab.get_by_text("Genes for and against the label").wait_for()
    tab.get_by_text("Nearest reference cells").wait_for()
    tab.get_by_text("second label").wait_for()
    take_picture(tab, "explore-cell")
    labels = pd.read_csv(downloaded(tab, ".labels.csv"), keep_default_na=False, na_values=[""])

    adata = anndata.read_h5ad(MOUSE)
    with Client(server) as client, pytest.warns(AnswerWarning):
        tl.annotate(adata, "pancreas", client=client)
    assert labels["cell_id"].tolist() == adata.obs_names.tolist()
    for name in COLUMNS:
        expected = pd.Series(adata.obs[f"cellkin_{name}"].to_numpy()).replace("", None)
        if expected.dtype.kind == "f":
            assert np.array_equal(labels[name].astype(np.float32), expected, equal_nan=True), name
        else:
            assert labels[name].astype(object).where(labels[name].notna(), None).tolist() == (
                expected.astype(object).where(expected.notna(), None).tolist()
            ), name

    tab.get_by_role("button", name="Compare with a column").click()
    tab.get_by_role("combobox", name="Column of obs").first.click()
    tab.get_by_text("cell_type", exact=True).last.click()
    tab.get_by_text("labeled cells whose value is also a label").wait_for()
    tab.mouse.wheel(0, 700)
    take_picture(tab, "explore-confusion")
    tab.get_by_role("button", name=re.compile("Prepare a copy")).click()
    copy = anndata.read_h5ad(downloaded(tab, ".labeled.h5ad"))
    assert copy.obs["cellkin_label"].tolist() == adata.obs["cellkin_label"].tolist()


def test_the_map_is_colored_filtered_and_clicked(tab: Any) -> None:
    take_picture(tab, "explore-map")
    tab.get_by_label(re.compile(r"^beta \(")).uncheck()
    tab.get_by_role("button", name="none", exact=True).click()
    tab.get_by_role("button", name="all", exact=True).click()
    tab.get_by_role("button", name="agreement").click()
    tab.get_by_text("neighbors of the same label").wait_for()
    click_a_cell(tab)
    tab.get_by_text("(reference)").wait_for()
    tab.get_by_text(re.compile("^Genes of .* against")).wait_for()


def test_genes_are_searched(tab: Any) -> None:
    open_tab(tab, "Genes")
    tab.get_by_label(re.compile("hallmark@")).check()
    tab.get_by_label("Gene, such as INS").fill("INS")
    tab.get_by_role("button", name="Search", exact=True).click()
    tab.get_by_text("Genes whose texts are nearest to INS").wait_for()
    tab.get_by_text("INS (human, GeneID 3630)").wait_for()
    tab.get_by_text("it is no evidence that genes interact").wait_for()
    tab.get_by_text("Gene sets that the neighborhood is enriched in").wait_for()
    take_picture(tab, "explore-genes")
    tab.get_by_label("Gene, such as INS").fill("NOSUCHGENE")
    tab.get_by_role("button", name="Search", exact=True).click()
    tab.get_by_text("NOSUCHGENE", exact=False).last.wait_for()


def test_two_labels_are_compared(tab: Any) -> None:
    open_tab(tab, "Contrast")
    tab.get_by_role("button", name="alpha", exact=True).first.click()
    tab.get_by_role("button", name="beta", exact=True).last.click()
    tab.get_by_label(re.compile("hallmark@")).check()
    tab.get_by_role("button", name="Compare", exact=True).click()
    tab.get_by_text(re.compile(r"alpha \(577 cells\) against beta \(623 cells\)")).wait_for()
    tab.get_by_text("GCG", exact=True).first.wait_for()
    take_picture(tab, "explore-contrast")
    genes = pd.read_csv(downloaded(tab, "contrast.csv"))
    strongest = genes[~genes["predicted_from_text"]].set_index("gene")["statistic"]
    assert strongest["GCG"] > 0 > strongest["INS"]


def test_indexes_are_described(tab: Any) -> None:
    open_tab(tab, "Indexes")
    tab.get_by_text("Labels left out of the reference in turn").first.wait_for()
    tab.get_by_text("recall@10", exact=True).wait_for()
    take_picture(tab, "explore-indexes")


def test_it_is_usable_by_keyboard(tab: Any) -> None:
    for _ in range(12):  # to the tabs
        tab.keyboard.press("Tab")
        if focused(tab)["role"] == "tab":
            break
    assert focused(tab) == {"role": "tab", "text": "MAP"}
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.get_by_label("Gene, such as INS").wait_for()
    for _ in range(12):
        tab.keyboard.press("Tab")
        if focused(tab)["role"] == "INPUT:text":
            break
    tab.keyboard.type("GCG")
    tab.keyboard.press("Enter")
    tab.get_by_text("GCG (human, GeneID 2641)").wait_for()


def focused(page: Any) -> dict[str, str]:
    """Return what has the focus, through the shadow roots."""
    found: dict[str, str] = page.evaluate(
        """() => {
            let at = document.activeElement
            while (at.shadowRoot && at.shadowRoot.activeElement) at = at.shadowRoot.activeElement
            return {role: at.getAttribute('role') || at.tagName + ':' + (at.type || ''),
                    text: (at.innerText || '').trim()}
        }"""
    )
    return found


def test_users_do_not_meet_and_leave_nothing(browser: Any, server: str, tmp_path: Path) -> None:
    whole = anndata.read_h5ad(MOUSE)
    files = []
    for user in range(2):
        part = whole[user::6].copy()
        part.obs_names = [f"user{user}-{name}" for name in part.obs_names]
        files.append(tmp_path / f"user{user}.h5ad")
        part.write_h5ad(files[-1])
    with served_pages(server) as (address, process, folder):
        with opened(browser, address) as one, opened(browser, address) as two:
            for page, file in zip((one, two), files, strict=True):
                label(page, file)
            links = []
            for user, page in enumerate((one, two)):
                labels = pd.read_csv(downloaded(page, ".labels.csv"))
                assert labels["cell_id"].str.startswith(f"user{user}-").all()
                links.append(
                    page.get_by_role("link", name=re.compile("labels.csv")).get_attribute("href")
                )
            assert len(list(folder.rglob("user*.h5ad"))) == 2
            stranger = browser.new_context()
            assert stranger.request.get(f"{address}/{links[0]}").ok  # it has the key
            assert stranger.request.get(f"{address}/download/{'x' * 43}").status == 404
        deadline = 60
        while list(folder.rglob("user*")) and deadline:
            stranger.pages or stranger.new_page()
            stranger.pages[0].wait_for_timeout(1000)
            deadline -= 1
        assert list(folder.rglob("user*")) == []
        assert stranger.request.get(f"{address}/{links[0]}").status == 404
        assert process.poll() is None
        stranger.close()


def test_a_limit_is_told_before_an_upload(browser: Any, server: str) -> None:
    with (
        served_pages(server, "--max-upload", "1") as (address, _, folder),
        opened(browser, address) as page,
    ):
        open_tab(page, "Label a file")
        page.get_by_text("of at most 1 MB").wait_for()
        page.locator("input[type=file]").set_input_files(MOUSE)
        page.get_by_text("File is too large", exact=True).wait_for()
        assert list(folder.rglob("*.h5ad")) == []
