"""The requests of CatalogService."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from cellkin.client.core import Call, Pages
from cellkin.client.results import catalog as results
from cellkin.v1 import catalog_service_pb2 as wire
from cellkin.wire.terms import VersionKind

_PAGE = 1000
Item = TypeVar("Item")


def list_embedding_models() -> Pages[results.EmbeddingModel]:
    """List the embedding models, by name.

    Source: ``CatalogService.ListEmbeddingModels``.

    Returns
    -------
    iterator of EmbeddingModel
        Asks for a page when the one before it is used up.
    """
    return _pages(
        "ListEmbeddingModels", wire.ListEmbeddingModelsRequest, "embedding_models",
        results.read_model,
    )  # fmt: skip


def get_embedding_model(name: str) -> Call[results.EmbeddingModel]:
    """Describe one embedding model.

    Source: ``CatalogService.GetEmbeddingModel``.

    Parameters
    ----------
    name
        Its name.

    Returns
    -------
    EmbeddingModel
        Its width and how many versions there are.

    Raises
    ------
    NotFoundError
        If there is no such model; the message lists those there are.
    InvalidArgumentError
        If it is no name.
    """
    request = wire.GetEmbeddingModelRequest(name=name)
    return Call("CatalogService/GetEmbeddingModel", request, results.read_model)


def list_embedding_versions(model: str) -> Pages[results.EmbeddingVersion]:
    """List the versions of one embedding model, oldest first.

    Source: ``CatalogService.ListEmbeddingVersions``.

    Parameters
    ----------
    model
        Its name.

    Returns
    -------
    iterator of EmbeddingVersion
        Asks for a page when the one before it is used up.

    Raises
    ------
    NotFoundError
        If there is no such model; when the first is taken.
    """
    make = partial(wire.ListEmbeddingVersionsRequest, parent=model)
    return _pages("ListEmbeddingVersions", make, "embedding_versions", results.read_embedding)


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
        With its manifest: everything it was made from and by.

    Raises
    ------
    NotFoundError
        If there is no such model or version.
    InvalidArgumentError
        If it is no name.
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
        Asks for a page when the one before it is used up.

    Raises
    ------
    UnavailableError
        If the server does not answer; when a page is asked for.
    """
    make = partial(wire.ListCellIndexesRequest, all_versions=all_versions)
    return _pages("ListCellIndexes", make, "cell_indexes", results.read_index)


def get_cell_index(name: str) -> Call[results.CellIndex]:
    """Describe one version of a cell index with its certificate and quality, retracted or not.

    Source: ``CatalogService.GetCellIndex``.

    Parameters
    ----------
    name
        ``NAME[@VERSION_OR_ALIAS]``; a name alone is the newest version that was not retracted.

    Returns
    -------
    CellIndex
        What it holds, what it was made from, and what was measured of it: by space the accuracy of
        its labels, and the labels that cells of a missing type would be given.

    Raises
    ------
    NotFoundError
        If there is no such index or version; the message lists those there are.
    InvalidArgumentError
        If it is no name.
    """
    request = wire.GetCellIndexRequest(name=name)
    return Call("CatalogService/GetCellIndex", request, results.read_index)


def list_aliases() -> Pages[results.Alias]:
    """List what aliases mean, by kind and name; not ``latest``.

    Source: ``CatalogService.ListAliases``.

    Returns
    -------
    iterator of Alias
        Asks for a page when the one before it is used up.
    """
    return _pages("ListAliases", wire.ListAliasesRequest, "aliases", results.read_alias)


def set_alias(kind: VersionKind, version: str, alias: str) -> Call[results.Alias]:
    """Let an alias mean a version from now on, whatever it meant before.

    Source: ``CatalogService.SetAlias``.

    It is not sent again where the server does not answer: another may have moved it meanwhile.

    Parameters
    ----------
    kind
        What it names a version of.
    version
        ``NAME[@VERSION_OR_ALIAS]``.
    alias
        Such as ``stable``: up to 40 lower-case letters, digits or ``-``.

    Returns
    -------
    Alias
        What it means now.

    Raises
    ------
    NotFoundError
        If there is no such version.
    RetractedError
        If it was withdrawn.
    InvalidArgumentError
        If the alias is none, or ``latest``.
    PermissionDeniedError
        If the token lacks the role ``admin``.
    """
    request = wire.SetAliasRequest(
        kind=int(kind),  # type: ignore[arg-type]  # the enum's values are the proto's
        version=version,
        alias=alias,
    )
    return Call("CatalogService/SetAlias", request, results.read_alias, again=False)


def retract_version(
    kind: VersionKind, version: str, reason: str, *, replacement: str = ""
) -> Call[results.RetractedVersion]:
    """Withdraw a version: it is refused from now on, and kept for what was made from it.

    Source: ``CatalogService.RetractVersion``.

    Parameters
    ----------
    kind
        What it is a version of.
    version
        ``NAME@DATE.N``.
    reason
        What is wrong with it.
    replacement
        What to use instead, ``NAME@DATE.N``; empty where there is nothing.

    Returns
    -------
    RetractedVersion
        What was withdrawn, and why.

    Raises
    ------
    NotFoundError
        If there is no such version or replacement.
    InvalidArgumentError
        If no reason is given, or the version is to replace itself.
    FailedPreconditionError
        If an alias means the version, or no other version of its name stands.
    PermissionDeniedError
        If the token lacks the role ``admin``.
    """
    request = wire.RetractVersionRequest(
        kind=int(kind),  # type: ignore[arg-type]  # the enum's values are the proto's
        version=version,
        reason=reason,
        replacement=replacement,
    )
    return Call("CatalogService/RetractVersion", request, results.read_retracted, again=False)


def reload() -> Call[results.Reloaded]:
    """Let the server read the catalog now; answers when what changed is loaded, or refused.

    Source: ``CatalogService.Reload``.

    Returns
    -------
    Reloaded
        The versions that are used from now on, and those that were refused.

    Raises
    ------
    UnavailableError
        If the store cannot be read; what is loaded stays in use.
    PermissionDeniedError
        If the token lacks the role ``admin``.
    """
    return Call("CatalogService/Reload", wire.ReloadRequest(), results.read_reloaded)


def _pages(
    method: str, make: Callable[..., Any], items: str, read: Callable[[Any], Item]
) -> Pages[Item]:
    def page(token: str) -> Call[tuple[list[Item], str]]:
        return Call(
            f"CatalogService/{method}",
            make(page_size=_PAGE, page_token=token),
            lambda answer: ([*map(read, getattr(answer, items))], answer.next_page_token),
        )

    return Pages(page)
