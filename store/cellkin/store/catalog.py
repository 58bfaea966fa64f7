"""The catalog: which versions exist, and what names mean.

A version is written once and never changed. It exists when the journal says so, which happens last,
so whatever a crash leaves behind is an orphan file and never half a version. What does move,
aliases and retractions, is recorded the same way.
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
"""A writer at work is no lag: so long the tables are given to be brought up to date."""


class Catalog:
    """The versions of one store.

    What was read is kept, and only what is new is read again. Of a catalog that cannot be read, or
    that is no later state of the one read before, nothing is answered.

    Parameters
    ----------
    root
        The store: an absolute folder, or the URI of an object store.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._state = CatalogState(root)
        self._lock = threading.RLock()
        self._reader = RowReader()

    def is_there(self) -> bool:
        """Say whether there is a catalog, whole or damaged.

        Raises
        ------
        UnavailableError
            If that cannot be found out now.
        """
        return self._state.is_there()

    def create(self) -> None:
        """Begin the catalog of a new store.

        Raises
        ------
        IntegrityError
            If the place has tables of versions, whose catalog was lost.
        """
        with self._lock:
            self._state.create()

    def view(self) -> CatalogView:
        """Return the catalog as committed at this moment.

        Raises
        ------
        IntegrityError
            If it is damaged, or no later state of the one that was read before.
        UnavailableError
            If it cannot be read now.
        """
        with self._lock:
            return self._reader.view(self._state.read())

    def entries(self, kind: Kind | None = None, name: str | None = None) -> list[Entry]:
        """Return the versions, by kind, name and age, as committed at this moment.

        Parameters
        ----------
        kind, name
            Only these, where given.
        """
        return self.view().entries(kind, name)

    def aliases(self) -> Mapping[tuple[Kind, str, str], str]:
        """Return what aliases mean, (kind, name, alias) to version; not ``latest``."""
        return self.view().aliases

    def retractions(self) -> Mapping[tuple[Kind, str, str], Retraction]:
        """Return the versions that were withdrawn: (kind, name, version) to why."""
        return self.view().retractions

    def removed(self) -> Sequence[Removed]:
        """Return the versions that were removed, and when."""
        return self.view().removed

    def resolve(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name means now; see `CatalogView.resolve`."""
        return self.view().resolve(kind, wanted)

    def version(self, kind: Kind, wanted: VersionName) -> Entry:
        """Return the version a name means now, retracted or not; see `CatalogView.version`."""
        return self.view().version(kind, wanted)

    def problems(self) -> list[str]:
        """Read journal and tables from the beginning; return what is wrong, in words.

        Among it is what changes no answer: a table that lags behind the journal.
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
        """Whether the catalog has a journal; those of earlier releases get one when written to."""
        with self._lock:
            self._state.read()
            return self._state.has_journal

    def upgrade(self) -> None:
        """Begin the journal where there is none, and bring the tables up to date.

        Raises
        ------
        IntegrityError
            If a table cannot be brought up to date.
        CellkinError
            As `view` does, but not where the journal was taken away.
        """
        with self._lock:
            self._state.upgrade()
        for problem in self.problems():
            raise IntegrityError(problem)

    def commit(self, kind: Kind, name: str, digest: str, manifest: Mapping[str, Any]) -> Entry:
        """Make a version exist, under the next number of the day that was never given.

        Raises
        ------
        FailedPreconditionError
            If what it was made from was removed meanwhile.
        ConflictError
            If other writers were first too often.
        """
        now = datetime.now(UTC)
        day, made = now.strftime("%Y-%m-%d"), list[Entry]()

        def decide(view: CatalogView) -> Change:
            for source, of in sources(kind, manifest):
                if any((r.entry.kind, r.entry.full_name) == (of, source) for r in view.removed):
                    raise FailedPreconditionError(
                        f"{kind.noun} {name!r} was made from {of.noun} {source}, which was removed "
                        "meanwhile; nothing was published"
                    )
            given = [*view.entries(kind, name), *(r.entry for r in view.removed)]
            numbers = [
                e.order[1] for e in given if (e.kind, e.name, e.order[0]) == (kind, name, day)
            ]
            version = f"{day}.{max(numbers, default=0) + 1}"
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
        """Let an alias mean a version from now on, whatever it meant before.

        Raises
        ------
        InvalidArgumentError
            If the alias is ``latest``, which is always the newest version, or no alias at all.
        RetractedError
            If the version was withdrawn.
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
        """Withdraw a version: it stays readable for what was made from it, and is refused else.

        Parameters
        ----------
        entry
            The version.
        reason
            What is wrong with it.
        replacement
            What to use instead.
        force
            Whether to withdraw it though an alias means it or no other version stands.

        Raises
        ------
        InvalidArgumentError
            If no reason is given, or the version is to replace itself.
        FailedPreconditionError
            If an alias means it, or no other version of its name stands, and it is not forced.
        """
        if not reason.strip():
            raise InvalidArgumentError("a retraction needs a reason; say what is wrong")
        if replacement is not None and replacement.full_name == entry.full_name:
            raise InvalidArgumentError(f"{entry.full_name} cannot replace itself; name another")
        value = {"reason": reason, "replacement": replacement.full_name if replacement else ""}

        def decide(view: CatalogView) -> Change:
            view.version(entry.kind, VersionName(entry.name, entry.version))
            if not force:
                _check_needless(view, entry)
            return Change({MARKS: [_mark(RETRACTION, entry, entry.version, json.dumps(value))]})

        self._change(decide)

    def unretract(self, entry: Entry) -> None:
        """Take back that a version was withdrawn.

        Raises
        ------
        FailedPreconditionError
            If it is not.
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
        """Let versions be in the catalog no longer, all or none of them.

        Their files stay until they are collected as what no version refers to.

        Raises
        ------
        FailedPreconditionError
            If an alias means one of them, or a version that stays was made from one.
        NotFoundError
            If one is not there.
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
        """Record what is decided by the catalog as it is; once more where another was first."""
        for attempt in range(1, _ATTEMPTS + 1):
            with self._lock:
                if self._state.append(decide(self.view())):
                    self._state.mirror()
                    return
            # Writers that run in step would meet again.
            time.sleep(random.uniform(0, _WAIT_S * min(attempt, 10)))
        raise ConflictError(
            f"the catalog of the store at {self._root}: other writers were first {_ATTEMPTS} times "
            "in a row and nothing was changed; run the command again when they are done"
        )


def _check_needless(view: CatalogView, entry: Entry) -> None:
    """Refuse to withdraw a version that something depends on."""
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
