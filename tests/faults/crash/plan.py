"""Random operations, the same for the same seed."""

from __future__ import annotations

import random
import re
from typing import Any

from crash.encoder import WordEncoder
from crash.model import CONDITIONS, Model, Operation, after

WORDS = re.findall(
    r"\w+",
    """
    river stone cloud winter garden music theory engine letter market signal forest copper island memory shadow
    violin harbor planet ribbon candle desert orange bridge silver mirror pocket thunder velvet window
    """,
)
COLORS = ("red", "green", "blue")
MANY = 120
"""Documents above which operations rather delete."""


def plan(seed: object, model: Model, count: int) -> list[Operation]:
    """Return operations that can be done one after the other on a collection with these contents."""
    chance = random.Random(repr(seed))
    operations: list[Operation] = []
    for i in range(count):
        operation = _operation(chance, model, f"{chance.randrange(16**6):06x}-{i}")
        operations.append(operation)
        model = [model, *after(model, operation)][-1]
    return operations


def _operation(chance: random.Random, model: Model, label: str) -> Operation:
    names = list(model.entries)
    choices = ["add"] * 4 + ["add vectors"] * 2 + ["search"] * 2 + ["reopen", "compact", "snapshot", "ingest"]
    if names:
        choices += ["upsert"] * 3 + ["delete"] * 2
    if len(names) > MANY:
        choices = ["delete where", "delete where", "delete", "upsert", "search", "compact", "snapshot"]
    do = chance.choice(choices)
    size = chance.choice((1, 1, 2, 5, 12, 40))
    match do:
        case "add":
            return {"do": "add", "documents": [_document(chance, _name(chance, label, i)) for i in range(size)]}
        case "add vectors":
            documents = [_document(chance, _name(chance, label, i)) for i in range(size)]
            vectors = [[chance.gauss(0, 1) for _ in range(WordEncoder.dimension)] for _ in documents]
            return {"do": "add", "documents": documents, "vectors": vectors}
        case "ingest":
            documents = [_document(chance, _name(chance, label, i)) for i in range(chance.randint(5, 40))]
            source = chance.choice((None, label))
            return {"do": do, "documents": documents, "batch_size": chance.choice((4, 16)), "source": source}
        case "upsert":
            old = chance.sample(names, min(size, len(names)))
            named = [*old, *(f"{label}-{i}" for i in range(size - len(old) + 1))]
            return {"do": "upsert", "documents": [_document(chance, name) for name in named]}
        case "delete":
            return {"do": "delete", "doc_ids": chance.sample(names, min(size, len(names)))}
        case "delete where":
            return {"do": "delete where", "where": chance.choice([name for name in CONDITIONS if name != "all"])}
        case "search":
            return {"do": "search", "query": " ".join(chance.sample(WORDS, 2))}
        case _:
            return {"do": do}


def some_documents(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Return documents, some of them without a doc_id."""
    return [_document(chance, _name(chance, "some", i)) for i in range(count)]


def _name(chance: random.Random, label: str, i: int) -> str | None:
    return f"{label}-{i}" if chance.random() < 0.7 else None


def _document(chance: random.Random, doc_id: str | None) -> dict[str, Any]:
    # Short words come often, others seldom; every fifth text has several passages.
    length = chance.choice((3, 6, 8, 12, 60))
    words = [WORDS[min(chance.randrange(len(WORDS)), chance.randrange(len(WORDS)))] for _ in range(length)]
    sentences = [" ".join(words[i : i + 7]).capitalize() + "." for i in range(0, length, 7)]
    named = {} if doc_id is None else {"doc_id": doc_id}
    title = chance.choice(("", "", " ".join(chance.sample(WORDS, 2))))
    metadata = {"color": chance.choice(COLORS), "year": chance.randint(2000, 2026)}
    return {"text": " ".join(sentences), "title": title, "metadata": metadata, **named}
