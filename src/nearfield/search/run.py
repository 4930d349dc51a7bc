"""From queries to hits: the legs, their fusion, diversity."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from nearfield.encode.protocol import Encoder, Vectors
from nearfield.encode.remote.names import is_remote
from nearfield.encode.whole import encode_queries
from nearfield.engine.protocol import Ranking, Readable, View
from nearfield.hits import Hits
from nearfield.rank import fusion
from nearfield.rank.diversity import diversify
from nearfield.rank.order import best
from nearfield.search.options import SearchOptions
from nearfield.search.present import Found, present
from nearfield.search.query import GetEncoder, Queries, read_queries
from nearfield.search.unread import UnreadAnswers
from nearfield.stages import stage

POOL = 1000
"""Documents of each leg that hybrid search fuses; scores are standardised over them."""

CANDIDATES_PER_HIT = 10
"""Candidates for each hit from which `diversity` chooses."""

LEAST_CANDIDATES = 100


def search_batch(
    engine: Readable,
    get_encoder: GetEncoder,
    query: object,
    options: SearchOptions,
    *,
    cold: bool = False,
    unread: UnreadAnswers | None = None,
) -> Hits | list[Hits]:
    """Return the hits of one query, or of each query of a list; `Collection.search` describes it.

    Args:
        engine: Where the collection lives.
        get_encoder: Gives its encoder.
        query: What `Collection.search` takes.
        options: Likewise.
        cold: The encoder is yet to be loaded.
        unread: Where the answers to vectors wait until somebody looks at their documents.
    """
    if isinstance(query, np.ndarray):
        return _by_vectors(engine, query, options, unread or UnreadAnswers())
    return _by_texts(engine, get_encoder, read_queries(query, options.mode, None), options, cold=cold)


def _by_vectors(engine: Readable, query: Vectors, options: SearchOptions, unread: UnreadAnswers) -> Hits | list[Hits]:
    moment = unread.moment
    with engine.view() as view:
        dimension = view.dimension or engine.settings.dimension
        queries = read_queries(query, options.mode, dimension)
        if dimension is None:  # there never was a vector
            answers = [Hits() for _ in range(len(queries))]
        else:
            with stage("search"):
                found = _find(view, queries, queries.vectors, options)
            answers = [unread.present(engine, view, one, options, moment) for one in found]
    return answers[0] if queries.single else answers


def _by_texts(
    engine: Readable, get_encoder: GetEncoder, queries: Queries, options: SearchOptions, *, cold: bool
) -> Hits | list[Hits]:
    with engine.view() as view:
        if not len(view) or not len(queries):
            answers = [Hits() for _ in range(len(queries))]
            return answers[0] if queries.single else answers
    while True:
        asked = Asked(None)
        if options.mode != "lexical":
            with stage("encode"):
                # Of an endpoint there is nothing to load, and a thread that waits for it would outlive an interrupt.
                beside = cold and not is_remote(engine.settings.encoder)
                encode = _encode_beside if beside else _encode
                asked = encode(engine, get_encoder, queries, options)
        with engine.view() as view:
            if not asked.fits(view):
                continue  # the collection has got another encoder's vectors since
            with stage("search"):
                found = _find(view, queries, asked.vectors, options)
            with stage("read"):
                answers = [present(view, one, options) for one in found]
        return answers[0] if queries.single else answers


@dataclass(frozen=True, slots=True)
class Asked:
    """What documents' vectors are to be compared with.

    Args:
        vectors: float32 `(n, d)` of unit length; None: nothing, in lexical search.
        fingerprint: Of the encoder that made them; None if they were given.
    """

    vectors: Vectors | None
    fingerprint: str | None = None

    def fits(self, view: View) -> bool:
        """Return whether they can be compared with the vectors of a state."""
        if self.vectors is None:
            return True
        if None not in (self.fingerprint, view.fingerprint) and self.fingerprint != view.fingerprint:
            return False
        return view.dimension in (None, self.vectors.shape[1])


def encode_asked(texts: Sequence[str], encoder: Encoder) -> Asked:
    """Return texts as what documents are compared with."""
    return Asked(encode_queries(texts, encoder), encoder.fingerprint)


def _encode(engine: Readable, get_encoder: GetEncoder, queries: Queries, options: SearchOptions) -> Asked:  # noqa: ARG001
    return encode_asked(queries.texts, get_encoder())


def _encode_beside(engine: Readable, get_encoder: GetEncoder, queries: Queries, options: SearchOptions) -> Asked:
    """Encode in a thread, and meanwhile read what the search will need: an encoder takes half a second to load."""
    with ThreadPoolExecutor(1) as pool:
        encoding = pool.submit(_encode, engine, get_encoder, queries, options)
        with engine.view() as view:
            view.keys(options.condition)
            if options.mode == "hybrid":
                view.lexical(queries.texts[:1], 1, options.condition)
        return encoding.result()


def answer(view: View, ranking: Ranking, vectors: Vectors, options: SearchOptions) -> Hits:
    """Return the hits of a ranking that was made for some vectors, float32 `(m, d)`, which tell the best passages."""
    found = Found(ranking.keys, ranking.scores, {"semantic": ranking}, None, "", vectors)
    chosen = _choose(view, found, options)
    with stage("read"):
        return present(view, chosen, options)


def candidates(options: SearchOptions) -> int:
    """Return how many candidates the hits are chosen from."""
    return options.k if not options.diversity else max(LEAST_CANDIDATES, CANDIDATES_PER_HIT * options.k)


def _find(view: View, queries: Queries, vectors: Vectors | None, options: SearchOptions) -> list[Found]:
    k = candidates(options)
    pool = max(POOL, k) if options.mode == "hybrid" else k
    legs: dict[str, Sequence[Ranking]] = {}
    if vectors is not None:
        legs["semantic"] = view.semantic(vectors, pool, options.condition)
    if options.mode != "semantic":
        legs["lexical"] = view.lexical(queries.texts, pool, options.condition)
    found = []
    for i in range(len(queries)):
        text = queries.texts[i] if queries.texts else ""
        vector = None if vectors is None else vectors[i : i + 1]
        rankings = {name: of_all[i] for name, of_all in legs.items()}
        found.append(_choose(view, _combine(view, rankings, options, text, vector), options))
    return found


def _combine(view: View, legs: dict[str, Ranking], options: SearchOptions, text: str, vector: Vectors | None) -> Found:
    if len(legs) == 1:
        (ranking,) = legs.values()
        return Found(ranking.keys, ranking.scores, legs, None, text, vector)
    near, words = legs["semantic"], legs["lexical"]
    weight = float(options.semantic_weight or 0.0)
    fuse = fusion.standardised if options.fusion == "standardised" else fusion.reciprocal_rank
    fused = fuse(
        [
            fusion.Leg(near.keys, near.scores, weight),
            # The semantic leg lists every allowed document, or as many as were asked for.
            fusion.Leg(words.keys, words.scores, 1 - weight, unlisted=max(0, len(near) - len(words))),
        ]
    )
    order = best(fused.keys, fused.scores, candidates(options), view.doc_ids)
    return Found(fused.keys[order], fused.scores[order], legs, fused.contributions[:, order], text, vector)


def _choose(view: View, found: Found, options: SearchOptions) -> Found:
    """Cut to k hits, by maximal marginal relevance if diversity is asked for."""
    if options.diversity:
        return found.take(diversify(found.scores, view.document_vectors(found.keys), options.k, options.diversity))
    return found if len(found.keys) <= options.k else found.take(np.arange(options.k))
