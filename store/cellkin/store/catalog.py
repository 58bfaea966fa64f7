"""The catalog: which versions exist, and how names resolve.

A version is written once and never changed. It exists once the journal records it, which happens
last, so a crash leaves orphaned files but never half a version. Aliases and retractions, which can
change, are recorded in the journal too.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cellkin.store.catalog_rows import CATALOG, MARKS
from cellkin.store.catalog_state import CatalogState
from cellkin.store.catalog_view import (
    ALIAS,
    RETRACTION,
    CatalogView,
    Entry,
    Kind,
    Removed,
    Retraction,
    RowReader,
)
from cellkin.store.journal import Change, Row
from cellkin.wire.errors import (
    CellkinError,
    ConflictError,
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
)
from cellkin.wire.names import LATEST, VersionName, check_alias

__all__ = ["Catalog", "CatalogView", "Entry", "Kind", "Removed", "Retraction"]

_ATTEMPTS = 50
_WAIT_S = 0.01
_LAG_WAITS_S = 0.05, 0.5, 1.0
"""Seconds to wait between checks, so that a write in progress is not reported as a lag."""


class Catalog:
    """The versions of one store.

    What was read is cached, and only new records are read. All methods raise if the catalog cannot
    be read or is not a later state of the one read before.

    Parameters
    ----------
    root
        The store: an absolute folder or the URI of an object store.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._state = CatalogState(root)
        self._lock = threading.RLock()
        self._reader = RowReader()

    def is_there(self) -> bool:
        """Return whether there is a catalog, intact or damaged.

        Raises
        ------
        UnavailableError
            If this cannot be determined now.
        """
        return self._state.is_there()

    def create(self) -> None:
        """Create the catalog of a new store.

        Raises
        ------
        IntegrityError
            If there are tables of versions whose catalog was lost.
        """
        with self._lock:
            self._state.create()

    def view(self) -> CatalogView:
        """Return the catalog as committed now.

        Raises
        ------
        IntegrityError
            If it is damaged, or not a later state of the one read before.
        UnavailableError
            If it cannot be read now.
        """
        with self._lock:
            return self._reader.view(self._state.read())

    def entries(self, kind: Kind | None = None, name: str | None = None) -> list[Entry]:
        """Return the versions as committed now, sorted by kind, name and age.

        Parameters
        ----------
        kind, name
            Only versions of this kind and name, if given.
        """
        return self.view().entries(kind, name)

    def aliases(self) -> Mapping[tuple[Kind, str, str], str]:
        """Return the aliases except ``latest``: (kind, name, alias) to version."""
        return self.view().aliases

    def retractions(self) -> Mapping[tuple[Kind, str, str], Retraction]:
        """Return the retractions, by (kind, name, version)."""
        return self.view().retractions

    def removed(self) -> Sequence[Removed]:
        """Return the removed versions, with the time of removal."""
        return self.view().removed

    def resolve(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name refers to now; see `CatalogView.resolve`."""
        return self.view().resolve(kind, wanted)

    def version(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name refers to now, retracted or not; see `CatalogView.version`."""
        return self.view().version(kind, wanted)

    def problems(self) -> list[str]:
        """Read the journal and tables from the start; return descriptions of the problems.

        This includes tables that lag behind the journal, which affects no result.
        """
        state = CatalogState(self._root)
        try:
            for wait_s in (*_LAG_WAITS_S, 0):
                state.read()
                lag = state.lag()
                if not lag:
                    break
                time.sleep(wait_s)
        except CellkinError as error:
            return [error.message]
        return lag

    @property
    def has_journal(self) -> bool:
        """Whether there is a journal; catalogs of earlier releases get one on the first write."""
        with self._lock:
            self._state.read()
            return self._state.has_journal

    def upgrade(self) -> None:
        """Create the journal if there is none, and bring the tables up to date.

        Raises
        ------
        IntegrityError
            If a table cannot be brought up to date.
        CellkinError
            As for `view`, but not if the journal was moved away.
        """
        with self._lock:
            self._state.upgrade()
        for problem in self.problems():
            raise IntegrityError(problem)

    def commit(self, kind: Kind, name: str, digest: str, manifest: Mapping[str, Any]) -> Entry:
        """Record a new version under the next unused number of the day.

        The day is that of the newest version if the clock is behind it, as ``latest`` means the
        newest day and number.

        Raises
        ------
        FailedPreconditionError
            If a version it was made from was removed meanwhile.
        ConflictError
            If other writers committed first in every attempt.
        """
        now = datetime.now(UTC)
        today, made = now.strftime("%Y-%m-%d"), list[Entry]()

        def decide(view: CatalogView) -> Change:
            for source, of in sources(kind, manifest):
                if any((r.entry.kind, r.entry.full_name) == (of, source) for r in view.removed):
                    raise FailedPreconditionError(
                        f"{kind.noun} {name!r} was made from {of.noun} {source}, which was removed "
                        "meanwhile; nothing was published"
                    )
            given = [*view.entries(kind, name), *(r.entry for r in view.removed)]
            orders = [e.order for e in given if (e.kind, e.name) == (kind, name)]
            day, number = max([*orders, (today, 0)])
            version = f"{day}.{number + 1}"
            created_at = now.isoformat(timespec="seconds")
            made[:] = [Entry(kind, name, version, created_at, digest, dict(manifest))]
            row = {
                "key": _key(made[0]),
                "kind": str(kind),
                "name": name,
                "version": version,
                "created_at": created_at,
                "digest": digest,
                "manifest": json.dumps(manifest, sort_keys=True),
            }
            return Change({CATALOG: [row]})

        self._change(decide)
        return made[0]

    def set_alias(self, entry: Entry, alias: str) -> None:
        """Point an alias at a version, replacing its previous target.

        Raises
        ------
        InvalidArgumentError
            If the alias is ``latest``, which is always the newest version, or not a valid alias.
        RetractedError
            If the version was retracted.
        NotFoundError
            If the version was removed meanwhile.
        """
        check_alias(alias)
        if alias == LATEST:
            raise InvalidArgumentError(
                "'latest' is always the newest version; choose another alias, such as stable"
            )

        def decide(view: CatalogView) -> Change:
            view.resolve(entry.kind, VersionName(entry.name, entry.version))
            return Change({MARKS: [_mark(ALIAS, entry, alias, entry.version)]})

        self._change(decide)

    def retract(
        self, entry: Entry, reason: str, replacement: Entry | None = None, force: bool = False
    ) -> None:
        """Retract a version: only versions made from it may still read it.

        Parameters
        ----------
        entry
            The version.
        reason
            What is wrong with it.
        replacement
            The version to use instead.
        force
            Whether to retract it even if an alias points to it or no other version remains.

        Raises
        ------
        InvalidArgumentError
            If no reason is given, or the version would replace itself.
        FailedPreconditionError
            If an alias points to it or all other versions of the name are retracted, without
            ``force``.
        NotFoundError, RetractedError
            If the version or its replacement was removed, or the replacement is retracted.
        """
        if not reason.strip():
            raise InvalidArgumentError("a retraction needs a reason; say what is wrong")
        if replacement is not None and replacement.full_name == entry.full_name:
            raise InvalidArgumentError(f"{entry.full_name} cannot replace itself; name another")
        value = {"reason": reason, "replacement": replacement.full_name if replacement else ""}

        def decide(view: CatalogView) -> Change:
            view.version(entry.kind, VersionName(entry.name, entry.version))
            if replacement is not None:
                wanted = VersionName(replacement.name, replacement.version)
                view.resolve(replacement.kind, wanted)
            if not force:
                _check_needless(view, entry)
            return Change({MARKS: [_mark(RETRACTION, entry, entry.version, json.dumps(value))]})

        self._change(decide)

    def unretract(self, entry: Entry) -> None:
        """Undo a retraction.

        Raises
        ------
        FailedPreconditionError
            If the version is not retracted.
        """

        def decide(view: CatalogView) -> Change:
            view.version(entry.kind, VersionName(entry.name, entry.version))
            if view.retraction(entry) is None:
                raise FailedPreconditionError(
                    f"{entry.kind.noun} {entry.full_name} is not retracted"
                )
            return Change({}, {MARKS: [_mark_key(RETRACTION, entry, entry.version)]})

        self._change(decide)

    def remove(self, entries: Iterable[Entry]) -> None:
        """Remove versions from the catalog, all or none of them.

        Their files stay until garbage collection removes them as orphans.

        Raises
        ------
        FailedPreconditionError
            If an alias points to one of them, or a remaining version was made from one.
        NotFoundError
            If one does not exist.
        """
        leaving = {_key(entry): entry for entry in entries}

        def decide(view: CatalogView) -> Change:
            for entry in leaving.values():
                view.version(entry.kind, VersionName(entry.name, entry.version))
                if aliases := view.aliases_of(entry):
                    raise FailedPreconditionError(
                        f"{entry.kind.noun} {entry.full_name} is what {', '.join(aliases)} means; "
                        "let that mean another version first"
                    )
            for entry in (e for e in view.all_entries if _key(e) not in leaving):
                for source, kind in sources(entry.kind, entry.manifest):
                    if f"{kind}/{source}" in leaving:
                        raise FailedPreconditionError(
                            f"{kind.noun} {source} cannot be removed: {entry.kind.noun} "
                            f"{entry.full_name} was made from it; remove that first"
                        )
            withdrawn = [
                _mark_key(RETRACTION, entry, entry.version)
                for entry in leaving.values()
                if view.retraction(entry)
            ]
            return Change({}, {CATALOG: list(leaving), MARKS: withdrawn})

        if leaving:
            self._change(decide)

    def _change(self, decide: Callable[[CatalogView], Change]) -> None:
        """Record the change ``decide`` derives from the current catalog; retry on conflict."""
        for attempt in range(1, _ATTEMPTS + 1):
            with self._lock:
                if self._state.append(decide(self.view())):
                    self._state.mirror()
                    return
            # Random, so that competing writers do not stay in step.
            time.sleep(random.uniform(0, _WAIT_S * min(attempt, 10)))
        raise ConflictError(
            f"the catalog of the store at {self._root}: other writers were first {_ATTEMPTS} times "
            "in a row and nothing was changed; run the command again when they are done"
        )


def _check_needless(view: CatalogView, entry: Entry) -> None:
    """Raise if an alias or name depends on a version that is to be retracted."""
    what = f"{entry.kind.noun} {entry.full_name}"
    if aliases := view.aliases_of(entry):
        raise FailedPreconditionError(
            f"{what} is what {', '.join(aliases)} means, which would be refused from then on; let "
            "that mean another version first, or force it (`retract --force`)"
        )
    standing = [e for e in view.entries(entry.kind, entry.name) if view.retraction(e) is None]
    if standing == [entry]:
        raise FailedPreconditionError(
            f"{what} is the only version of {entry.name!r} that stands, so that nothing would "
            "answer to the name; publish another first, or force it (`retract --force`)"
        )


def sources(kind: Kind, manifest: Mapping[str, Any]) -> list[tuple[str, Kind]]:
    """Return the versions of other kinds that a version was made from."""
    sources = [of for of in (Kind.CORPUS, Kind.EMBEDDING) if of is not kind and of in manifest]
    return [(str(manifest[of]), of) for of in sources]


def _key(entry: Entry) -> str:
    return f"{entry.kind}/{entry.full_name}"


def _mark_key(mark: str, entry: Entry, selector: str) -> str:
    return f"{mark}/{entry.kind}/{entry.name}@{selector}"


def _mark(mark: str, entry: Entry, selector: str, value: str) -> Row:
    return {
        "key": _mark_key(mark, entry, selector),
        "mark": mark,
        "kind": str(entry.kind),
        "name": entry.name,
        "selector": selector,
        "value": value,
        "changed_at": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
