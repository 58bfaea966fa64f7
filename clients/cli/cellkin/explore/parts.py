"""Parts that several pages are made of."""

import html
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui
from bokeh.models import ScientificFormatter

from cellkin.explore.session import Session
from cellkin.wire.errors import CancelledError, CellkinError

PAGE_ROWS = 15
"""Rows of a table that are shown, and sent to the browser, at once."""
_NUMBERS = {"precision": 3, "power_limit_low": -3, "power_limit_high": 6, "text_align": "right"}


class Notices:
    """Where a page shows what went wrong, and warnings; `view` is what is shown."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.view = pn.Column(sizing_mode="stretch_width")

    def show(self, severity: str, said: Iterable[str]) -> None:
        """Replace what is shown by alerts that stay.

        Parameters
        ----------
        severity
            ``error``, ``warning``, ``info`` or ``success``.
        said
            One sentence for each alert, as plain text.
        """
        self.view.objects = [alert(severity, each) for each in said]

    @contextmanager
    def telling(self, *controls: Any) -> Iterator[None]:
        """Show an error that is raised within, and disable controls meanwhile."""
        self.view.objects = []
        for control in controls:
            control.disabled = True
        try:
            yield
        except CancelledError:
            self.show("info", ["canceled"])
        except CellkinError as error:
            self.show("error", [self._session.shown(error)])
        finally:
            for control in controls:
                control.disabled = False


def alert(severity: str, said: str) -> Any:
    """Return an alert with a plain text."""
    filled = "filled" if severity == "warning" else "outlined"
    return pmui.Alert(
        object=_escaped(said), severity=severity, variant=filled, sizing_mode="stretch_width",
        margin=(5, 10), sx={"& p": {"margin": 0}, "& .MuiAlertTitle-root": {"display": "none"}},
    )  # fmt: skip


def heading(text: str, level: int = 6) -> Any:
    """Return a heading; level 6 is the smallest."""
    return pmui.Typography(_escaped(text), variant=f"h{level}", margin=(10, 10, 0, 10))


def note(text: str) -> Any:
    """Return a small plain text."""
    return pmui.Typography(_escaped(text), variant="body2", margin=(0, 10), sx={"opacity": 0.8})


def table(
    frame: pd.DataFrame,
    *,
    digits: Sequence[str] = (),
    shares: Sequence[str] = (),
    links: Sequence[str] = (),
    rows: int = PAGE_ROWS,
    **given: Any,
) -> Any:
    """Return a table that can be sorted, and is sent a page at a time.

    Parameters
    ----------
    frame
        The rows.
    digits
        Columns of numbers that are shown with three digits.
    shares
        Columns of shares that are shown as percentages.
    links
        Columns of web addresses.
    rows
        Rows per page.
    given
        Other parameters of ``panel.widgets.Tabulator``.
    """
    frame = frame.copy()
    for name in shares:
        frame[name] = [f"{value:.1%}" if value == value else "" for value in frame[name]]
    formatters: dict[str, Any] = {
        name: {"type": "link", "target": "_blank", "label": "open"} for name in links
    }
    formatters |= {name: ScientificFormatter(**_NUMBERS) for name in digits}
    return pn.widgets.Tabulator(
        frame, show_index=False, disabled=True, pagination="remote" if len(frame) > rows else None,
        page_size=rows, formatters=formatters, sizing_mode="stretch_width", layout="fit_data_fill",
        theme="simple", margin=(5, 10), **given,
    )  # fmt: skip


def choices(label: str, options: Sequence[str]) -> Any:
    """Return buttons of which one is chosen, at first the first."""
    return pmui.RadioButtonGroup(
        label=label, options=list(options), value=options[0], size="small",
        sx={"& button": {"whiteSpace": "nowrap", "textTransform": "none"}},
    )  # fmt: skip


def boxes(label: str) -> Any:
    """Return boxes of which several may be ticked; hidden until there are options."""
    return pmui.CheckBoxGroup(label=label, options=[], value=[], inline=True, visible=False)


def offer(ticked: Any, options: Sequence[str]) -> None:
    """Give boxes their options, none of them ticked."""
    ticked.param.update(options=list(options), value=[], visible=bool(options))


def downloads(session: Session, paths: Iterable[Any]) -> Any:
    """Return links to files of the session."""
    links = "".join(
        f'<a href="{session.offer(path)}" download="{html.escape(path.name, quote=True)}">'
        f"{html.escape(path.name)}</a> &nbsp; "
        for path in paths
    )
    return pn.pane.HTML(f"Download: {links}", margin=(5, 10), sizing_mode="stretch_width")


def _escaped(text: str) -> str:
    """Return text in which Markdown has nothing to read."""
    return "".join(f"&#{ord(c)};" if c in r"\`*_{}[]<>()#+-.!|~&" else c for c in text)
