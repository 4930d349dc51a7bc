"""The built-in runtime against vectors that sentence-transformers made (scripts/make_golden_vectors.py)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nearfield.encode import load_encoder
from nearfield.encode.bert import BertEncoder
from nearfield.encode.runtime import has_bfloat16
from nearfield.encode.static import StaticEncoder
from nearfield.errors import InvalidInput

FORMATS = Path(__file__).parents[1] / "formats"
GOLDEN = FORMATS / "golden_vectors"
LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.9995}
SMALL_MODELS = (
    *("cls", "max", "lasttoken", "mean", "weightedmean", "mean-sqrt", "all-poolings"),
    *("roberta", "xlm-roberta", "mpnet", "distilbert"),
)
STATIC_MODELS = ("static", "static-quantised", "static-embedding", "static-embedding-plain")


def golden_texts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_texts", FORMATS / "golden_texts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TEXTS: dict[str, str] = golden_texts().TEXTS


def golden(model: str, kind: str = "documents") -> np.ndarray:
    with np.load(GOLDEN / f"{model}.npz") as vectors:
        return vectors[kind]


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def assert_agree(found: np.ndarray, wanted: np.ndarray, least: float) -> None:
    agreement = cosines(found, wanted)
    worst = int(agreement.argmin())
    assert agreement[worst] >= least, f"{list(TEXTS)[worst % len(TEXTS)]}: cosine {agreement[worst]:.6f}"


def encoder_of(precision: str) -> BertEncoder:
    """The default encoder; a processor without bfloat16 must refuse it, and not run something else."""
    encoder = load_encoder(precision=precision)
    assert isinstance(encoder, BertEncoder)
    try:
        assert encoder.precision == precision
    except InvalidInput:
        assert precision == "bfloat16" and not has_bfloat16()
        pytest.skip("this processor doesn't compute in bfloat16; that it is refused was tested")
    return encoder


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def encoder(request: pytest.FixtureRequest) -> BertEncoder:
    return encoder_of(request.param)


def test_texts_alone_agree(encoder: BertEncoder) -> None:
    alone = np.concatenate([encoder.encode_documents([text]) for text in TEXTS.values()])
    assert_agree(alone, golden("all-MiniLM-L6-v2"), LEAST_COSINE[encoder.precision])


def test_texts_in_a_mixed_batch_agree_as_documents_and_as_queries(encoder: BertEncoder) -> None:
    texts = list(TEXTS.values())
    for encode in (encoder.encode_documents, encoder.encode_queries):
        assert_agree(encode(texts), golden("all-MiniLM-L6-v2"), LEAST_COSINE[encoder.precision])


def test_a_large_batch_agrees_in_the_order_of_the_texts(encoder: BertEncoder) -> None:
    # More tokens than the graph for few texts takes, in an order that mixes lengths, with repetitions.
    order = np.random.default_rng(7).permutation(np.repeat(np.arange(len(TEXTS)), 3))
    texts = [list(TEXTS.values())[place] + " " * row for row, place in enumerate(order)]
    assert_agree(encoder.encode_documents(texts), golden("all-MiniLM-L6-v2")[order], LEAST_COSINE[encoder.precision])


def test_vectors_have_unit_length(encoder: BertEncoder) -> None:
    lengths = np.linalg.norm(encoder.encode_documents(list(TEXTS.values())), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)  # the last step is in float32 in both precisions


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_other_families_poolings_activations_and_prompts_agree(model: str) -> None:
    encoder = load_encoder(GOLDEN / "models" / model, precision="float32")
    texts = list(TEXTS.values())
    for kind, encode in (("documents", encoder.encode_documents), ("queries", encoder.encode_queries)):
        wanted = golden(model, kind)
        np.testing.assert_allclose(encode(texts), wanted, atol=2e-5)
        np.testing.assert_allclose(np.concatenate([encode([text]) for text in texts]), wanted, atol=2e-5)


@pytest.mark.parametrize("model", STATIC_MODELS)
def test_static_models_agree(model: str) -> None:
    encoder = load_encoder(GOLDEN / "models" / model)
    assert isinstance(encoder, StaticEncoder)
    texts = list(TEXTS.values())
    for kind, encode in (("documents", encoder.encode_documents), ("queries", encoder.encode_queries)):
        wanted = golden(model, kind)
        np.testing.assert_allclose(encode(texts), wanted, atol=2e-5)
        np.testing.assert_allclose(np.concatenate([encode([text]) for text in texts]), wanted, atol=2e-5)


def test_the_small_models_tell_texts_and_prompts_apart() -> None:
    # Otherwise agreement would prove nothing.
    for model in SMALL_MODELS + STATIC_MODELS:
        vectors = golden(model)
        assert cosines(vectors[:1], vectors[2:3])[0] < 0.99
    for model in ("max", "xlm-roberta", "weightedmean", "static-embedding"):
        assert cosines(golden(model)[:1], golden(model, "queries")[:1])[0] < 0.99


def test_versions_of_the_reference_are_recorded() -> None:
    versions = json.loads((GOLDEN / "versions.json").read_text())
    assert {"sentence-transformers", "transformers", "tokenizers", "torch"} <= set(versions)


@pytest.mark.parametrize(
    ("query", "document", "score"),
    [
        ("How to build a recommender?", "Building recommendation systems with embeddings.", 0.6456),
        ("How to build a recommender?", "Collaborative filtering for movie recommendations.", 0.5925),
        ("I want to learn about clustering", "Introduction to clustering and k-means.", 0.5820),
    ],
)
def test_the_guides_scores(
    encode_default: Callable[[str], np.ndarray], query: str, document: str, score: float
) -> None:
    assert float(encode_default(query) @ encode_default(document)) == pytest.approx(score, abs=0.01)


@pytest.fixture(scope="module")
def encode_default() -> Callable[[str], np.ndarray]:
    encoder = load_encoder()
    return lambda text: encoder.encode_queries([text])[0]
