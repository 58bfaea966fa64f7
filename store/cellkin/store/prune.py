"""Find versions that are no longer needed."""

from collections.abc import Iterator
from dataclasses import dataclass

from cellkin.store.catalog import CatalogView, Entry, Kind, sources
from cellkin.wire.errors import NotFoundError


@dataclass(frozen=True)
class Superseded:
    """A version to remove, if nothing needs it.

    Parameters
    ----------
    entry
        The version.
    why_kept
        Why it is kept; empty if nothing needs it.
    """

    entry: Entry
    why_kept: str


def superseded(
    view: CatalogView, kind: Kind, name: str, keep: int | None, retracted: bool
) -> list[Superseded]:
    """Find the versions of a name that may be removed.

    Parameters
    ----------
    view
        The catalog.
    kind, name
        Kind and name of the versions.
    keep
        Number of the newest versions to keep that are not retracted; None for all.
    retracted
        Whether to remove retracted versions.

    Raises
    ------
    NotFoundError
        If there is no version of the name.
    """
    entries = view.entries(kind, name)
    if not entries:
        names = sorted({entry.name for entry in view.entries(kind)})
        raise NotFoundError(
            f"no {kind.noun} {name!r} in this store; there is: {', '.join(names) or 'none yet'}"
        )
    standing = [entry for entry in entries if view.retraction(entry) is None]
    older = [] if keep is None else standing[: max(len(standing) - keep, 0)]
    if retracted:
        older = [entry for entry in entries if entry in older or view.retraction(entry)]
    return [Superseded(entry, "; ".join(_needs(view, entry))) for entry in older]


def _needs(view: CatalogView, entry: Entry) -> Iterator[str]:
    """Yield the reasons why a version is needed."""
    if aliases := view.aliases_of(entry):
        yield f"kept: {', '.join(aliases)} means it"
    made = [
        e for e in view.all_entries if (entry.full_name, entry.kind) in sources(e.kind, e.manifest)
    ]
    if made:
        more = f" and {len(made) - 1} more" if len(made) > 1 else ""
        yield f"kept: {made[0].kind.noun} {made[0].full_name}{more} was made from it"
