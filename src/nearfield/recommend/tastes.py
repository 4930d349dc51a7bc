"""Recommendation from documents that are liked and disliked, and from a wish in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfield import checks
from nearfield.encode.protocol import Vectors
from nearfield.engine.protocol import Engine, Keys, Ranking, View
from nearfield.errors import InvalidInput
from nearfield.hits import Hits
from nearfield.rank.order import best
from nearfield.search import SearchOptions
from nearfield.search.query import GetEncoder, read_queries
from nearfield.search.run import Asked, answer, candidates, encode_asked
from nearfield.stages import stage

STRATEGIES = ("average", "best")

DISLIKE = 0.5
"""How much a dislike counts against a like. Rocchio 1971 leaves it open; below 1 since what people dislike says less
about where to look than what they like."""


@dataclass(frozen=True, slots=True)
class Tastes:
    """What a recommendation starts from; `Collection.recommend` describes the fields.

    Raises:
        InvalidInput: nothing is liked or wished for, a doc_id is liked and disliked, or the strategy is unknown.
    """

    liked: list[str]
    disliked: list[str]
    query: str | None
    strategy: str

    def __post_init__(self) -> None:
        checks.choice(self.strategy, "strategy", STRATEGIES)
        if not self.liked and self.query is None:
            raise InvalidInput("recommend needs at least one liked doc_id or a query, got neither")
        both = sorted(set(self.liked) & set(self.disliked))
        if both:
            raise InvalidInput(f"doc_id {both[0]!r} is both liked and disliked")


def recommend(engine: Engine, get_encoder: GetEncoder, tastes: Tastes, options: SearchOptions) -> Hits:
    """Return the k documents that fit best, without those that the tastes name.

    Raises:
        NotFound: a doc_id is not in the collection.
    """
    while True:
        wish = _encode_wish(tastes.query, get_encoder)
        with engine.view() as view, stage("search"):
            if wish.fits(view):
                return _recommend(view, wish.vectors, tastes, options)
        # The collection has got another encoder's vectors since.


def _recommend(view: View, wish: Vectors | None, tastes: Tastes, options: SearchOptions) -> Hits:
    liked = _vectors(view, tastes.liked)
    disliked = _vectors(view, tastes.disliked)
    if wish is not None:
        liked = np.concatenate((liked, wish)) if len(liked) else wish
    named = [*tastes.liked, *tastes.disliked]
    if tastes.strategy == "average":
        ranking, vectors = _average(view, liked, disliked, named, options)
    else:
        ranking, vectors = _best(view, liked, disliked, named, options)
    return answer(view, ranking, vectors, options)


def _encode_wish(query: str | None, get_encoder: GetEncoder) -> Asked:
    if query is None:
        return Asked(None)
    texts = read_queries(query, "semantic", None).texts
    with stage("encode"):
        return encode_asked(texts, get_encoder())


def _vectors(view: View, doc_ids: Sequence[str]) -> Vectors:
    keys = checks.found(doc_ids, view.find(doc_ids))
    return view.document_vectors(np.unique(keys))


def _average(
    view: View, liked: Vectors, disliked: Vectors, named: Sequence[str], options: SearchOptions
) -> tuple[Ranking, Vectors]:
    profile = liked.mean(axis=0, keepdims=True)
    if len(disliked):
        profile = profile - DISLIKE * disliked.mean(axis=0, keepdims=True)
    profile = checks.unit_vectors(profile, 1, None)
    (ranking,) = view.semantic(profile, candidates(options), options.condition, named)
    return ranking, profile


def _best(
    view: View, liked: Vectors, disliked: Vectors, named: Sequence[str], options: SearchOptions
) -> tuple[Ranking, Vectors]:
    """Score every allowed document by its nearest liked one, less a share of its nearest disliked one.

    Without dislikes, the best documents of each like contain the best of all. With them, a document far down a like's
    ranking can win, so that all are scored.
    """
    k = candidates(options) if not len(disliked) else max(len(view), 1)
    likes = view.semantic(liked, k, options.condition, named)
    keys, scores = _highest(likes)
    if len(disliked):
        worse_keys, worse = _highest(view.semantic(disliked, k, options.condition, named))
        # Both list every allowed document, in the order of their keys; a dislike never speaks for a document.
        scores = scores - DISLIKE * np.maximum(worse[np.searchsorted(worse_keys, keys)], 0.0)
    order = best(keys, scores, candidates(options), view.doc_ids)
    plan = f"{likes[0].plan}, for each of {len(liked) + len(disliked)} tastes"
    return Ranking(keys[order], scores[order], plan), liked


def _highest(rankings: Sequence[Ranking]) -> tuple[Keys, NDArray[np.float64]]:
    """Return each key of several rankings, rising, with its highest score."""
    keys, places = np.unique(np.concatenate([ranking.keys for ranking in rankings]), return_inverse=True)
    scores = np.full(len(keys), -np.inf)
    np.maximum.at(scores, places, np.concatenate([ranking.scores for ranking in rankings]))
    return keys, scores
