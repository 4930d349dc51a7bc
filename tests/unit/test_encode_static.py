"""Static models: values known by construction, bad folders; agreement with the references is in test_encode_golden."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import nearfield as nf
from nearfield.encode import load_encoder
from nearfield.encode.static import StaticEncoder
from nearfield.errors import InvalidInput, MissingDependency

GOLDEN_MODELS = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"
TABLE = np.array([[1, 0, 0], [0, 2, 0], [5, 5, 5], [0, 0, 4]], np.float32)
STORED = {"float32": "F32", "float16": "F16", "float64": "F64", "int8": "I8", "int64": "I64"}


def write_tensors(path: Path, **tensors: np.ndarray) -> None:
    header: dict[str, Any] = {}
    data = b""
    for name, tensor in tensors.items():
        content = tensor.tobytes()
        place = [len(data), len(data) + len(content)]
        header[name.replace("__", ".")] = {
            "dtype": STORED[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": place,
        }
        data += content
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_tokenizer(path: Path, words: dict[str, int] | None = None) -> None:
    vocabulary = words or {"red": 0, "green": 1, "[UNK]": 2, "blue": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model2vec model of four words."""
    folder = tmp_path / "colours"
    write_tensors(folder / "model.safetensors", embeddings=TABLE)
    write_tokenizer(folder / "tokenizer.json")
    configure(folder)
    return folder


def configure(folder: Path, **config: Any) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": False, **config}))


