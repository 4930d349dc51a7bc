"""Terms that describe clusters: class-based TF-IDF over words and two-word phrases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.cluster.words import root, singular, tokens

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

# How much more frequent a term must be inside its cluster than outside: function words of any language, and
# the jargon that a whole collection shares, come near 1.
_LIFT = 1.5
# Phrases are counted around this many leading words of each cluster.
_LEADING = 60


def describe(texts: Sequence[str], labels: Ints, n_clusters: int, count: int = 10) -> list[list[str]]:
    """Return up to `count` terms for each cluster, the most telling first; `labels` is int64 `(len(texts),)`.

    A term's weight in cluster c is tf(t, c) · log(1 + A / f(t)): its share of the cluster's words, its
    frequency f over all clusters, and A words per cluster on average (class-based TF-IDF: Grootendorst,
    BERTopic, 2022, arXiv:2203.05794). Three things differ. A word that stands m times in one document counts
    1 + log m, so that one long document can't speak for its cluster. A term must be 1.5 times as frequent
    inside the cluster as outside, and, from 5 documents, stand in two of them. Singular and plural count
    together, a phrase of two terms takes the place of one that mostly stands in it, and no idea is named
    twice.

    Documents with a negative label are left out. Equal weights go in alphabetic order. A cluster whose texts
    have no words but stop words has no terms.

    >>> texts = ["sea waves", "high waves at sea", "old maps", "a map of roads"]
    >>> describe(texts, np.array([0, 0, 1, 1]), 2, count=2)
    [['sea', 'waves'], ['map', 'roads']]
    """
    inside = np.flatnonzero(labels >= 0)
    names, flat, documents = _read([texts[int(i)] for i in inside])
    labels = labels[inside]
    words = _tally(flat, documents, labels)
    totals = np.bincount(words.cluster, words.weight, minlength=n_clusters).astype(np.float64)
    sizes = np.bincount(labels, minlength=n_clusters)
    word_scores = _scores(words, totals, np.where(sizes >= 5, 2, 1))
    leading = np.unique(np.concatenate([words.term[rows] for rows in _best(words, word_scores, n_clusters)]))
    pairs, phrases = _phrases(flat, documents, labels, leading)
    phrase_scores = _scores(phrases, totals, np.where(sizes >= 20, 3, 2))
    word_rows, phrase_rows = _best(words, word_scores, n_clusters), _best(phrases, phrase_scores, n_clusters)
    found = []
    for rows, pair_rows in zip(word_rows, phrase_rows, strict=True):
        singles = {int(words.term[i]): (float(word_scores[i]), float(words.weight[i])) for i in rows}
        doubles = {pairs[phrases.term[i]]: (float(phrase_scores[i]), float(phrases.weight[i])) for i in pair_rows}
        found.append(_choose(singles, doubles, names, count))
    return found


@dataclass(frozen=True)
class _Table:
    """How often terms stand in clusters, a row for each pair that occurs, clusters ascending."""

    cluster: Ints
    term: Ints
    weight: Floats
    documents: NDArray[Any]


def _read(texts: Sequence[str]) -> tuple[list[str], Ints, Ints]:
    """Return the words as written, every token as a word's number (-1: a phrase ends), and its document."""
    numbers: dict[str, int] = {"": -1}
    keys: dict[str, int] = {}
    forms: defaultdict[int, Counter[str]] = defaultdict(Counter)
    flat: list[int] = []
    lengths = []
    for text in texts:
        found = tokens(text)
        for form, times in Counter(found).items():
            if form not in numbers:
                numbers[form] = keys.setdefault(singular(form), len(keys))
            forms[numbers[form]][form] += times
        flat += [numbers[form] for form in found]
        flat.append(-1)
        lengths.append(len(found) + 1)
    # The form that is written most often; of equals the shortest.
    names = [min(forms[i], key=lambda form: (-forms[i][form], len(form), form)) for i in range(len(keys))]
    return names, np.array(flat, dtype=np.int64), np.repeat(np.arange(len(texts)), lengths)


def _tally(terms: Ints, documents: Ints, labels: Ints) -> _Table:
    documents, terms = documents[terms >= 0], terms[terms >= 0]
    width = int(terms.max(initial=0)) + 1
    code, times = np.unique(documents * width + terms, return_counts=True)
    code, place = np.unique(labels[code // width] * width + code % width, return_inverse=True)
    weight = np.bincount(place, 1 + np.log(times), minlength=len(code)).astype(np.float64)
    return _Table(code // width, code % width, weight, np.bincount(place, minlength=len(code)))


def _scores(table: _Table, totals: Floats, least: NDArray[Any]) -> Floats:
    """Return each row's weight by class-based TF-IDF, below 0 where the term must not be used."""
    frequency = np.bincount(table.term, table.weight)[table.term]
    inside = totals[table.cluster]
    share = table.weight / inside
    outside = (frequency - table.weight) / np.maximum(totals.sum() - inside, 1.0)
    telling = share >= _LIFT * outside
    shared = table.documents >= least[table.cluster]
    score = share * np.log1p(totals.mean() / frequency)
    return np.where(telling & shared, score, -1.0)


def _best(table: _Table, scores: Floats, n_clusters: int) -> list[Ints]:
    """Return the rows of each cluster's leading terms, best first."""
    bounds = np.searchsorted(table.cluster, np.arange(n_clusters + 1))
    found = []
    for start, end in pairwise(bounds):
        order = start + np.argsort(-scores[start:end], kind="stable")[:_LEADING]
        found.append(order[scores[order] >= 0])
    return found


def _phrases(flat: Ints, documents: Ints, labels: Ints, leading: Ints) -> tuple[list[tuple[int, int]], _Table]:
    """Return the pairs of words that stand side by side, one of them leading, and how often they do."""
    first, second = flat[:-1], flat[1:]
    near = (np.isin(first, leading) | np.isin(second, leading)) & (first >= 0) & (second >= 0) & (first != second)
    width = int(flat.max(initial=0)) + 1
    codes, terms = np.unique(first[near] * width + second[near], return_inverse=True)
    pairs = [(int(code) // width, int(code) % width) for code in codes]
    return pairs, _tally(terms, documents[:-1][near], labels)


def _choose(
    singles: dict[int, tuple[float, float]],
    doubles: dict[tuple[int, int], tuple[float, float]],
    names: Sequence[str],
    count: int,
) -> list[str]:
    """Return one cluster's terms; `singles` and `doubles` hold (score, weight) of its words and phrases."""
    candidates: dict[tuple[int, ...], float] = {(word,): score for word, (score, _) in singles.items()}
    for pair, (score, weight) in doubles.items():
        if not all(word in singles for word in pair):
            continue
        absorbed = [word for word in pair if weight >= 0.5 * singles[word][1]]
        if absorbed:
            candidates[pair] = max([score, *(singles[word][0] for word in absorbed)])
            for word in absorbed:
                candidates.pop((word,), None)
    ranked = sorted((-score, " ".join(names[word] for word in term)) for term, score in candidates.items())
    chosen: list[str] = []
    covered: set[str] = set()
    for _, term in ranked:
        roots = {root(singular(word)) for word in term.split(" ")}
        if not roots <= covered and len(chosen) < count:
            chosen.append(term)
            covered |= roots
    return chosen
