"""Methods of both clients, one for each RPC of the services."""

from cellkin.client.calls import catalog, cells, contrasts, gene_sets, genes, layouts
from cellkin.client.transport.core import asks, collects, exchanges, lists, streams


class Surface:
    """Requests of a client, blocking or asynchronous."""

    search_genes = asks(genes.search_genes)
    get_gene = asks(genes.get_gene)
    batch_get_genes = asks(genes.batch_get_genes)
    resolve_genes = asks(genes.resolve_genes)

    predict_subtypes = asks(cells.predict_subtypes)
    stream_predict_subtypes = streams(cells.stream_predict_subtypes)
    search_cells = asks(cells.search_cells)
    stream_search_cells = streams(cells.stream_search_cells)
    explain_cell = asks(cells.explain_cell)
    get_cells = asks(cells.get_cells)
    get_layout = collects(layouts.get_layout)

    contrast_subtypes = exchanges(contrasts.contrast_subtypes)
    enrich_genes = asks(contrasts.enrich_genes)

    list_gene_set_collections = lists(gene_sets.list_gene_set_collections)
    list_gene_sets = lists(gene_sets.list_gene_sets)
    get_gene_set = asks(gene_sets.get_gene_set)

    list_embedding_models = lists(catalog.list_embedding_models)
    get_embedding_model = asks(catalog.get_embedding_model)
    list_embedding_versions = lists(catalog.list_embedding_versions)
    get_embedding_version = asks(catalog.get_embedding_version)
    list_cell_indexes = lists(catalog.list_cell_indexes)
    get_cell_index = asks(catalog.get_cell_index)
    list_aliases = lists(catalog.list_aliases)
    set_alias = asks(catalog.set_alias)
    retract_version = asks(catalog.retract_version)
    reload = asks(catalog.reload)
    back_up_store = asks(catalog.back_up_store)
