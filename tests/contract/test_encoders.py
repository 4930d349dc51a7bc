"""Every encoder passes `check_encoder`, and what breaks the contract does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearfield.encode import Vectors, load_encoder
from nearfield.encode.sentence_transformers import SentenceTransformersEncoder
from nearfield.encode.texts import check_texts
from nearfield.errors import InvalidInput
from nearfield.testing import check_encoder

MODELS = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"


@pytest.mark.parametrize("model", sorted(folder.name for folder in MODELS.iterdir()))
def test_small_models(model: str) -> None:
    check_encoder(load_encoder(MODELS / model, precision="float32"))


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_the_default_encoder(precision: str) -> None:
    check_encoder(load_encoder(precision=precision))


def test_sentence_transformers() -> None:
    pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
    adapter = SentenceTransformersEncoder(MODELS / "max", device="cpu")
    check_encoder(adapter)
    built_in = load_encoder(MODELS / "max", precision="float32")
    texts = ["how to build clusters", "the river", ""]
    np.testing.assert_allclose(adapter.encode_queries(texts), built_in.encode_queries(texts), atol=2e-5)
    assert (adapter.max_tokens, adapter.dimension) == (built_in.max_tokens, built_in.dimension)
    assert adapter.count_tokens(texts) == built_in.count_tokens(texts)


def test_sentence_transformers_cuts_and_runs_static_models() -> None:
    pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
    adapter = load_encoder(MODELS / "static-embedding", runtime="sentence-transformers", device="cpu", truncate_dim=5)
    check_encoder(adapter)
    static = load_encoder(MODELS / "static-embedding", truncate_dim=5)
    np.testing.assert_allclose(adapter.encode_queries(["how"]), static.encode_queries(["how"]), atol=2e-5)
    assert (adapter.max_tokens, adapter.dimension) == (None, 5)
    whole = load_encoder(MODELS / "static-embedding", runtime="sentence-transformers", device="cpu")
    assert whole.fingerprint != adapter.fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "abacus"}, "with device 'abacus'"),
        ({"truncate_dim": 17}, "truncate_dim must be at most 16"),
        ({"truncate_dim": 0}, "truncate_dim must be an int of at least 1"),
    ],
)
def test_what_sentence_transformers_cannot_do(options: dict[str, Any], message: str) -> None:
    pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
    with pytest.raises(InvalidInput, match=message):
        load_encoder(MODELS / "max", runtime="sentence-transformers", **{"device": "cpu", **options})


class Letters:
    """An encoder that counts letters; subclasses break one promise each."""

    name, dimension, fingerprint = "letters", 26, "letters 1"
    max_tokens: int | None = 40

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in check_texts(texts)]

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        letters = [[text.lower().count(chr(97 + place)) for place in range(26)] for text in check_texts(texts)]
        return np.array(letters, np.float32).reshape(len(letters), 26)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode_documents(texts)


class NoFingerprint(Letters):
    fingerprint = ""


class Double(Letters):
    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return super().encode_queries(texts).astype(np.float64)  # type: ignore[return-value]


class OtherDimension(Letters):
    dimension = 27


class DropsEmpty(Letters):
    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return super().encode_documents([text for text in check_texts(texts) if text])


class BySortedLength(Letters):
    """Forgets to put the vectors back into the caller's order."""

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return super().encode_documents(sorted(check_texts(texts), key=len))


class SeesItsNeighbours(Letters):
    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        vectors = super().encode_documents(texts)
        return vectors + vectors.sum(axis=0)


class AllTheSame(Letters):
    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return np.ones((len(check_texts(texts)), 26), np.float32)


class NotANumber(Letters):
    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        vectors = super().encode_documents(texts)
        with np.errstate(invalid="ignore"):
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class TakesAnything(Letters):
    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return super().encode_documents([str(text) for text in texts])


class CountsWhatFits(Letters):
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [min(count, 40) for count in super().count_tokens(texts)]


class CountsSpecialTokens(Letters):
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [count + 2 for count in super().count_tokens(texts)]


def test_a_right_encoder() -> None:
    check_encoder(Letters())


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (NoFingerprint, "fingerprint must be a str"),
        (Double, "must return float32"),
        (OtherDimension, "must have shape"),
        (DropsEmpty, "must have shape"),
        (BySortedLength, "a batch and its texts alone differ"),
        (SeesItsNeighbours, "a batch and its texts alone differ"),
        (AllTheSame, "different texts the same vector"),
        (NotANumber, "NaN or an infinity"),
        (TakesAnything, "must raise InvalidInput"),
        (CountsWhatFits, "must not truncate"),
        (CountsSpecialTokens, "special tokens are not counted"),
    ],
)
def test_a_broken_promise_is_found(broken: type[Letters], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_encoder(broken())
