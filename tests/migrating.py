"""What tests of migrations share: encoders without a model, and what a collection must be before and after."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

import nearfield as nf
from nearfield.encode import passage_input, split_many
from nearfield.encode.probing import DOCUMENTS, QUERIES

PROBED = {*DOCUMENTS, *QUERIES}
QUESTIONS = ["rivers of asia", "old bread and cats", "trains"]
TOPICS = ["cats and dogs", "trains and ships", "rivers of Asia", "naïve Übung 聚类 😀", "old bread recipes"]


class Words:
    """Counts of hashed words; another `salt` is another encoder, under which other texts are near to each other.

    Attributes:
        texts: Documents' texts that were encoded, those of the probe apart.
        before: Called before documents' texts are encoded.
    """

    def __init__(self, salt: int, dimension: int = 16, max_tokens: int | None = 12) -> None:
        self.name = f"words {salt}"
        self.fingerprint = f"words-{salt}-{dimension}"
        self.salt = salt
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.texts: list[str] = []
        self.before: Callable[[Sequence[str]], object] = lambda _: None
        self.before_queries: Callable[[Sequence[str]], object] = lambda _: None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(re.findall(r"\w+", text)) for text in texts]

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        own = [text for text in texts if text not in PROBED]
        if own:
            self.before(own)
        self.texts += own
        return self.vectors(texts)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        if not PROBED.issuperset(texts):
            self.before_queries(texts)
        return self.vectors(texts)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                place = zlib.crc32(f"{self.salt} {word}".encode())
                vector[place % self.dimension] += 1 if place & 0x10000 else -1
        return vectors


def text(number: int, version: int = 0) -> str:
    """Return a text of one to four passages, whose first word no other text has."""
    sentences = [f"t{number}v{version} part {i} tells of {TOPICS[(number + i) % 5]}." for i in range(1 + number % 4)]
    return " ".join(sentences)


def document(number: int, version: int = 0) -> nf.Document:
    metadata = {"year": 2000 + number % 7, "topic": TOPICS[number % 5]}
    return nf.Document(text(number, version), f"d{number}", f"Title {number}" if number % 3 else "", metadata)


def model(numbers: Sequence[int], version: int = 0) -> dict[str, nf.Document]:
    """Return documents by their doc_ids: what a collection should hold."""
    return {f"d{number}": document(number, version) for number in numbers}


def unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def passages(documents: Sequence[nf.Document], encoder: Words) -> list[tuple[list[tuple[int, int]], np.ndarray]]:
    """Return the spans and vectors that documents must have."""
    titles = [one.title for one in documents]
    spans = split_many([one.text for one in documents], encoder, titles=titles)
    return [
        (parts, unit(encoder.vectors([passage_input(one.title, one.text[start:end]) for start, end in parts])))
        for one, parts in zip(documents, spans, strict=True)
    ]


def assert_is(col: nf.Collection, documents: Mapping[str, nf.Document], encoder: Words) -> None:
    """Compare a collection with a model: documents, passages, vectors, searches, and the files' health."""
    assert (col.stats().encoder, col.stats().documents) == (encoder.name, len(documents))
    assert {one.doc_id: one for one in col} == dict(documents)
    order = [one.doc_id for one in col]
    with col._engine.view() as view:
        keys = view.keys()
        stored, vectors = view.read(keys), view.passage_vectors(keys)
    for one, rows, (spans, expected) in zip(
        stored, vectors, passages([documents[doc_id] for doc_id in order], encoder), strict=True
    ):
        assert (one.encoded, one.spans) == (True, spans)
        np.testing.assert_allclose(rows, expected, atol=1e-6)
    recent = {doc_id: one for doc_id, one in documents.items() if one.metadata["year"] >= 2004}
    for question in QUESTIONS:
        for where, among in ((None, documents), ({"year": {"$gte": 2004}}, recent)):
            hits = col.search(question, 5, mode="semantic", where=where)
            assert {hit.doc_id for hit in hits} <= set(among)
            wanted = unit(encoder.vectors([question]))[0]
            made = dict(zip(among, passages(list(among.values()), encoder), strict=True))
            best = sorted((float((rows @ wanted).max()) for _, rows in made.values()), reverse=True)[:5]
            np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
            own = [float((made[hit.doc_id][1] @ wanted).max()) for hit in hits]
            np.testing.assert_allclose([hit.score for hit in hits], own, atol=1e-5)
    words = col.search("bread", 1000, mode="lexical")
    assert {hit.doc_id for hit in words} == {name for name, one in documents.items() if "bread" in one.text}
    health = col.check()
    assert health.problems == []
