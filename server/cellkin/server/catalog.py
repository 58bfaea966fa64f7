"""The catalog service: lists versions, moves aliases, retracts, reloads, backs up."""

import json
from contextlib import suppress
from datetime import datetime
from threading import Lock

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from cellkin.server import calls
from cellkin.server.messages import index_versions
from cellkin.server.pages import page_of
from cellkin.server.spaces import space_kind
from cellkin.server.version_cache import VersionCache
from cellkin.store.catalog import CatalogView, Entry, Kind, Retraction
from cellkin.store.certificate import Certificate
from cellkin.store.controls import is_control, of_control
from cellkin.store.quality import SpaceQuality, read_qualities
from cellkin.v1 import catalog_service_pb2 as wire
from cellkin.v1 import catalog_service_pb2_grpc
from cellkin.wire.errors import (
    ConflictError,
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
    RetractedError,
    UnavailableError,
)
from cellkin.wire.names import VersionName, check_name, parse_version_name

_KINDS = {
    wire.VERSION_KIND_CORPUS: Kind.CORPUS,
    wire.VERSION_KIND_EMBEDDING: Kind.EMBEDDING,
    wire.VERSION_KIND_INDEX: Kind.INDEX,
    wire.VERSION_KIND_GENE_SETS: Kind.GENE_SETS,
}
_MOST_BATCHES = 1000
_WIRE_KINDS = {kind: number for number, kind in _KINDS.items()}


