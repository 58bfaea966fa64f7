"""The page of a session: a header, and one tab for each subject."""

from collections.abc import Mapping
from typing import Any, Protocol

import panel as pn
import panel_material_ui as pmui

from cellkin.client import CellIndex
from cellkin.explore.contrast_page import ContrastPage
from cellkin.explore.genes_page import GenesPage
from cellkin.explore.indexes_page import IndexesPage
from cellkin.explore.label_page import LabelPage
from cellkin.explore.map_page import MapPage
from cellkin.explore.parts import Notices
from cellkin.explore.session import Session


class Page(Protocol):
    """One tab."""

    view: Any

    async def load(self) -> None:
        """Show what belongs to the chosen index; called when the tab is opened after a choice."""


pn.extension("tabulator", "filedropper", notifications=False)


def build(session: Session) -> Any:
    """Return the page of a new session."""
    choice = pmui.Select(label="Cell index", options=[], width=320, size="small")
    notices = Notices(session)
    fresh: set[str] = set()
    pages: dict[str, Page] = {
        "Map": MapPage(session),
        "Label a file": LabelPage(session),
        "Genes": GenesPage(session),
        "Contrast": ContrastPage(session),
        "Indexes": IndexesPage(session),
    }
    tabs = pmui.Tabs(
        *((name, page.view) for name, page in pages.items()), dynamic=True,
        sizing_mode="stretch_width",
    )  # fmt: skip

    async def load() -> None:
        with notices.telling():
            found = await session.ask(lambda: list(session.client.list_cell_indexes()))
            served = {index.name: index for index in found if index.retraction is None}
            session.index = _wanted(served)
            choice.param.update(options=served, value=session.index)
        await shown(None)

    async def chosen(event: Any) -> None:
        if event.new is not session.index:
            session.index = event.new
            fresh.clear()
            await shown(None)

    async def shown(_: Any) -> None:
        name, page = list(pages.items())[tabs.active]
        if name not in fresh:
            fresh.add(name)
            await page.load()

    choice.param.watch(chosen, "value")
    tabs.param.watch(shown, "active")
    pn.state.onload(load)
    return pmui.Page(
        title=f"cellkin at {session.shared.address}",
        main=[pn.Column(choice, notices.view, tabs, sizing_mode="stretch_width", margin=10)],
        theme_toggle=True,
    )


def _wanted(served: Mapping[str, CellIndex]) -> CellIndex | None:
    """Return the index that the address names by ``?index=NAME``, or the first one."""
    (named,) = pn.state.session_args.get("index", [b""])[:1]
    name = named.decode(errors="replace")
    for version, index in served.items():
        if name in (version, version.partition("@")[0]):
            return index
    return next(iter(served.values()), None)
