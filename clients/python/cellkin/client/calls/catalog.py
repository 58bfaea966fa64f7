"""The requests of CatalogService."""

from functools import partial

from cellkin.client.calls.messages import pages
from cellkin.client.results import catalog as results
from cellkin.client.transport.core import Call, Pages
from cellkin.v1 import catalog_service_pb2 as wire
from cellkin.wire.terms import VersionKind


def list_embedding_models() -> Pages[results.EmbeddingModel]:
    """List the embedding models, by name.

    Source: ``CatalogService.ListEmbeddingModels``.

    Returns
    -------
    iterator of EmbeddingModel
        Pages are requested as they are needed.
    """
    return pages(
        "CatalogService/ListEmbeddingModels",
        wire.ListEmbeddingModelsRequest,
        lambda answer: map(results.read_model, answer.embedding_models),
    )


def get_embedding_model(name: str) -> Call[results.EmbeddingModel]:
    """Describe one embedding model.

    Source: ``CatalogService.GetEmbeddingModel``.

    Parameters
    ----------
    name
        Name of the model.

    Returns
    -------
    EmbeddingModel
        Its dimension and number of versions.

    Raises
    ------
    NotFoundError
        If the model does not exist; the message lists the existing ones.
    InvalidArgumentError
        If the name is not valid.
    """
    request = wire.GetEmbeddingModelRequest(name=name)
    return Call("CatalogService/GetEmbeddingModel", request, results.read_model)


def list_embedding_versions(model: str) -> Pages[results.EmbeddingVersion]:
    """List the versions of one embedding model, oldest first.

    Source: ``CatalogService.ListEmbeddingVersions``.

    Parameters
    ----------
    model
        Name of the model.

    Returns
    -------
    iterator of EmbeddingVersion
        Pages are requested as they are needed.

    Raises
    ------
    NotFoundError
        If the model does not exist; raised when the first item is requested.
    """
    make = partial(wire.ListEmbeddingVersionsRequest, parent=model)
    return pages(
        "CatalogService/ListEmbeddingVersions",
        make,
        lambda answer: map(results.read_embedding, answer.embedding_versions),
    )


def get_embedding_version(name: str) -> Call[results.EmbeddingVersion]:
    """Describe one version of an embedding model, retracted or not.

    Source: ``CatalogService.GetEmbeddingVersion``.

    Parameters
    ----------
    name
        ``MODEL[@VERSION_OR_ALIAS]``.

    Returns
    -------
    EmbeddingVersion
        The version with its manifest: all inputs and settings.

    Raises
    ------
    NotFoundError
        If the model or version does not exist.
    InvalidArgumentError
        If the name is not valid.
    """
    request = wire.GetEmbeddingVersionRequest(name=name)
    return Call("CatalogService/GetEmbeddingVersion", request, results.read_embedding)


def list_cell_indexes(*, all_versions: bool = False) -> Pages[results.CellIndex]:
    """List the newest version of every cell index by name, or every version.

    Source: ``CatalogService.ListCellIndexes``.

    Parameters
    ----------
    all_versions
        Whether to list every version.

    Returns
    -------
    iterator of CellIndex
        Pages are requested as they are needed.

    Raises
    ------
    UnavailableError
        If the server does not respond; raised when a page is requested.
    """
    make = partial(wire.ListCellIndexesRequest, all_versions=all_versions)
    return pages(
        "CatalogService/ListCellIndexes",
        make,
        lambda answer: map(results.read_index, answer.cell_indexes),
    )


def get_cell_index(name: str) -> Call[results.CellIndex]:
    """Describe one version of a cell index with its certificate and quality, retracted or not.

    Source: ``CatalogService.GetCellIndex``.

    Parameters
    ----------
    name
        ``NAME[@VERSION_OR_ALIAS]``; a name alone means the newest version that is not retracted.

    Returns
    -------
    CellIndex
        Its content, the versions it was made from, and measurements: by space, the accuracy of its
        labels and how well cells of a missing label are detected.

    Raises
    ------
    NotFoundError
        If the index or version does not exist; the message lists the existing ones.
    InvalidArgumentError
        If the name is not valid.
    """
    request = wire.GetCellIndexRequest(name=name)
    return Call("CatalogService/GetCellIndex", request, results.read_index)


