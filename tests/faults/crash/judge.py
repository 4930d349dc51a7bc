"""Judges what a crash has left of a collection."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import nearfield as nf
from crash.encoder import WordEncoder
from crash.model import CONDITIONS, Condition, Entry, Model
from crash.plan import WORDS
from nearfield import ingest
from nearfield.lexical.analysis import query_terms, terms

NEW = {"doc_id": "written after the crash", "text": "Xylophone", "metadata": {"color": "red", "year": 2001}}


def judge(folder: Path, allowed: Sequence[Model], seed: int = 0) -> Model:
    """Return which of the allowed contents a collection has; everything that can be asked of it is right.

    It is written to, and is as before afterwards. An empty collection need not be there, but then it can be made.
    """
    if allowed[0].entries or (folder / "manifest.json").exists():
        assert_whole(folder)
    with nf.open(folder, encoder=WordEncoder(), create=not allowed[0].entries) as col:
        model = identify(col, allowed)
        ask(col, model, seed)
        col.add(NEW)
        assert col.search("xylophone", k=1, mode="semantic").doc_ids == [NEW["doc_id"]]
        assert col.search("xylophone", k=1, mode="lexical").doc_ids == [NEW["doc_id"]]
        col.delete(NEW["doc_id"])
        identify(col, [model])
    assert_whole(folder)
    return model


def assert_whole(folder: Path) -> None:
    """Assert that a check finds nothing."""
    problems = nf.check(folder).problems
    assert not problems, "\n".join(map(str, problems))


def judge_snapshot(folder: Path, allowed: Sequence[Model | None], workplace: Path) -> Model | None:
    """Return which of the allowed contents a snapshot has; None: there is none. The snapshot stays untouched.

    Args:
        folder: The snapshot's.
        allowed: What it may hold.
        workplace: A folder that does not exist.
    """
    if not (folder / "manifest.json").exists():
        assert None in allowed, f"{folder} is gone, or not a collection yet"
        return None
    assert_whole(folder)
    nf.restore(folder, workplace)
    try:
        return judge(workplace, [model for model in allowed if model is not None])
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def contents(col: nf.Collection) -> dict[str, Entry]:
    """Return what a collection holds, in the order of addition."""
    with col._engine.view() as view:
        keys = view.keys()
        stored, vectors = view.read(keys), view.passage_vectors(keys)
    return {
        document.doc_id: Entry(ingest.document(document), document.spans, rows)
        for document, rows in zip(stored, vectors, strict=True)
    }


def identify(col: nf.Collection, allowed: Sequence[Model]) -> Model:
    """Return the one of the allowed contents that a collection has."""
    found = contents(col)
    assert len(col) == len(found)
    for model in allowed:
        if model.same(found):
            return model
    raise AssertionError("\n".join(["no allowed contents", *(_difference(found, model) for model in allowed)]))


def _difference(found: dict[str, Entry], model: Model) -> str:
    lost = [name for name in model.entries if name not in found]
    strange = [name for name in found if name not in model.entries]
    changed = [name for name, entry in model.entries.items() if name in found and not entry.same(found[name])]
    return f"of {len(model.entries)} documents: lost {lost}, not expected {strange}, changed {changed}"


def ask(col: nf.Collection, model: Model, seed: int = 0) -> None:
    """Compare every mode of search with brute force."""
    ask_vectors(col, model, seed)
    ask_words(col, model, seed)


def ask_vectors(col: nf.Collection, model: Model, seed: int = 0) -> None:
    """Compare semantic search with brute force."""
    rng = np.random.default_rng(seed)
    for condition in _conditions(seed):
        for k in (3, len(model.entries) + 5):
            _check_semantic(col, model, rng.standard_normal(WordEncoder.dimension).astype(np.float32), k, condition)


def ask_words(col: nf.Collection, model: Model, seed: int = 0) -> None:
    """Compare lexical search with brute force, and see that hybrid search gives as many hits as it should."""
    words = np.random.default_rng(seed).choice(WORDS, 2, replace=False)
    for condition in _conditions(seed):
        _check_lexical(col, model, " ".join(words), condition)
        hits = col.search(str(words[0]), k=5, where=condition.where)
        allowed = model.matching(condition)
        assert len(hits) == min(5, len(allowed))
        assert set(hits.doc_ids) <= set(allowed)


def _conditions(seed: int) -> tuple[Condition, Condition]:
    return CONDITIONS["all"], CONDITIONS[sorted(CONDITIONS)[seed % len(CONDITIONS)]]


def _check_semantic(col: nf.Collection, model: Model, query: np.ndarray, k: int, condition: Condition) -> None:
    hits = col.search(query, k=k, mode="semantic", where=condition.where)
    unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    truth = {name: float((model.entries[name].vectors @ unit).max()) for name in model.matching(condition)}
    best = sorted(truth.values(), reverse=True)[:k]
    scores = [hit.score for hit in hits]
    np.testing.assert_allclose(scores, best, rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores, [truth[name] for name in hits.doc_ids], rtol=0, atol=1e-6)
    assert hits.doc_ids == [name for _, name in sorted((-hit.score, hit.doc_id) for hit in hits)]
    assert len(set(hits.doc_ids)) == len(hits)


def _check_lexical(col: nf.Collection, model: Model, query: str, condition: Condition) -> None:
    hits = col.search(query, k=len(model.entries) + 1, mode="lexical", where=condition.where)
    wanted = set(query_terms(query))
    documents = ((name, model.entries[name].document) for name in model.matching(condition))
    sharing = [name for name, doc in documents if wanted.intersection(terms(f"{doc.title}\n{doc.text}"))]
    assert sorted(hits.doc_ids) == sorted(sharing)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