def static_embedding(folder: Path, *kinds: str, place: str = "0_StaticEmbedding") -> Path:
    """A model of sentence-transformers' layout, with the same words."""
    write_tensors(folder / place / "model.safetensors", embedding__weight=TABLE)
    write_tokenizer(folder / place / "tokenizer.json")
    modules = [
        {"idx": at, "path": place if at == 0 else f"{at}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        for at, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


class TestValues:
    def test_the_mean_of_known_tokens(self, folder: Path) -> None:
        found = load_encoder(folder).encode_documents(["red", "red green", "red purple green pink", "purple", ""])
        wanted = [[1, 0, 0], [0.5, 1, 0], [0.5, 1, 0], [0, 0, 0], [0, 0, 0]]
        np.testing.assert_array_equal(found, np.array(wanted, np.float32))
        assert found.dtype == np.float32

    def test_normalised(self, folder: Path) -> None:
        configure(folder, normalize=True)
        found = load_encoder(folder).encode_queries(["red red green", ""])
        np.testing.assert_allclose(found, [[2**-0.5, 2**-0.5, 0], [0, 0, 0]], rtol=1e-6)

    def test_shared_vectors_and_weights(self, folder: Path) -> None:
        mapping, weights = np.array([1, 0, 0, 1]), np.array([10, 2, 7, 1], np.float64)
        write_tensors(
            folder / "model.safetensors", embeddings=TABLE[:2].astype(np.int8), mapping=mapping, weights=weights
        )
        found = load_encoder(folder).encode_documents(["red green blue", "green"])
        np.testing.assert_allclose(found, [[2 / 3, 22 / 3, 0], [2, 0, 0]], rtol=1e-6)

    def test_no_more_tokens_than_the_limit(self, folder: Path) -> None:
        # The limit counts unknown tokens too, as model2vec does.
        text = "red pink green " + "blue " * 600
        for limit, wanted in ((2, [1, 0, 0]), (3, [0.5, 1, 0])):
            configure(folder, max_length=limit)
            encoder = load_encoder(folder)
            assert encoder.max_tokens == limit
            np.testing.assert_array_equal(encoder.encode_documents([text])[0], wanted)
        configure(folder, max_length=None)
        assert load_encoder(folder).max_tokens is None
        np.testing.assert_allclose(load_encoder(folder).encode_documents([text])[0], np.array([1, 2, 2400]) / 602, 1e-6)
        configure(folder)
        assert load_encoder(folder).max_tokens == 512

    def test_more_tokens_than_are_gathered_at_once(self, folder: Path) -> None:
        configure(folder, max_length=None)
        texts = ["red " * 5000 + "blue " * 5000, "green"]
        np.testing.assert_allclose(load_encoder(folder).encode_documents(texts), [[0.5, 0, 2], [0, 2, 0]], rtol=1e-6)

    def test_cut_before_it_is_normalised(self, folder: Path) -> None:
        configure(folder, normalize=True)
        encoder = load_encoder(folder, truncate_dim=2)
        assert encoder.dimension == 2
        np.testing.assert_allclose(encoder.encode_documents(["red blue"]), [[1, 0]], rtol=1e-6)

    def test_static_embedding_counts_unknown_tokens_and_cuts_last(self, tmp_path: Path) -> None:
        plain = load_encoder(static_embedding(tmp_path / "plain", "StaticEmbedding"))
        np.testing.assert_array_equal(plain.encode_documents(["red pink"]), [[3, 2.5, 2.5]])
        assert plain.max_tokens is None
        unit = load_encoder(
            static_embedding(tmp_path / "unit", "StaticEmbedding", "Normalize", place=""), truncate_dim=1
        )
        np.testing.assert_allclose(unit.encode_documents(["red blue"]), [[1 / 17**0.5]], rtol=1e-6)

    def test_order_and_batches_change_nothing(self, folder: Path) -> None:
        random = np.random.default_rng(3)
        words = ["red", "green", "blue", "pink"]
        texts = [" ".join(random.choice(words, random.integers(0, 9))) for _ in range(5000)]
        encoder = load_encoder(folder)
        found = encoder.encode_documents(texts)
        for row in (0, 4095, 4096, 4999):
            np.testing.assert_allclose(found[row], encoder.encode_documents([texts[row]])[0], rtol=1e-6)

    def test_in_a_collection(self, folder: Path, tmp_path: Path) -> None:
        with nf.open(tmp_path / "c.nf", encoder=folder) as collection:
            collection.add([{"doc_id": "r", "text": "red red green"}, {"doc_id": "b", "text": "blue"}])
            hits = collection.search("blue blue", k=2, mode="semantic")
            assert hits[0].doc_id == "b" and hits[0].score == pytest.approx(1)
        with nf.open(tmp_path / "c.nf") as again:
            assert again.search("red", k=1, mode="semantic")[0].doc_id == "r"

    def test_nothing_heavy_is_loaded(self) -> None:
        code = (
            "import sys; from nearfield import load_encoder; "
            f"load_encoder({str(GOLDEN_MODELS / 'static')!r}).encode_queries(['a']); "
            "print(sorted({'openvino', 'torch', 'scipy', 'model2vec'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"


class TestIdentity:
    def test_the_fingerprint_tells_what_the_vectors_mean(self, folder: Path) -> None:
        seen = {load_encoder(folder).fingerprint, load_encoder(folder, truncate_dim=2).fingerprint}
        for config in ({"normalize": True}, {"max_length": 100}):
            configure(folder, **config)
            seen.add(load_encoder(folder).fingerprint)
        configure(folder)
        write_tensors(folder / "model.safetensors", embeddings=TABLE + 1)
        seen.add(load_encoder(folder).fingerprint)
        write_tensors(folder / "model.safetensors", embeddings=TABLE)
        write_tokenizer(folder / "tokenizer.json", {"red": 1, "green": 0, "[UNK]": 2, "blue": 3})
        seen.add(load_encoder(folder).fingerprint)
        assert len(seen) == 6

    def test_what_a_collection_records(self, folder: Path) -> None:
        identity = load_encoder(static_embedding(folder, "StaticEmbedding"), truncate_dim=2).identity  # type: ignore[attr-defined]
        weights = (folder / "model.safetensors").read_bytes()
        assert identity["files"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()
        assert (identity["kind"], identity["truncate_dim"], identity["precision"]) == ("model2vec", 2, "float32")
        assert identity["runtime"].startswith("nearfield ") and "NumPy" in identity["runtime"]

    def test_what_config_json_adds_besides_is_no_part_of_it(self, folder: Path) -> None:
        first = load_encoder(folder).fingerprint
        configure(folder, seq_length=1000000, tokenizer_name="someone/a-model")
        assert load_encoder(folder).fingerprint == first


class TestBadFolders:
    @pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
    def test_a_missing_file(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(InvalidInput, match=f"colours has no {name}"):
            load_encoder(folder)

    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"vectors": TABLE}, r"'embeddings' must have shape.*not there; there are \['vectors'\]"),
            ({"embeddings": TABLE[0]}, r"'embeddings' must have shape.*has shape \(3,\)"),
            ({"embeddings": TABLE[:, :0]}, r"'embeddings' must have shape.*has shape \(4, 0\)"),
            ({"embeddings": TABLE[:3]}, r"'embeddings' has shape \(3, 3\), and tokenizer\.json 4 tokens"),
            ({"embeddings": TABLE, "weights": TABLE[0]}, r"'weights' has shape \(3,\), and tokenizer\.json 4 tokens"),
            ({"embeddings": TABLE, "weights": TABLE}, r"'weights' has shape \(4, 3\)"),
            (
                {"embeddings": TABLE, "mapping": np.arange(3)},
                r"'mapping' has shape \(3,\), and tokenizer\.json 4 tokens",
            ),
            ({"embeddings": TABLE, "mapping": np.array([0, 1, 2, 4])}, "'mapping' must hold rows of the 4 vectors"),
            ({"embeddings": TABLE, "mapping": np.array([0, 1, 2, -1])}, "'mapping' must hold rows of the 4 vectors"),
            ({"embeddings": TABLE, "mapping": np.zeros(4, np.float32)}, "'mapping' must hold rows of the 4 vectors"),
            ({"embeddings": TABLE, "weights": np.array(1.0)}, r"'weights' has shape \(\)"),
        ],
    )
    def test_tensors_that_do_not_fit(self, folder: Path, tensors: dict[str, np.ndarray], message: str) -> None:
        write_tensors(folder / "model.safetensors", **tensors)
        with pytest.raises(InvalidInput, match=rf"colours/model\.safetensors: tensor {message}"):
            load_encoder(folder)

    def test_a_truncated_file(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InvalidInput, match=r"model\.safetensors is truncated or damaged"):
            load_encoder(folder)

    def test_ids_beyond_the_table(self, folder: Path) -> None:
        write_tokenizer(folder / "tokenizer.json", {"red": 0, "green": 1, "[UNK]": 2, "blue": 9})
        with pytest.raises(InvalidInput, match=r"tokenizer\.json 10 tokens"):
            load_encoder(folder)
        # A gap that only the ids of a text show.
        write_tokenizer(folder / "tokenizer.json", {"red": 0, "[UNK]": 2, "green": 3, "blue": 90})
        with pytest.raises(InvalidInput, match=r"tokenizer\.json has an id 90 among 4 tokens"):
            load_encoder(folder).encode_documents(["red blue"])

    @pytest.mark.parametrize("length", [0, "512", 1.5, True])
    def test_a_limit_that_is_none(self, folder: Path, length: object) -> None:
        configure(folder, max_length=length)
        with pytest.raises(InvalidInput, match=r"config\.json must have max_length as an int of at least 1"):
            load_encoder(folder)

    @pytest.mark.parametrize("length", [0, 4, True, 1.5])
    def test_a_dimension_that_is_none(self, folder: Path, length: Any) -> None:
        with pytest.raises(InvalidInput, match=r"truncate_dim must be an int in the range \[1, 3\]"):
            load_encoder(folder, truncate_dim=length)

    def test_another_precision(self, folder: Path) -> None:
        assert load_encoder(folder, precision="float32").dimension == 3
        with pytest.raises(InvalidInput, match="a static model, which has only precision 'float32'; got 'bfloat16'"):
            load_encoder(folder, precision="bfloat16")

    def test_modules_that_need_sentence_transformers(self, tmp_path: Path) -> None:
        with pytest.raises(MissingDependency, match="'StaticEmbedding', 'Dense'"):
            load_encoder(static_embedding(tmp_path / "dense", "StaticEmbedding", "Dense"))

    def test_a_folder_of_another_kind(self) -> None:
        with pytest.raises(InvalidInput, match="holds no static model"):
            StaticEncoder(GOLDEN_MODELS / "max")
