"""What every embedding model keeps to; a model's tests inherit these and give ``model``."""

import json
import random

import numpy as np
import pytest

from cellkin.indexer.models.contract import EmbeddingModel, TokenCounts
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import check_name

TEXTS = [
    "insulin. This gene encodes a peptide hormone that regulates carbohydrate metabolism.",
    "rhodopsin. The protein is found in rod cells.",
    "RNA binding protein, mRNA processing factor",
    "caspase 3. This gene encodes a protease; cleavage of the precursor yields two subunits. "
    "It plays a role in apoptosis and is found in the retina, in rod cells and in cone cells.",
    "il2",
    "IL2",
    "opsin 1 (cone pigments), short-wave-sensitive. Mutations cause tritanopia.",
]


class EmbeddingModelTests:
    """Conformance of a model to `cellkin.indexer.models.contract.EmbeddingModel`."""

    @pytest.fixture
    def model(self) -> EmbeddingModel:
        raise NotImplementedError

    def test_it_is_named_as_versions_are(self, model: EmbeddingModel) -> None:
        assert check_name(model.info.name, "model") == model.info.name
        assert model.info.revision

    def test_its_settings_can_be_written_down(self, model: EmbeddingModel) -> None:
        settings = dict(model.info.settings)
        assert json.loads(json.dumps(settings)) == settings
        assert settings["long_texts"] in {"windows", "cut"}

    def test_vectors_are_float32_rows_of_unit_length(self, model: EmbeddingModel) -> None:
        vectors = model.embed(TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), model.info.dim)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def test_different_texts_have_different_vectors(self, model: EmbeddingModel) -> None:
        vectors = model.embed(TEXTS[:4])
        assert len(np.unique(vectors, axis=0)) == 4

    def test_neighbors_and_order_do_not_change_a_bit(self, model: EmbeddingModel) -> None:
        whole = model.embed(TEXTS)
        rng = random.Random(0)
        for size in (1, 2, 3, 5, len(TEXTS)):
            rows = rng.sample(range(len(TEXTS)), size)
            part = model.embed([TEXTS[row] for row in rows])
            assert part.tobytes() == whole[rows].tobytes()

    def test_a_text_given_twice_has_one_vector(self, model: EmbeddingModel) -> None:
        vectors = model.embed([TEXTS[0], TEXTS[1], TEXTS[0]])
        assert vectors[0].tobytes() == vectors[2].tobytes()

    def test_no_texts_have_no_vectors(self, model: EmbeddingModel) -> None:
        vectors = model.embed([])
        assert vectors.shape == (0, model.info.dim)
        assert vectors.dtype == np.float32
        assert model.count([]) == TokenCounts(0, 0, 0, model.count([]).exact)

    def test_blank_texts_are_refused(self, model: EmbeddingModel) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            model.embed(["a", "", " \n"])
        assert caught.value.message == (
            "text 1 of 3 is blank (2 in all): embed only genes that have a text"
        )

    def test_tokens_add_up(self, model: EmbeddingModel) -> None:
        counts = [model.count([text]) for text in TEXTS]
        whole = model.count(TEXTS)
        assert whole.n_texts == len(TEXTS)
        assert whole.n_tokens == sum(count.n_tokens for count in counts)
        assert whole.n_tokens >= len(TEXTS)
        assert whole.n_long == 0
