"""From keys and scores to hits: documents, the passages that matched, explanations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.engine.protocol import Keys, Ranking, Stored, View
from nearfield.hits import Explanation, Hit, Hits, Late, Leg, Passage
from nearfield.search.options import SearchOptions


@dataclass(slots=True)  # not frozen, as every search makes one, and its fields would take twice as long
class Found:
    """The answer to one query, in its final order, before documents are read.

    Args:
        keys: int64 `(n,)`.
        scores: float64 `(n,)`.
        legs: Each leg's ranking by name.
        contributions: float64 `(legs, n)`, what each leg gave to the score; None for a single leg, which gave it all.
        text: The query's words; "" for a vector.
        vectors: float32 `(m, d)`, what the passages are compared with: the query's vector, or those of several tastes;
            None in lexical search.
    """

    keys: Keys
    scores: NDArray[np.float64]
    legs: dict[str, Ranking]
    contributions: NDArray[np.float64] | None
    text: str
    vectors: Vectors | None

    def take(self, positions: NDArray[np.intp]) -> Found:
        """Return the hits at some positions."""
        contributions = None if self.contributions is None else self.contributions[:, positions]
        return replace(self, keys=self.keys[positions], scores=self.scores[positions], contributions=contributions)


def present(view: View, found: Found, options: SearchOptions) -> Hits:
    """Return the hits, with each document's best passage."""
    documents = view.read(found.keys)
    late = _late_of(view, documents, found, options)
    scores = found.scores.tolist()
    rows = zip(documents, scores, late, strict=True)
    return Hits(Hit(document.doc_id, score, *fields) for document, score, fields in rows)


def read_late(view: View, found: Found, options: SearchOptions) -> list[Late]:
    """Return what the hits have beside their doc_ids and scores."""
    return _late_of(view, view.read(found.keys), found, options)


def _late_of(view: View, documents: list[Stored], found: Found, options: SearchOptions) -> list[Late]:
    places = _best_passages(view, documents, found)
    explanations = _explain(found, options) if options.explain else [None] * len(documents)
    return [
        (document.text, document.title, document.metadata, _passage(document, place), explanation)
        for document, place, explanation in zip(documents, places, explanations, strict=True)
    ]


def _passage(document: Stored, place: int) -> Passage:
    start, end = document.spans[place]
    return Passage(document.text[start:end], start, end)


def _best_passages(view: View, documents: list[Stored], found: Found) -> list[int]:
    """Return the place of each document's best passage: the nearest, or that with most of the query's words."""
    places = [0] * len(documents)
    several = [i for i, document in enumerate(documents) if len(document.spans) > 1]
    if not several:
        return places
    if found.vectors is not None:
        for i, passages in zip(several, view.passage_vectors(found.keys[several]), strict=True):
            places[i] = int((passages @ found.vectors.T).max(axis=1).argmax())
        return places
    for i in several:
        document = documents[i]
        overlap = view.term_overlap(found.text, [document.text[start:end] for start, end in document.spans])
        places[i] = int(np.argmax(overlap))
    return places


def _explain(found: Found, options: SearchOptions) -> list[Explanation]:
    ranks = {name: {int(key): i for i, key in enumerate(leg.keys)} for name, leg in found.legs.items()}
    plan = {name: leg.plan for name, leg in found.legs.items()}
    explanations = []
    for i, key in enumerate(found.keys.tolist()):
        legs = {}
        for row, (name, ranking) in enumerate(found.legs.items()):
            place = ranks[name].get(key)
            contribution = found.scores[i] if found.contributions is None else found.contributions[row, i]
            score = None if place is None else float(ranking.scores[place])
            legs[name] = Leg(score, None if place is None else place + 1, float(contribution))
        explanations.append(Explanation(options.mode, _fusion(found, options), legs, plan))
    return explanations


def _fusion(found: Found, options: SearchOptions) -> str:
    if found.contributions is None:
        return "none"
    semantic = float(options.semantic_weight or 0.0)
    weights = f"semantic {semantic:g}, lexical {1 - semantic:g}"
    if options.fusion == "reciprocal":
        return f"reciprocal ranks, 2 · weight / (60 + rank): {weights}"
    return f"weighted sum of scores standardised over the best of each leg: {weights}"
