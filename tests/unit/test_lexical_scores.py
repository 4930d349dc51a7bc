"""BM25: the formula against numbers by hand, and documents in memory against the same documents in an index."""

import math
import random
import threading

import numpy as np
import pytest

from nearfield.lexical.bm25 import BM25, Allowed, Held
from nearfield.lexical.folders import IndexFolders
from nearfield.lexical.marker import NONE, Marker
from nearfield.lexical.scoring import idf, quantised, rounded
from nearfield.lexical.tail import Selection, Tail

WORDS = [f"w{i}" for i in range(60)]
EVERY = Allowed(10**9, lambda: np.empty(0, np.int64), lambda keys: np.ones(len(keys), np.bool_))


def all_of(index):
    return Held(index.marker.documents, lambda keys: np.ones(len(keys), np.bool_))


def some_texts(n, seed=0, longest=120):
    source = random.Random(seed)
    weights = [1 / (i + 1) for i in range(len(WORDS))]
    return [" ".join(source.choices(WORDS, weights, k=source.randint(1, longest))) for _ in range(n)]


def kept_length(length):
    """As Lucene keeps it: what is above 24 has four significant bits."""
    above = length - 24
    return length if above < 16 else 24 + (above >> above.bit_length() - 4 << above.bit_length() - 4)


def plain_bm25(query, texts):
    """Score of each text that has a term of the query, by the formula alone; lengths as Lucene rounds them."""
    split = [text.split() for text in texts]
    average = sum(map(len, split)) / len(split)
    scores = {}
    for i, words in enumerate(split):
        norm = 1.2 * (0.25 + 0.75 * kept_length(len(words)) / average)
        for term in query.split():
            n = sum(term in other for other in split)
            weight = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            if term in words:
                f = words.count(term)
                scores[i] = scores.get(i, 0.0) + weight * 2.2 * f / (f + norm)
    return scores


def in_memory(texts, first=1):
    tail = Tail()
    tail.add(list(enumerate(texts, start=first)))
    return Selection(tail, np.arange(first, first + len(texts)))


def in_index(root, texts, base=NONE):
    folders = IndexFolders(root)
    end = base.next_key + len(texts)
    marker = folders.extend(base, list(enumerate(texts, start=base.next_key)), lambda: Marker(next_key=end))
    folders.swap(marker)
    return folders.open(marker)


def found(searcher, query, k=10**6, allowed=EVERY):
    keys, scores, _ = searcher.search(query, k, allowed)
    return dict(zip(keys.tolist(), scores.tolist(), strict=True))


def test_lengths_are_rounded_as_lucenes_smallfloat_does():
    # SmallFloat.byte4ToInt of Lucene: exact to 40, then with four significant bits above 24.
    known = [0, 1, 23, 24, 39, 40, 42, 54, 56, 60, 84, 88, 96, 152, 168, 1048, 1176, 2013265944]
    assert quantised(np.array(known)).tolist() == known
    lengths = np.array([41, 43, 55, 59, 87, 95, 1175, 10**6])
    assert quantised(lengths).tolist() == [40, 42, 54, 56, 84, 88, 1048, 983064]


def test_the_idf_is_the_formulas():
    assert idf(3, 6) == pytest.approx(math.log(2), rel=1e-7)
    assert idf(6, 6) == pytest.approx(math.log(1 + 0.5 / 6.5), rel=1e-6)
    assert idf(0, 0) == pytest.approx(math.log(2), rel=1e-7)


def test_scores_are_rounded_to_a_millionth():
    values = np.float32([0.1, 1.0, 3.3333333, 1234.567, 1e-3])
    assert np.abs(rounded(values) / values - 1).max() < 1e-6
    assert rounded(np.float32([1.0000001]))[0] == 1.0


def test_what_is_all_in_memory_has_the_scores_of_plain_bm25():
    texts = some_texts(80)
    searcher = BM25(in_memory(texts))
    for query in ("w3", "w1 w7", "w0 w5 w20 w55", "absent w9", "w4 w4"):
        expected = {i + 1: pytest.approx(score, rel=2e-6, abs=1e-6) for i, score in plain_bm25(query, texts).items()}
        assert found(searcher, query) == expected
    assert found(searcher, "absent") == {}


def test_an_index_has_the_scores_of_plain_bm25(tmp_path):
    texts = some_texts(80)
    index = in_index(tmp_path, texts)
    assert index.marker.average == pytest.approx(sum(len(text.split()) for text in texts) / 80)
    searcher = BM25(in_memory([]), index, all_of(index))
    for query in ("w3", "w1 w7", "w0 w5 w20 w55", "absent w9", "w4 w4"):
        expected = {i + 1: pytest.approx(score, rel=2e-6, abs=1e-6) for i, score in plain_bm25(query, texts).items()}
        assert found(searcher, query) == expected


@pytest.mark.parametrize("query", ["w3", "w1 w7", "w4 w4", "w30"])
def test_a_documents_score_does_not_change_when_it_moves_into_an_index(tmp_path, query):
    texts = some_texts(80)
    alone = found(BM25(in_memory(texts)), query)
    index = in_index(tmp_path, texts)
    assert alone == found(BM25(in_memory([]), index, all_of(index)), query)