def list_aliases() -> Pages[results.Alias]:
    """List the aliases, by kind and name, without ``latest``.

    Source: ``CatalogService.ListAliases``.

    Returns
    -------
    iterator of Alias
        Pages are requested as they are needed.
    """
    return pages(
        "CatalogService/ListAliases",
        wire.ListAliasesRequest,
        lambda answer: map(results.read_alias, answer.aliases),
    )


def set_alias(kind: VersionKind, version: str, alias: str) -> Call[results.Alias]:
    """Set an alias to a version, whatever it meant before.

    Source: ``CatalogService.SetAlias``.

    Not retried if the server does not respond: another client may have moved it meanwhile.

    Parameters
    ----------
    kind
        Kind of the version.
    version
        ``NAME[@VERSION_OR_ALIAS]``.
    alias
        Such as ``stable``: up to 40 lower-case letters, digits or ``-``.

    Returns
    -------
    Alias
        The alias with its new version.

    Raises
    ------
    NotFoundError
        If the version does not exist.
    RetractedError
        If it was retracted.
    InvalidArgumentError
        If the alias is not valid, or ``latest``.
    PermissionDeniedError
        If the token lacks the role ``admin``.
    """
    request = wire.SetAliasRequest(
        kind=int(kind),  # type: ignore[arg-type]  # the enum's values are the proto's
        version=version,
        alias=alias,
    )
    return Call("CatalogService/SetAlias", request, results.read_alias)


def retract_version(
    kind: VersionKind, version: str, reason: str, *, replacement: str = ""
) -> Call[results.RetractedVersion]:
    """Retract a version: it is refused from now on, but kept for results made from it.

    Source: ``CatalogService.RetractVersion``.

    Parameters
    ----------
    kind
        Kind of the version.
    version
        ``NAME@DATE.N``.
    reason
        Reason for the retraction.
    replacement
        Version to use instead, ``NAME@DATE.N``; empty if there is none.

    Returns
    -------
    RetractedVersion
        The retracted version and the reason.

    Raises
    ------
    NotFoundError
        If the version or replacement does not exist.
    InvalidArgumentError
        If no reason is given, or the version is its own replacement.
    FailedPreconditionError
        If an alias means the version, or every other version of its name is retracted.
    PermissionDeniedError
        If the token lacks the role ``admin``.
    """
    request = wire.RetractVersionRequest(
        kind=int(kind),  # type: ignore[arg-type]  # the enum's values are the proto's
        version=version,
        reason=reason,
        replacement=replacement,
    )
    return Call("CatalogService/RetractVersion", request, results.read_retracted)


def back_up_store(destination: str) -> Call[results.StoreBackup]:
    """Have the server copy its store, and verify the copy; only what is new is copied.

    Source: ``CatalogService.BackUpStore``.

    Takes as long as reading and writing the store: derive a client with that ``timeout_s`` by
    `using`.

    Parameters
    ----------
    destination
        One of the server's setting ``backups``: a folder of its machine, or ``s3://``, ``gs://``,
        ``az://``.

    Returns
    -------
    StoreBackup
        What was copied.

    Raises
    ------
    InvalidArgumentError
        If the server does not back up to the destination; the message lists those it does.
    FailedPreconditionError
        If another store, or a later state of this one, is there.
    ConflictError
        If a backup is being made.
    IntegrityError
        If the store or the copy is damaged.
    PermissionDeniedError
        If the token lacks the role ``admin``.
    """
    request = wire.BackUpStoreRequest(destination=destination)
    return Call("CatalogService/BackUpStore", request, results.read_backup)


def reload() -> Call[results.Reloaded]:
    """Make the server read the catalog now; returns when changes are loaded or refused.

    Source: ``CatalogService.Reload``.

    Returns
    -------
    Reloaded
        The versions served from now on, and those that were refused.

    Raises
    ------
    UnavailableError
        If the store cannot be read; loaded versions stay in use.
    PermissionDeniedError
        If the token lacks the role ``admin``.
    """
    return Call("CatalogService/Reload", wire.ReloadRequest(), results.read_reloaded)
