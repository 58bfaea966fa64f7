"""The request for the layout of an index."""

from cellkin.client.results.layouts import Layout, LayoutPart, read_part
from cellkin.client.results.versions import exactly
from cellkin.client.transport.core import Call, Joined, Pages
from cellkin.v1 import cell_service_pb2 as wire


def get_layout(index: str) -> Joined[LayoutPart, Layout]:
    """Return the positions of all reference cells of an index in two dimensions.

    Source: ``CellService.GetLayout``, one request per 250,000 cells. The ``versions`` of the result
    name the data.

    Parameters
    ----------
    index
        ``NAME[@VERSION_OR_ALIAS]``; an exact version also pins the response.

    Returns
    -------
    Layout
        Positions, labels and batches of the cells, in the order of the reference.

    Raises
    ------
    NotFoundError
        If the index does not exist.
    FailedPreconditionError
        If the index has no layout.
    UnimplementedError
        If the server is of an earlier release.
    VersionMismatchError
        If the response is from another version than pinned.
    """
    pins = exactly(index=index)

    def page(token: str) -> Call[tuple[list[LayoutPart], str]]:
        return Call(
            "CellService/GetLayout",
            wire.GetLayoutRequest(index=index, page_token=token),
            lambda answer: ([read_part(answer)], answer.next_page_token),
            lambda answer: answer[0][0].versions,
            pins,
        )

    return Joined(Pages(page), Layout.join)