class CatalogService(catalog_service_pb2_grpc.CatalogServiceServicer):
    """Lists and describes versions; moves aliases, retracts, reloads, backs up.

    Parameters
    ----------
    version_cache
        The versions of the store.
    backups
        URIs that the store may be copied to.
    """

    def __init__(self, version_cache: VersionCache, backups: tuple[str, ...] = ()) -> None:
        self._version_cache, self._backups = version_cache, backups
        self._backing_up = Lock()

    def ListEmbeddingModels(  # the name of the RPC
        self, request: wire.ListEmbeddingModelsRequest, context: grpc.ServicerContext
    ) -> wire.ListEmbeddingModelsResponse:
        """List the embedding models, by name."""
        view = self._version_cache.view
        names = sorted({entry.name for entry in view.entries(Kind.EMBEDDING)})
        page, token = page_of(names, lambda n: (n,), request.page_size, request.page_token)
        models = [_describe_model(view, name) for name in page]
        return wire.ListEmbeddingModelsResponse(embedding_models=models, next_page_token=token)

    def GetEmbeddingModel(  # the name of the RPC
        self, request: wire.GetEmbeddingModelRequest, context: grpc.ServicerContext
    ) -> wire.EmbeddingModel:
        """Describe one embedding model."""
        name = check_name(request.name, "gene embedding")
        self._version_cache.version(Kind.EMBEDDING, VersionName(name))
        return _describe_model(self._version_cache.view, name)

    def ListEmbeddingVersions(  # the name of the RPC
        self, request: wire.ListEmbeddingVersionsRequest, context: grpc.ServicerContext
    ) -> wire.ListEmbeddingVersionsResponse:
        """List the versions of one embedding model, oldest first."""
        name = check_name(request.parent, "gene embedding")
        self._version_cache.version(Kind.EMBEDDING, VersionName(name))
        view = self._version_cache.view
        entries = view.entries(Kind.EMBEDDING, name)
        page, token = page_of(entries, _age, request.page_size, request.page_token)
        return wire.ListEmbeddingVersionsResponse(
            embedding_versions=[_describe_embedding(view, entry) for entry in page],
            next_page_token=token,
        )

    def GetEmbeddingVersion(  # the name of the RPC
        self, request: wire.GetEmbeddingVersionRequest, context: grpc.ServicerContext
    ) -> wire.EmbeddingVersion:
        """Describe one version of an embedding model."""
        wanted = parse_version_name(request.name, "gene embedding")
        entry = self._version_cache.version(Kind.EMBEDDING, wanted)
        return _describe_embedding(self._version_cache.view, entry)

    def ListCellIndexes(  # the name of the RPC
        self, request: wire.ListCellIndexesRequest, context: grpc.ServicerContext
    ) -> wire.ListCellIndexesResponse:
        """List the newest version of every cell index, or every version."""
        view = self._version_cache.view
        entries = view.entries(Kind.INDEX)
        if not request.all_versions:
            entries = list({entry.name: entry for entry in entries}.values())
        # By name alone, a version published between two pages does not repeat its index.
        key = _age if request.all_versions else _name
        page, token = page_of(entries, key, request.page_size, request.page_token)
        return wire.ListCellIndexesResponse(
            cell_indexes=[self._describe_index(view, entry) for entry in page],
            next_page_token=token,
        )

    def GetCellIndex(  # the name of the RPC
        self, request: wire.GetCellIndexRequest, context: grpc.ServicerContext
    ) -> wire.CellIndex:
        """Describe one version of a cell index; for a bare name, the served one."""
        wanted = parse_version_name(request.name, "cell index")
        try:
            entry = self._version_cache.resolve(Kind.INDEX, wanted)
        except RetractedError:
            entry = self._version_cache.version(Kind.INDEX, wanted)
        return self._describe_index(self._version_cache.view, entry)

    def ListAliases(  # the name of the RPC
        self, request: wire.ListAliasesRequest, context: grpc.ServicerContext
    ) -> wire.ListAliasesResponse:
        """List the aliases and their versions."""
        items = sorted(self._version_cache.view.aliases.items())
        page, token = page_of(
            items, lambda item: tuple(map(str, item[0])), request.page_size, request.page_token
        )
        aliases = [_describe_alias(*key, version) for key, version in page]
        return wire.ListAliasesResponse(aliases=aliases, next_page_token=token)

    def SetAlias(  # the name of the RPC
        self, request: wire.SetAliasRequest, context: grpc.ServicerContext
    ) -> wire.Alias:
        """Point an alias to a version."""
        calls.current().audit |= {"version": request.version, "alias": request.alias}
        kind = _kind(request.kind)
        catalog = self._version_cache.store.catalog
        entry = catalog.resolve(kind, parse_version_name(request.version, kind.noun))
        catalog.set_alias(entry, request.alias)
        self._reload()
        return _describe_alias(kind, entry.name, request.alias, entry.version)

    def RetractVersion(  # the name of the RPC
        self, request: wire.RetractVersionRequest, context: grpc.ServicerContext
    ) -> wire.RetractVersionResponse:
        """Retract a version."""
        calls.current().audit |= {"version": request.version, "reason": request.reason}
        kind = _kind(request.kind)
        catalog = self._version_cache.store.catalog
        entry = catalog.version(kind, _exact_version(request.version, kind, "version"))
        other = None
        if request.replacement:
            wanted = _exact_version(request.replacement, kind, "replacement")
            other = catalog.version(kind, wanted)
        catalog.retract(entry, request.reason, other)
        self._reload()
        retraction = Retraction(request.reason, other.full_name if other else "")
        return wire.RetractVersionResponse(
            version=entry.full_name, retraction=_describe_retraction(retraction)
        )

    def Reload(  # the name of the RPC
        self, request: wire.ReloadRequest, context: grpc.ServicerContext
    ) -> wire.ReloadResponse:
        """Read the catalog now."""
        changes = self._version_cache.refresh(again=True)
        return wire.ReloadResponse(
            switched_versions=sorted(set(changes.switched)),
            refused_versions=[
                wire.RefusedVersion(version=version, message=message)
                for version, message in sorted(changes.refused.items())
            ],
        )

    def BackUpStore(  # the name of the RPC
        self, request: wire.BackUpStoreRequest, context: grpc.ServicerContext
    ) -> wire.BackUpStoreResponse:
        """Copy the store, and read the copy."""
        calls.current().audit |= {"destination": request.destination}
        if request.destination not in self._backups:
            raise InvalidArgumentError(
                f"destination {request.destination!r} is none of this server's; it backs up to: "
                + (", ".join(self._backups) or "none: set CELLKIN_SERVER__BACKUPS"),
                field="destination",
            )
        if not self._backing_up.acquire(blocking=False):
            raise ConflictError("a backup is being made; ask again when it is done")
        try:
            return _back_up(self._version_cache.store.uri, request.destination)
        finally:
            self._backing_up.release()

    def _reload(self) -> None:
        """Refresh this server now; other servers follow within their refresh time."""
        with suppress(UnavailableError):  # the change is written; the next refresh reads it
            self._version_cache.refresh()

    def _describe_index(self, view: CatalogView, entry: Entry) -> wire.CellIndex:
        counts: dict[str, int] = entry.manifest["label_counts"]
        certificate = entry.manifest.get("certificate")
        return wire.CellIndex(
            name=entry.full_name,
            n_cells=entry.manifest["n_cells"],
            dim=entry.manifest["dim"],
            labels=list(counts),
            label_counts=list(counts.values()),
            recipe=entry.manifest["recipe"],
            versions=index_versions(entry),
            create_time=_timestamp(entry),
            aliases=view.aliases_of(entry),
            retraction=_describe_retraction(view.retraction(entry)),
            certificate=_describe_certificate(certificate) if certificate else None,
            loaded=self._version_cache.is_loaded(entry),
            qualities=[
                _describe_quality(space, quality)
                for space, quality in read_qualities(entry.manifest).items()
            ],
            control_embedding=of_control(view, entry),
            batches=entry.manifest.get("batches", [])[:_MOST_BATCHES],
        )


