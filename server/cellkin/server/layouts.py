"""Serve the two-dimensional layout of an index."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cellkin.server.loading import LoadedIndex
from cellkin.server.messages import index_versions
from cellkin.server.pages import make_token, read_token
from cellkin.server.spaces import space_kind
from cellkin.server.version_cache import VersionCache
from cellkin.space.layout import PLACED_BY, Layout
from cellkin.store.certificate import LayoutCertificate
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import parse_version_name

MOST_POINTS = 250_000
"""Most cells of a page: about 4 MB."""


def get_layout(
    version_cache: VersionCache, request: wire.GetLayoutRequest
) -> wire.GetLayoutResponse:
    """Return a page of the layout of an index.

    Raises
    ------
    NotFoundError
        If the index does not exist.
    FailedPreconditionError
        If it has no layout.
    InvalidArgumentError
        If the page size is negative, or the token is invalid or of another index.
    """
    if request.page_size < 0:
        raise InvalidArgumentError(
            f"page_size is {request.page_size}; give 0 or more", field="page_size"
        )
    name, first = _page(request)
    loaded = version_cache.index(parse_version_name(name, "cell index"))
    layout, cells = require_layout(loaded), loaded.index.cells
    page = slice(first, first + (min(request.page_size, MOST_POINTS) or MOST_POINTS))
    batches = sorted(set(cells.batches.unique().to_pylist()) - {""})
    mine = cells.batches.slice(first, page.stop - first)
    codes = pc.index_in(mine, pa.array(batches, pa.string())).fill_null(-1).to_numpy()
    more = page.stop < len(layout.positions)
    return wire.GetLayoutResponse(
        versions=index_versions(loaded.entry),
        certificate=_certificate_message(loaded),
        labels=cells.label_names,
        batches=batches,
        first_row=first,
        positions=codec.encode(layout.positions[page]),
        label_codes=codec.encode(cells.labels[page]),
        batch_codes=codec.encode(codes.astype(np.int32)),
        n_same=codec.encode(layout.n_same[page]),
        next_page_token=make_token((loaded.entry.full_name, str(page.stop))) if more else "",
    )


def _page(request: wire.GetLayoutRequest) -> tuple[str, int]:
    """Return the version and first row of a page; a token has the version of the first page."""
    if not request.page_token:
        return request.index, 0
    key = read_token(request.page_token)
    if len(key) != 2 or not key[1].isdecimal() or not _is_of(key[0], request.index):
        raise InvalidArgumentError(
            "page_token is of another request; begin with the first page", field="page_token"
        )
    return key[0], int(key[1])


def _is_of(version: str, index: str) -> bool:
    return version.partition("@")[0] == index.partition("@")[0]


def require_layout(loaded: LoadedIndex) -> Layout:
    """Return the layout of an index.

    Raises
    ------
    FailedPreconditionError
        If it has none.
    """
    if loaded.index.layout is None:
        name = loaded.entry.full_name
        raise FailedPreconditionError(
            f"{name} has no layout in two dimensions; `cellkin cells layout {name}` publishes a "
            "version with one"
        )
    return loaded.index.layout


def _certificate_message(loaded: LoadedIndex) -> wire.LayoutCertificate:
    stored = vars(LayoutCertificate.from_json(loaded.entry.manifest["layout"]))
    return wire.LayoutCertificate(
        **{**stored, "space": space_kind(stored["space"])},
        n_cells=loaded.entry.manifest["n_cells"],
        k=PLACED_BY,
    )