def test_both_parts_have_one_set_of_statistics(tmp_path):
    texts = some_texts(100)
    texts[80:] = texts[:20]  # the same documents in both parts
    index = in_index(tmp_path, texts[:80])
    searcher = BM25(in_memory(texts[80:], first=81), index, all_of(index))
    average = sum(len(text.split()) for text in texts[:80]) / 80
    for query in ("w3", "w1 w7", "w0 w5 w20 w55", "w4 w4", "w59"):
        scores = found(searcher, query)
        assert all(scores.get(i) == scores.get(i + 80) for i in range(1, 21))
        whole = plain_bm25(query, texts)
        assert scores.keys() == {i + 1 for i in whole}
        # The mean length is the index's; held against plain BM25 with an empty text that makes it so.
        mean = sum(len(text.split()) for text in texts) / 100
        assert all(abs(scores[i + 1] / score - 1) < 2 * abs(average / mean - 1) + 2e-6 for i, score in whole.items())


def test_a_term_that_only_one_part_has(tmp_path):
    index = in_index(tmp_path, ["a1 b1", "b1 c1"])
    searcher = BM25(in_memory(["c1 d1", "d1 e1"], first=3), index, all_of(index))
    texts = ["a1 b1", "b1 c1", "c1 d1", "d1 e1"]
    for term in ("a1", "b1", "c1", "d1", "e1", "a1 e1"):
        expected = {i + 1: pytest.approx(score, rel=2e-6, abs=1e-6) for i, score in plain_bm25(term, texts).items()}
        assert found(searcher, term) == expected


def test_the_best_k_of_both_parts_and_those_that_tie_with_the_last(tmp_path):
    texts = some_texts(300, seed=3)
    index = in_index(tmp_path, texts[:200])
    searcher = BM25(in_memory(texts[200:], first=201), index, all_of(index))
    everything = found(searcher, "w2 w9 w11")
    odd = Allowed(150, lambda: np.arange(1, 301, 2), lambda keys: keys % 2 == 1)
    few = Allowed(5, lambda: np.array([3, 77, 150, 201, 290]), lambda keys: np.isin(keys, [3, 77, 150, 201, 290]))
    for allowed in (EVERY, odd, few):
        permitted = {key: s for key, s in everything.items() if allowed.mask(np.array([key]))[0]}
        for k in (1, 3, 10, 1000):
            ranked = sorted(permitted.values(), reverse=True)
            least = ranked[min(k, len(ranked)) - 1]
            best = {key for key, score in permitted.items() if score >= least}
            scores = found(searcher, "w2 w9 w11", k, allowed)
            assert best <= scores.keys() <= permitted.keys()
            assert all(scores[key] == permitted[key] for key in scores)


def test_documents_that_the_index_does_not_speak_for_are_found_once(tmp_path):
    texts = ["red fox", "red hen", "red cat"]
    index = in_index(tmp_path, texts)
    tail = Tail()
    tail.add([(2, texts[1])])
    searcher = BM25(Selection(tail, np.array([2])), index, Held(2, lambda keys: keys != 2))
    keys, _, _ = searcher.search("red", 10, EVERY)
    assert sorted(keys.tolist()) == [1, 2, 3]


def test_a_selection_sees_its_documents_only():
    tail = Tail()
    tail.add([(5, "red fox"), (9, "red red hen")])
    before = Selection(tail, np.array([9]))
    tail.add([(7, "red cat")])  # added later, though its key is lower
    after = Selection(tail, np.array([5, 7, 9]))
    assert found(BM25(before), "red").keys() == {9}
    assert found(BM25(after), "red").keys() == {5, 7, 9}
    assert tail.places(np.array([5, 6, 7, 9, 10])).tolist() == [0, -1, 2, 1, -1]
    (places, counts) = after.having("red")
    assert dict(zip(after.keys[places].tolist(), counts.tolist(), strict=True)) == {5: 1, 9: 2, 7: 1}


def test_a_source_that_fails_leaves_nothing_in_memory():
    def failing():
        yield 1, "red fox"
        raise OSError("gone")

    tail = Tail()
    with pytest.raises(OSError, match="gone"):
        tail.add(failing())
    tail.add([(2, "blue hen")])
    assert len(tail) == 1
    assert found(BM25(Selection(tail, np.array([2]))), "red") == {}


def test_adding_stops_at_a_limit_of_terms():
    tail = Tail()
    assert not tail.add([(i, "one two three") for i in range(1, 101)], limit=30)
    assert len(tail) == 11
    assert tail.tokens == 33
    assert tail.add([(i, "one two three") for i in range(201, 206)], limit=30)


@pytest.mark.slow
def test_threads_may_search_while_one_adds():
    tail, errors, done = Tail(), [], threading.Event()
    tail.add([(i, "red fox") for i in range(1, 101)])
    selection = Selection(tail, np.arange(1, 101))
    expected = found(BM25(selection), "red")

    def read():
        while not done.is_set():
            if found(BM25(selection), "red") != expected:
                errors.append("another answer")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for i in range(101, 1000):
        tail.add([(i, "red fox")])
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert len(expected) == 100