def _back_up(uri: str, destination: str) -> wire.BackUpStoreResponse:
    from cellkin.store.backup import copy_store
    from cellkin.store.maintenance import damage

    copied = copy_store(uri, destination, lambda done, total: calls.check())
    for entry in copied.store.catalog.entries():
        calls.check()
        if wrong := damage(copied.store, entry):
            raise IntegrityError(f"the copy at {destination}: {entry.full_name}: {wrong}")
    return wire.BackUpStoreResponse(
        n_versions=copied.n_versions,
        n_files=copied.n_files,
        n_bytes=copied.n_bytes,
        n_files_before=copied.n_files_before,
    )


def _kind(number: int) -> Kind:
    if number not in _KINDS:
        raise InvalidArgumentError(
            f"kind {number} is none; give VERSION_KIND_CORPUS, VERSION_KIND_EMBEDDING, "
            "VERSION_KIND_INDEX or VERSION_KIND_GENE_SETS",
            field="kind",
        )
    return _KINDS[wire.VersionKind.ValueType(number)]


def _exact_version(text: str, kind: Kind, field: str) -> VersionName:
    wanted = parse_version_name(text, kind.noun)
    if not wanted.is_version:
        raise InvalidArgumentError(
            f"{field} {text!r} may come to mean another version; give NAME@DATE.N", field=field
        )
    return wanted


def _name(entry: Entry) -> tuple[str, ...]:
    return (entry.name,)


def _age(entry: Entry) -> tuple[str, ...]:
    day, number = entry.order
    return entry.name, day, f"{number:09d}"


def _timestamp(entry: Entry) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.fromisoformat(entry.created_at))
    return stamp


def _describe_model(view: CatalogView, name: str) -> wire.EmbeddingModel:
    entries = view.entries(Kind.EMBEDDING, name)
    if not entries:
        raise NotFoundError(f"no gene embedding {name!r} in this store any more")
    standing = [entry for entry in entries if not view.retraction(entry)]
    return wire.EmbeddingModel(
        name=name,
        n_versions=len(entries),
        latest_version=standing[-1].full_name if standing else "",
        dim=entries[-1].manifest["dim"],
    )


def _describe_embedding(view: CatalogView, entry: Entry) -> wire.EmbeddingVersion:
    return wire.EmbeddingVersion(
        name=entry.full_name,
        create_time=_timestamp(entry),
        digest=entry.digest,
        n_genes=entry.manifest["n_genes"],
        dim=entry.manifest["dim"],
        corpus=entry.manifest["corpus"],
        aliases=view.aliases_of(entry),
        retraction=_describe_retraction(view.retraction(entry)),
        manifest_json=json.dumps(dict(entry.manifest), sort_keys=True),
        control=is_control(entry.manifest),
    )


def _describe_retraction(why: Retraction | None) -> wire.Retraction | None:
    if why is None:
        return None
    return wire.Retraction(reason=why.reason, replacement=why.replacement)


def _describe_certificate(stored: dict[str, object]) -> wire.Certificate:
    certificate = Certificate.from_json(stored)
    return wire.Certificate(
        recalls=[wire.Recall(k=k, recall=recall) for k, recall in certificate.recall.items()],
        n_queries=certificate.n_queries,
        queries=certificate.queries,
        target=certificate.target,
        qps_batch=certificate.qps_batch,
        qps_single=certificate.qps_single,
        bytes_per_cell=certificate.bytes_per_cell,
        factory=certificate.factory,
        parameters=certificate.parameters,
        why=certificate.why,
        vectors_digest=certificate.vectors_digest,
    )


def _describe_quality(space: str, quality: SpaceQuality) -> wire.SpaceQuality:
    return wire.SpaceQuality(
        space=space_kind(space),
        held_out=quality.held_out,
        n_cells=quality.n_cells,
        accuracy=quality.accuracy,
        macro_f1=quality.macro_f1,
        calibration_error=quality.calibration_error,
        novelty_limit=quality.novelty_limit,
        labels=[
            wire.LabelQuality(
                label=label.label,
                n_cells=label.n_cells,
                auroc=label.auroc,
                found=label.found,
                weak=label.weak,
            )
            for label in quality.labels
        ],
    )


def _describe_alias(kind: Kind, name: str, alias: str, version: str) -> wire.Alias:
    return wire.Alias(kind=_WIRE_KINDS[kind], name=f"{name}@{alias}", version=f"{name}@{version}")
