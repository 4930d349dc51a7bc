"""What users hold: every promise of `Collection` on a local collection, with an encoder whose vectors are known."""

import itertools
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

import nearfield as nf
from nearfield.rank.fusion import Leg, reciprocal_rank, standardised

TEXTS = [
    "red apples and green pears",
    "green pears only",
    "red wine from green grapes",
    "blue sky over red sand",
    "a song about the sky",
    "sand and stones",
]


def fill(col):
    return col.add(
        [{"text": text, "year": 2000 + i, "even": i % 2 == 0, "words": text.split()} for i, text in enumerate(TEXTS)]
    )


def cosines(encoder, query):
    vectors = encoder.encode_documents([*TEXTS, query]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {str(i): float(score) for i, score in enumerate(vectors[:-1] @ vectors[-1])}


def ranked(scores, k):
    return sorted(scores, key=lambda doc_id: (-round(scores[doc_id], 9), doc_id))[:k]


# -- documents ---------------------------------------------------------------------------------------------------------


def test_documents_are_numbered_kept_and_read_back(col):
    assert fill(col) == ["0", "1", "2", "3", "4", "5"]
    document = col.get(3)
    assert (document.doc_id, document.text, document.title) == ("3", TEXTS[3], "")
    assert document.metadata == {"year": 2003, "even": False, "words": ["blue", "sky", "over", "red", "sand"]}
    assert [document.text for document in col] == TEXTS
    assert len(col) == 6
    assert "5" in col
    assert 5 in col
    assert "6" not in col
    assert None not in col
    assert [document.doc_id for document in col.get(["4", 2])] == ["4", "2"]


def test_numbers_pass_over_doc_ids_that_are_taken(col):
    assert col.add([nf.Document("x", doc_id=1), "y", "z"]) == ["1", "0", "2"]
    assert col.add("w") == ["3"]
    col.delete("3")
    assert col.add("v") == ["4"]  # a number is not given twice


def test_what_was_added_is_there_after_reopening_with_the_same_answers(tmp_path, encoder):
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        fill(col)
        before = [col.search("red sky", k=4, mode=mode).to_dicts() for mode in ("semantic", "lexical", "hybrid")]
    with nf.open(tmp_path / "a.nf", encoder=encoder, create=False) as col:
        assert [
            col.search("red sky", k=4, mode=mode).to_dicts() for mode in ("semantic", "lexical", "hybrid")
        ] == before
        assert col.generation == 1


def test_upsert_replaces_and_adds(col):
    fill(col)
    assert col.upsert([{"id": "1", "text": "purple plums"}, {"id": "new", "text": "golden quince"}]) == ["1", "new"]
    assert len(col) == 7
    assert col.get("1").text == "purple plums"
    assert col.get("1").metadata == {}
    assert col.search("purple plums", k=1, mode="lexical").doc_ids == ["1"]
    assert col.search("green pears only", k=9, mode="lexical").doc_ids == ["0", "2"]
    assert col.search("purple plums", k=1, mode="semantic").scores == [pytest.approx(1.0)]


def test_delete_by_doc_id_and_by_condition(col):
    fill(col)
    assert col.delete("0") == 1
    assert col.delete(["1", 2]) == 2
    assert col.doc_ids() == ["3", "4", "5"]
    assert col.delete(where={"year": {"$gte": 2004}}) == 2
    assert col.doc_ids() == ["3"]
    assert col.search("sand", k=10).doc_ids == ["3"]
    assert col.delete(where={"year": 1}) == 0


@pytest.mark.parametrize("mode", ["semantic", "lexical", "hybrid"])
def test_deleted_documents_are_never_found_and_others_take_their_place(col, mode):
    fill(col)
    everything = col.search("red green sand", k=10, mode=mode).doc_ids
    col.delete(everything[0])
    left = col.search("red green sand", k=10, mode=mode).doc_ids
    if mode == "semantic":
        assert left == everything[1:]
    else:  # BM25 follows the statistics of what is left, and so may the order
        assert sorted(left) == sorted(everything[1:])


def test_stats_count_what_there_is(col):
    fill(col)
    col.delete("0")
    stats = col.stats()
    assert (stats.documents, stats.passages, stats.dead_passages, stats.dimension) == (5, 5, 1, 64)
    assert (stats.index["kind"], stats.index["asked"], stats.index["wanted"]) == ("exact", "auto", "")
    assert (stats.index["recall_target"], stats.index["recall"], stats.index["pending"]) == (0.95, 1.0, 0)
    assert stats.index["reason"] == "scanning 5 vectors takes less than a millisecond"
    assert stats.bytes["vectors"] == 64 + 6 * 64 * 4
    assert stats.to_dict()["generation"] == 2


# -- passages ----------------------------------------------------------------------------------------------------------


def test_long_documents_are_found_by_the_passage_that_matches(tmp_path, encoder):
    encoder.max_tokens = 8
    sentences = [f"Number {i} speaks about {word} and nothing else." for i, word in enumerate(["cats", "dogs", "bees"])]
    text = " ".join(sentences)
    with nf.open(tmp_path / "long.nf", encoder=encoder) as col:
        col.add([{"id": "long", "text": text}, {"id": "short", "text": "Fish swim."}])
        assert col.stats().passages == 4
        for mode in ("semantic", "lexical", "hybrid"):
            hit = col.search("bees", k=1, mode=mode)[0]
            assert (hit.doc_id, hit.text) == ("long", text)
            assert hit.passage.text == sentences[2]
            assert text[hit.passage.start : hit.passage.end] == sentences[2]
        assert [document.text for document in col] == [text, "Fish swim."]


# -- search ------------------------------------------------------------------------------------------------------------


def test_semantic_search_ranks_by_cosine(col, encoder):
    fill(col)
    hits = col.search("red sky", k=4, mode="semantic")
    expected = cosines(encoder, "red sky")
    assert hits.doc_ids == ranked(expected, 4)
    np.testing.assert_allclose(hits.scores, [expected[doc_id] for doc_id in hits.doc_ids], atol=1e-6)


def test_lexical_search_returns_only_documents_that_share_a_term(col):
    fill(col)
    assert set(col.search("sky songs", k=10, mode="lexical").doc_ids) == {"3", "4"}
    assert col.search("zebra", k=10, mode="lexical").doc_ids == []
    assert col.search("?!", k=10, mode="lexical").doc_ids == []


def test_lexical_scores_are_bm25(col):
    fill(col)
    hits = col.search("red", k=10, mode="lexical")
    lengths = [len(text.split()) for text in TEXTS]
    average, n = sum(lengths) / 6, 3
    idf = np.log(1 + (6 - n + 0.5) / (n + 0.5))
    for hit in hits:
        length = lengths[int(hit.doc_id)]
        assert hit.score == pytest.approx(idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * length / average)), rel=1e-5)
    assert set(hits.doc_ids) == {"0", "2", "3"}


@pytest.mark.parametrize(
    ("fusion", "fuse", "weight"), [("standardised", standardised, 0.7), ("reciprocal", reciprocal_rank, 0.5)]
)
def test_hybrid_search_is_the_fusion_of_its_legs(col, fusion, fuse, weight):
    fill(col)
    near, words = (col.search("red green sky", k=10, mode=mode) for mode in ("semantic", "lexical"))
    legs = [
        Leg(np.array([int(i) for i in near.doc_ids]), np.array(near.scores), weight),
        Leg(np.array([int(i) for i in words.doc_ids]), np.array(words.scores), 1 - weight, 6 - len(words)),
    ]
    fused = fuse(legs)
    expected = {str(key): score for key, score in zip(fused.keys, fused.scores, strict=True)}
    hits = col.search("red green sky", k=6, fusion=fusion)
    assert hits.doc_ids == ranked(expected, 6)
    np.testing.assert_allclose(hits.scores, [expected[doc_id] for doc_id in hits.doc_ids], atol=1e-9)


def test_the_weight_moves_from_words_to_meaning(col):
    fill(col)
    for weight, mode in ((1.0, "semantic"), (0.0, "lexical")):
        alone = col.search("red green sky", k=3, mode=mode).doc_ids
        assert col.search("red green sky", k=3, semantic_weight=weight).doc_ids == alone


def test_explanations_add_up(col):
    fill(col)
    for hit in col.search("red green sky", k=6, explain=True):
        legs = hit.explanation.legs
        assert sum(leg.contribution for leg in legs.values()) == pytest.approx(hit.score)
        assert legs["semantic"].rank is not None
    semantic, lexical = (col.search("red green sky", k=6, mode=mode, explain=True) for mode in ("semantic", "lexical"))
    first = col.search("red green sky", k=1, explain=True)[0].explanation
    assert first.mode == "hybrid"
    assert "semantic 0.7, lexical 0.3" in first.fusion
    for name, alone in (("semantic", semantic), ("lexical", lexical)):
        leg = next(leg for leg in [first.legs[name]])
        hit = alone[leg.rank - 1]
        assert leg.score == pytest.approx(hit.score)
    assert semantic[2].explanation.legs["semantic"].rank == 3
    assert semantic[0].explanation.fusion == "none"
    assert "exact scan" in first.plan["semantic"]
    assert col.search("red", k=1)[0].explanation is None


@pytest.mark.parametrize("mode", ["semantic", "lexical", "hybrid"])
def test_filters_are_part_of_the_search(col, mode):
    fill(col)
    where = {"even": False}
    everything = col.search("red green sand sky pears", k=6, mode=mode)
    assert [i for i in everything.doc_ids if int(i) % 2] == sorted(
        col.search("red green sand sky pears", k=3, mode=mode, where=where).doc_ids,
        key=everything.doc_ids.index,
    ) or mode == "hybrid"
    assert set(col.search("red green sand sky pears", k=3, mode=mode, where=where).doc_ids) == {"1", "3", "5"}
    assert col.search("red", k=3, mode=mode, where={"year": 1999}).doc_ids == []


def test_several_queries_answer_as_each_alone(col):
    fill(col)
    queries = ["red sky", "green pears", "stones", "zebra"]
    for mode in ("semantic", "lexical", "hybrid"):
        together = col.search(queries, k=3, mode=mode)
        assert [hits.to_dicts() for hits in together] == [col.search(q, k=3, mode=mode).to_dicts() for q in queries]
    assert col.search([], k=3) == []


def test_a_vector_is_a_query(col, encoder):
    fill(col)
    vector = encoder.encode_queries(["red sky"])[0]
    assert (
        col.search(17 * vector, k=3, mode="semantic").to_dicts()
        == col.search("red sky", k=3, mode="semantic").to_dicts()
    )
    both = col.search(np.stack([vector, vector]), k=3, mode="semantic")
    assert [hits.doc_ids for hits in both] == [col.search("red sky", k=3, mode="semantic").doc_ids] * 2


def test_k_beyond_the_collection_gives_what_there_is(col):
    fill(col)
    assert len(col.search("red", k=10**9, mode="semantic")) == 6
    assert len(col.search("red", k=10**9)) == 6


def test_equal_documents_come_in_the_order_of_their_doc_ids_whatever_the_order_of_insertion(tmp_path, encoder):
    names = ["b", "d", "a", "c"]
    for order in itertools.permutations(names):
        with nf.open(tmp_path / ("".join(order) + ".nf"), encoder=encoder) as col:
            for name in order:
                col.add({"id": name, "text": "the same text"})
            for mode in ("semantic", "lexical", "hybrid"):
                assert col.search("same text", k=2, mode=mode).doc_ids == ["a", "b"]


def test_an_empty_collection_answers_nothing(col):
    assert col.search("red").doc_ids == []
    assert [hits.doc_ids for hits in col.search(["red", "sky"])] == [[], []]
    assert list(col) == []
    assert col.stats().documents == 0


def test_diversity_chooses_unlike_hits(col):
    col.add(["red apple"] * 3 + ["red apple pie", "green apple", "apple tree in the garden"])
    assert col.search("red apple", k=3, mode="semantic").doc_ids == ["0", "1", "2"]
    spread = col.search("red apple", k=3, mode="semantic", diversity=0.7)
    assert spread.doc_ids[0] == "0"
    assert not {"1", "2"} & set(spread.doc_ids)


def test_scripts_without_spaces_are_found_by_their_characters(col):
    col.add(["机器学习入门", "数据库系统", "トピックモデル"])
    assert col.search("学习", k=3, mode="lexical").doc_ids == ["0"]
    assert col.search("モデル", k=3, mode="lexical").doc_ids == ["2"]


# -- recommendation ----------------------------------------------------------------------------------------------------


def test_similar_is_search_by_the_documents_own_vector_without_it(col, encoder):
    fill(col)
    expected = cosines(encoder, TEXTS[0])
    del expected["0"]
    hits = col.similar("0", k=3)
    assert hits.doc_ids == ranked(expected, 3)
    np.testing.assert_allclose(hits.scores, [expected[doc_id] for doc_id in hits.doc_ids], atol=1e-6)


def unit(encoder, *texts):
    vectors = encoder.encode_documents(texts).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_average_of_what_is_liked_less_half_of_what_is_disliked(col, encoder):
    fill(col)
    vectors = unit(encoder, *TEXTS)
    profile = vectors[[0, 3]].mean(axis=0) - 0.5 * vectors[5]
    scores = {str(i): float(vectors[i] @ profile / np.linalg.norm(profile)) for i in (1, 2, 4)}
    hits = col.recommend(liked=["0", 3], disliked=["5"], k=9)
    assert hits.doc_ids == ranked(scores, 9)
    np.testing.assert_allclose(hits.scores, [scores[doc_id] for doc_id in hits.doc_ids], atol=1e-6)


@pytest.mark.parametrize("disliked", [[], ["5"], ["5", "1"]])
def test_the_best_of_what_is_liked_less_half_of_the_worst(col, encoder, disliked):
    fill(col)
    vectors = unit(encoder, *TEXTS)
    named = {"0", "3", *disliked}
    scores = {}
    for i in range(6):
        if str(i) not in named:
            worst = max([0.0, *(float(vectors[i] @ vectors[int(j)]) for j in disliked)])
            scores[str(i)] = max(float(vectors[i] @ vectors[j]) for j in (0, 3)) - 0.5 * worst
    for k in (1, 9):
        hits = col.recommend(liked=["0", "3"], disliked=disliked, k=k, strategy="best")
        assert hits.doc_ids == ranked(scores, k)
        np.testing.assert_allclose(hits.scores, [scores[doc_id] for doc_id in hits.doc_ids], atol=1e-6)


def test_a_wish_in_words_alone_and_beside_tastes(col, encoder):
    fill(col)
    assert col.recommend(query="red sky", k=3).to_dicts() == col.search("red sky", k=3, mode="semantic").to_dicts()
    vectors, wish = unit(encoder, *TEXTS), unit(encoder, "red sky")[0]
    profile = (vectors[1] + wish) / 2
    expected = {str(i): float(vectors[i] @ profile / np.linalg.norm(profile)) for i in (0, 2, 3, 4, 5)}
    assert col.recommend(query="red sky", liked=["1"], k=5).doc_ids == ranked(expected, 5)


def test_recommendation_takes_conditions_and_diversity(col):
    fill(col)
    assert set(col.recommend(liked=["0"], k=9, where={"even": False}).doc_ids) == {"1", "3", "5"}
    assert col.similar("0", k=3, where={"year": {"$lt": 2000}}).doc_ids == []
    assert len(col.similar("0", k=3, diversity=0.9)) == 3


# -- clusters and evaluation -------------------------------------------------------------------------------------------


def test_clusters_of_documents_that_share_words(col):
    col.add([f"{word} {word} number" for word in ["cat", "dog", "bird"] for _ in range(4)])
    found = col.cluster(n_clusters=3)
    assert [found.labels[str(i)] for i in range(12)] == [found.labels["0"]] * 4 + [found.labels["4"]] * 4 + [
        found.labels["8"]
    ] * 4
    assert len(set(found.labels.values())) == 3
    assert found.assign(["a dog"]) == [found.labels["4"]]


def test_clustering_takes_a_condition(col):
    fill(col)
    assert set(col.cluster(n_clusters=2, where={"even": True}).labels) == {"0", "2", "4"}


def test_evaluation_measures_the_collections_own_search(col):
    fill(col)
    queries, qrels = {"q": "red", "p": "stones", "none": "x"}, {"q": {"0": 1, "9": 1}, "p": ["5"], "textless": ["1"]}
    report = col.evaluate(queries, qrels, ["R@100", "MRR"], mode="lexical")
    assert report.per_query["q"] == {
        "R@100": 0.5,
        "MRR": pytest.approx(1 / (1 + col.search("red", mode="lexical").doc_ids.index("0"))),
    }
    assert report.per_query["p"]["MRR"] == 1.0
    assert report.per_query["textless"]["MRR"] == 0.0
    assert (report.unknown_documents, report.unknown_queries) == (1, 1)


# -- bad input ---------------------------------------------------------------------------------------------------------

BATCH = [{"id": str(i), "text": f"text {i}"} for i in range(1000)]


def spoilt(row, **changes):
    return [*BATCH[:row], {**BATCH[row], **changes}, *BATCH[row + 1 :]]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (spoilt(617, text=617), "617"),
        (spoilt(617, text=""), "617.*at least one visible character"),
        (spoilt(617, text="  \n"), "617.*visible character"),
        (spoilt(617, text="a\0b"), "617.*NUL"),
        (spoilt(617, text="\ud800"), "617.*lone surrogate"),
        (spoilt(617, id=""), "617.*doc_id"),
        (spoilt(617, id=1.5), "617.*doc_id"),
        (spoilt(617, id="3"), "'3'"),
        (spoilt(617, extra=float("nan")), "617.*extra.*nan"),
        (spoilt(617, extra={1: 2}), "617.*extra"),
        (spoilt(617, extra=object()), "617.*extra"),
        (spoilt(617, title=3), "617.*title"),
        ([*BATCH, None], "1000"),
        (7, "7"),
        (b"bytes", "bytes"),
    ],
)
def test_a_batch_with_one_bad_document_changes_nothing(col, documents, message):
    col.add("already here")
    with pytest.raises(nf.InvalidInput, match=message):
        col.add(documents)
    assert len(col) == 1
    assert col.generation == 1


def test_an_existing_doc_id_refuses_the_batch(col):
    fill(col)
    with pytest.raises(nf.Conflict, match=r"doc_id '3' exists already.*upsert"):
        col.add([{"id": "new", "text": "x"}, {"id": 3, "text": "y"}])
    assert "new" not in col
    assert len(col) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be an int of at least 1, got 0"),
        ({"k": -1}, "got -1"),
        ({"k": 2.0}, "got 2.0"),
        ({"k": True}, "got True"),
        ({"k": "3"}, "got '3'"),
        ({"mode": "dense"}, "mode must be one of 'hybrid', 'semantic', 'lexical', got 'dense'"),
        ({"fusion": "max"}, "fusion must be one of"),
        ({"semantic_weight": 1.5}, "semantic_weight must be a number from 0 to 1, got 1.5"),
        ({"semantic_weight": float("nan")}, "got nan"),
        ({"diversity": -0.1}, "diversity must be"),
        ({"where": {"year": {"$near": 1}}}, r"unknown operator '\$near'"),
        ({"where": {"year": {"$gt": "2000"}}}, "can't compare field 'year'"),
        ({"where": []}, "where must be a mapping"),
    ],
)
def test_options_out_of_range_are_refused(col, options, message):
    fill(col)
    with pytest.raises(nf.InvalidInput, match=message):
        col.search("red", **options)


@pytest.mark.parametrize("query", ["", "  ", "a\0b", "\ud800", None, 3, ["x", ""], {"a": 1}])
def test_what_is_no_query_is_refused(col, query):
    fill(col)
    with pytest.raises(nf.InvalidInput, match="query"):
        col.search(query)


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((6, 63)),
        np.ones((5, 64)),
        np.ones(64),
        np.full((6, 64), np.nan),
        [["x"] * 64] * 6,
        np.ones((6, 64), complex),
    ],
)
def test_vectors_of_another_shape_or_kind_are_refused(col, vectors):
    col.add("first")
    with pytest.raises(nf.InvalidInput, match="vectors must be"):
        col.add(TEXTS, vectors=vectors)
    assert len(col) == 1


@pytest.mark.parametrize("vector", [np.ones(63), np.full(64, np.inf), np.array([]), np.ones((1, 1, 64))])
def test_query_vectors_of_another_shape_are_refused(col, vector):
    fill(col)
    with pytest.raises(nf.InvalidInput, match="query vectors must be"):
        col.search(vector, mode="semantic")
    with pytest.raises(nf.InvalidInput, match="mode='semantic' only"):
        col.search(np.ones(64))


def test_given_vectors_are_searched_as_they_are(tmp_path, encoder):
    with nf.open(tmp_path / "given.nf", encoder=encoder) as col:
        vectors = np.eye(6, 64, dtype=np.float64) * 9
        vectors[5] = 0
        col.add(TEXTS, vectors=vectors)
        assert encoder.encoded == 0
        assert col.search(vectors[2], k=2, mode="semantic").doc_ids == ["2", "0"]
        assert col.search(vectors[2], k=2, mode="semantic").scores == [1.0, 0.0]
        assert col.search("stones", k=1, mode="lexical").doc_ids == ["5"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda col: col.get("x"), nf.NotFound, "doc_id 'x' is not in the collection"),
        (lambda col: col.delete(["0", "x"]), nf.NotFound, "'x'"),
        (lambda col: col.delete(), nf.InvalidInput, "one of the two"),
        (lambda col: col.delete("0", where={"year": 1}), nf.InvalidInput, "one of the two"),
        (lambda col: col.delete(where={}), nf.InvalidInput, "every document"),
        (lambda col: col.similar("x"), nf.NotFound, "'x'"),
        (lambda col: col.recommend(), nf.InvalidInput, "at least one liked"),
        (lambda col: col.recommend(liked=["0"], disliked=["0"]), nf.InvalidInput, "both liked and disliked"),
        (lambda col: col.recommend(liked=["0"], strategy="x"), nf.InvalidInput, "strategy must be one of"),
        (lambda col: col.recommend(liked=[True]), nf.InvalidInput, "doc_id must be"),
        (lambda col: col.cluster(n_clusters=7), nf.InvalidInput, "7"),
        (lambda col: col.cluster(n_clusters=2, method="x"), nf.InvalidInput, "kmeans"),
        (lambda col: col.evaluate({"q": "red"}, {"q": ["0"]}, ["nDCG@ten"]), nf.InvalidInput, "nDCG@ten"),
        (lambda col: col.evaluate({"q": "red"}, {"p": ["0"]}), nf.InvalidInput, "no query"),
        (lambda col: col.evaluate({"q": "red"}, {"q": ["0"]}, depth=3), nf.InvalidInput, "unknown option 'depth'"),
    ],
)
def test_bad_calls_say_what_is_wrong_and_change_nothing(col, call, error, message):
    fill(col)
    with pytest.raises(error, match=message):
        call(col)
    assert len(col) == 6


# -- opening -----------------------------------------------------------------------------------------------------------


def test_a_path_that_is_no_collection(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("x")
    with pytest.raises(nf.InvalidInput, match="is a file; a collection is a folder"):
        nf.open(tmp_path / "file")
    with pytest.raises(nf.InvalidInput, match=r"not a collection.*'notes.txt'"):
        nf.open(tmp_path / "folder")
    with pytest.raises(nf.NotFound, match="there is no collection at"):
        nf.open(tmp_path / "absent", create=False)
    assert not (tmp_path / "absent").exists()
    with pytest.raises(nf.InvalidInput, match="no engine for 'qdrant://x'"):
        nf.open("qdrant://x")
    for location in ("", None, 3, "a\0b"):
        with pytest.raises(nf.InvalidInput, match="location must be"):
            nf.open(location)


def test_an_empty_folder_becomes_a_collection(tmp_path):
    with nf.open(tmp_path) as col:
        assert len(col) == 0


def make(folder, encoder):
    with nf.open(folder, encoder=encoder) as col:
        fill(col)
    return folder


@pytest.mark.parametrize(
    ("manifest", "error", "message"),
    [
        ('{"format": "nearfield", "version": 3}', nf.IncompatibleFormat, "format version 3.*reads up to 2"),
        ('{"format": "other", "version": 1}', nf.InvalidInput, "names the format 'other'"),
        ('{"format": ', nf.CorruptCollection, "manifest.json is no manifest"),
        ("[]", nf.CorruptCollection, "manifest.json is no manifest"),
    ],
)
def test_other_manifests_are_refused(tmp_path, encoder, manifest, error, message):
    folder = make(tmp_path / "a.nf", encoder)
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(error, match=message):
        nf.open(folder)


def test_missing_and_truncated_files_are_noticed(tmp_path, encoder):
    folder = make(tmp_path / "a.nf", encoder)
    vectors = folder / "vectors" / "000000.vec"
    whole = vectors.read_bytes()
    for content, message in (
        (whole[:-1], "000000.vec has"),
        (b"x" * len(whole), "000000.vec does not begin as segment 0"),
    ):
        vectors.write_bytes(content)
        with nf.open(folder, encoder=encoder) as col, pytest.raises(nf.CorruptCollection, match=message):
            col.search("red")
    vectors.unlink()
    with nf.open(folder, encoder=encoder) as col, pytest.raises(nf.CorruptCollection, match=r"000000.vec is missing"):
        len(col)
    (folder / "documents.sqlite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(nf.CorruptCollection, match=r"documents\.sqlite"):
        nf.open(folder)
    (folder / "documents.sqlite").unlink()
    with pytest.raises(nf.CorruptCollection, match=r"documents\.sqlite is missing"):
        nf.open(folder)


def test_the_lexical_index_is_derived(tmp_path, encoder):
    import shutil

    folder = make(tmp_path / "a.nf", encoder)
    with nf.open(folder, encoder=encoder) as col:
        before = col.search("red", mode="lexical").to_dicts()
    (folder / "lexical" / "marker.json").write_text("{")
    with nf.open(folder, encoder=encoder) as col, pytest.raises(nf.CorruptCollection, match="nearfield repair"):
        col.search("red", mode="lexical")
    shutil.rmtree(folder / "lexical")
    with nf.open(folder, encoder=encoder) as col:
        assert col.search("red", mode="lexical").to_dicts() == before


def test_another_encoder_is_refused(tmp_path, encoder):
    folder = make(tmp_path / "a.nf", encoder)
    other = type(encoder)(32)
    with pytest.raises(nf.Conflict, match=r"another encoder.*hashing-64.*hashing-32.*dimension: .*64, the encoder 32"):
        nf.open(folder, encoder=other)
    other.name = "other"
    with pytest.raises(nf.Conflict, match="made with encoder='hashing', and encoder='other'"):
        nf.open(folder, encoder=other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "HSNW32"}, "index must be 'auto', 'exact', .* or a FAISS factory string, got 'HSNW32'"),
        ({"index": "IVF9999999999,Flat"}, "it may have 1 to 1,000,000 lists"),
        ({"index": "IVF16,Flat,RFlat"}, "leave out IDMap and Refine"),
        ({"index": "NSG16,Flat"}, "FAISS never finishes such a graph"),
        ({"index": 5}, "index must be 'auto'"),
        ({"index": "hnsw", "memory": 5}, "memory limits the index that 'auto' chooses"),
        ({"memory": -1}, "memory must be"),
        ({"recall": 0}, "recall must be a number in"),
        ({"recall": 1.1}, "recall must be"),
        ({"recall": True}, "recall must be"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(nf.InvalidInput, match=message):
        nf.open(tmp_path / "a.nf", **options)
    assert not (tmp_path / "a.nf").exists()


def test_settings_are_fixed_when_a_collection_is_made(tmp_path):
    nf.open(tmp_path / "a.nf", index="exact", recall=0.9).close()
    nf.open(tmp_path / "a.nf", index="exact", recall=0.9).close()
    with pytest.raises(nf.Conflict, match=r"made with recall=0.9, and recall=0.8"):
        nf.open(tmp_path / "a.nf", recall=0.8)


def test_a_closed_collection_says_so(col):
    fill(col)
    col.close()
    col.close()
    for call in (lambda: col.search("red"), lambda: col.add("x"), lambda: len(col)):
        with pytest.raises(nf.InvalidInput, match="closed; open it again"):
            call()


# -- processes and threads ---------------------------------------------------------------------------------------------

OTHER_WRITER = """
import sys
from nearfield.engine.local import LocalEngine
from pathlib import Path
try:
    LocalEngine(Path(sys.argv[1])).delete(["0"])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_second_process_may_read_but_not_write(tmp_path, encoder):
    folder = tmp_path / "a.nf"
    with nf.open(folder, encoder=encoder) as col:
        fill(col)
        written = subprocess.run(
            [sys.executable, "-c", OTHER_WRITER, str(folder)], capture_output=True, text=True, check=True
        )
        assert "Locked" in written.stdout
        assert "is being written by process" in written.stdout
        with nf.open(folder, encoder=encoder) as reader:
            assert reader.search("stones", k=1).doc_ids == ["5"]
            col.add({"id": "late", "text": "late stones"})
            assert "late" in reader
            assert set(reader.search("stones", k=2, mode="lexical").doc_ids) == {"5", "late"}
    written = subprocess.run(
        [sys.executable, "-c", OTHER_WRITER, str(folder)], capture_output=True, text=True, check=True
    )
    assert written.stdout == ""
    with nf.open(folder, encoder=encoder) as col:
        assert "0" not in col


def test_a_view_keeps_its_state_while_others_write(col):
    fill(col)
    iteration = iter(col)
    first = next(iteration)
    col.delete(["3", "4"])
    col.add("something new")
    assert [first.text, *(document.text for document in iteration)] == TEXTS
    assert len(col) == 5


def test_readers_in_threads_see_whole_batches_while_one_writes(col):
    batches, errors, done = 30, [], threading.Event()

    def read():
        try:
            while not done.is_set():
                for mode in ("semantic", "lexical", "hybrid"):
                    hits = col.search("common word", k=1000, mode=mode)
                    versions = [hit.metadata["version"] for hit in hits]
                    if versions and (len(versions) != 5 or len(set(versions)) != 1):
                        errors.append((mode, versions))
        except Exception as error:  # a thread's error must reach the test
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    col.add([{"id": i, "text": f"common word {i}", "version": -1} for i in range(5)])
    for reader in readers:
        reader.start()
    for version in range(batches):
        col.upsert([{"id": i, "text": f"common word {i}", "version": version} for i in range(5)])
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert [document.metadata["version"] for document in col] == [batches - 1] * 5


def test_the_database_is_plain_sqlite(tmp_path, encoder):
    folder = make(tmp_path / "a.nf", encoder)
    connection = sqlite3.connect(folder / "documents.sqlite")
    assert connection.execute("SELECT count(*) FROM documents JOIN texts USING (key)").fetchone() == (6,)
    connection.close()


def test_a_full_disk_refuses_the_batch_and_leaves_the_rest(col, monkeypatch):
    import errno

    from nearfield.engine.local import segments

    fill(col)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segments.os, "fsync", full)
        with pytest.raises(
            nf.NearfieldError, match=r"writing to .*col\.nf failed: .*No space left.*nothing was changed"
        ):
            col.add("does not fit")
    assert len(col) == 6
    assert col.add("fits again") == ["6"]
    assert col.search("fits", k=1, mode="lexical").doc_ids == ["6"]
    assert col.search("fits again", k=1, mode="semantic").doc_ids == ["6"]


def test_closing_while_another_thread_reads_leaves_no_connection_open(col):
    fill(col)
    iteration = iter(col)
    next(iteration)
    col.close()
    assert len(list(iteration)) == 5  # what it had begun to read, it reads to the end
    assert col._engine._database._idle == []


# -- what was found by trying to break it ------------------------------------------------------------------------------


def test_a_collection_without_its_manifest_is_never_made_anew(tmp_path, encoder):
    folder = make(tmp_path / "a.nf", encoder)
    (folder / "manifest.json").unlink()
    with pytest.raises(nf.CorruptCollection, match=r"holds documents, but the manifest\.json beside it is missing"):
        nf.open(folder, encoder=encoder)
    (folder / "manifest.json").write_text('{"format": "nearfield", "version": 1}')
    with nf.open(folder, encoder=encoder) as col:
        assert len(col) == 6


def test_a_creation_that_was_cut_off_begins_again(tmp_path, encoder):
    folder = tmp_path / "a.nf"
    nf.open(folder, encoder=encoder).close()
    (folder / "manifest.json").unlink()
    with nf.open(folder, encoder=encoder) as col:
        assert fill(col) == ["0", "1", "2", "3", "4", "5"]


def test_two_that_create_the_same_collection_share_it(tmp_path, encoder, monkeypatch):
    from nearfield.engine.local import layout, store

    folder, other = tmp_path / "a.nf", []
    check = layout.read_manifest

    def check_and_be_overtaken(where):
        there = check(where)
        if there is None and not other:
            other.append(True)  # between the check and the lock, another process makes the collection and writes to it
            with nf.open(folder, encoder=encoder) as first:
                fill(first)
        return there

    monkeypatch.setattr(store.files, "read_manifest", check_and_be_overtaken)
    with nf.open(folder, encoder=encoder) as col:
        assert len(col) == 6


def test_a_relative_path_stays_where_it_was(tmp_path, encoder, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    with nf.open("r.nf", encoder=encoder) as col:
        col.add("first")
        monkeypatch.chdir(tmp_path / "two")
        col.add("second")
        assert len(col) == 2
    assert list((tmp_path / "two").iterdir()) == []


def test_an_index_that_is_newer_than_a_restored_database_is_made_anew(tmp_path, encoder):
    import shutil

    folder = make(tmp_path / "a.nf", encoder)
    backup = tmp_path / "backup"
    shutil.copytree(folder, backup)
    with nf.open(folder, encoder=encoder) as col:
        col.add([f"newer {i}" for i in range(5)])
    for part in ("documents.sqlite", "vectors"):
        whole = folder / part
        shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
        (shutil.copytree if (backup / part).is_dir() else shutil.copy)(backup / part, whole)
    with nf.open(folder, encoder=encoder) as col:
        assert col.add([f"zebra {i}" for i in range(5)]) == ["6", "7", "8", "9", "10"]
        assert set(col.search("zebra", mode="lexical").doc_ids) == {"6", "7", "8", "9", "10"}
        assert col.search("newer", mode="lexical").doc_ids == []


def test_an_index_without_its_files_is_made_anew(tmp_path, encoder):
    folder = make(tmp_path / "a.nf", encoder)
    import shutil

    (index,) = (child for child in (folder / "lexical").iterdir() if child.is_dir())
    shutil.rmtree(index)
    with nf.open(folder, encoder=encoder) as col:
        assert set(col.search("red", mode="lexical").doc_ids) == {"0", "2", "3"}


def test_an_encoder_that_returns_too_few_vectors_is_refused(tmp_path, encoder):
    encode = encoder.encode_documents
    encoder.encode_documents = lambda texts: encode(texts)[:-1]
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        with pytest.raises(nf.InvalidInput, match=r"encoder.s vectors must be .*shape \(3, 64\), got shape \(2, 64\)"):
            col.add(["a", "b", "c"])
        assert len(col) == 0


def test_metadata_changed_after_the_document_was_made_is_checked_again(col):
    document = nf.Document("x", doc_id="m")
    document.metadata["bad"] = float("nan")
    with pytest.raises(nf.InvalidInput, match=r"document 0.*nan"):
        col.add(document)
    assert len(col) == 0


def test_states_of_several_threads_are_one_line(col):
    col.add([{"id": i, "text": f"text {i}", "n": i} for i in range(50)])
    errors, start = [], threading.Barrier(9)

    def read():
        start.wait()
        try:
            for _ in range(20):
                assert all(int(name) < 40 for name in col.doc_ids({"n": {"$lt": 40}}))
        except Exception as error:  # a thread's error must reach the test
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    start.wait()
    for i in range(20):
        col.upsert({"id": i, "text": "changed", "n": i})
        col.delete(str(49 - i))
    for thread in threads:
        thread.join()
    assert errors == []


def test_characters_of_several_forms_are_one_word(col):
    col.add(["cafe\u0301 au lait", "ﬁne"])
    assert col.search("caf\u00e9", mode="lexical").doc_ids == ["0"]
    assert col.search("fine", mode="lexical").doc_ids == ["1"]


def test_what_is_no_doc_id_is_in_no_collection(col):
    fill(col)
    assert np.int64(3) in col
    assert col.get(np.int64(3)).text == TEXTS[3]
    assert not any(odd in col for odd in ("", True, 1.5, None, "\ud800", 10**5000))


@pytest.mark.parametrize("number", [10**400, -(10**5000)], ids=["400 digits", "5000 digits"])
def test_integers_beyond_all_readers_are_refused(col, number):
    with pytest.raises(nf.InvalidInput, match="must be an integer of at most 1024 bits"):
        col.add({"text": "x", "n": number})
    with pytest.raises(nf.InvalidInput, match="at most 1024 bits"):
        col.search("x", where={"n": number})


def test_a_vector_that_was_damaged_is_no_answer(tmp_path, encoder):
    folder = make(tmp_path / "a.nf", encoder)
    vectors = folder / "vectors" / "000000.vec"
    content = bytearray(vectors.read_bytes())
    content[64 : 64 + 256] = b"\xff" * 256
    vectors.write_bytes(content)
    with nf.open(folder, encoder=encoder) as col, pytest.raises(nf.CorruptCollection, match="not finite"):
        col.search("red", mode="semantic")


@pytest.mark.parametrize("size", [0, 4096])
def test_a_database_cut_short_is_corrupt(tmp_path, encoder, size):
    folder = make(tmp_path / "a.nf", encoder)
    database = folder / "documents.sqlite"
    database.write_bytes(database.read_bytes()[:size])
    with pytest.raises(nf.CorruptCollection, match=r"documents\.sqlite can't be read"):
        nf.open(folder, encoder=encoder)


def test_a_writer_that_waited_while_the_collection_closed_is_told(col):
    fill(col)
    engine, outcome = col._engine, []

    def add():
        try:
            engine.delete(["0"])
        except nf.InvalidInput as error:
            outcome.append(str(error))

    with engine._writing:
        thread = threading.Thread(target=add)
        thread.start()
        engine.close()  # takes the same lock, which this thread holds already
    thread.join()
    assert "closed; open it again" in outcome[0]


def test_best_names_the_passage_that_the_winning_like_matches(tmp_path, encoder):
    encoder.max_tokens = 6
    with nf.open(tmp_path / "a.nf", encoder=encoder) as col:
        col.add([{"id": "cats", "text": "Cats purr."}, {"id": "qubits", "text": "Qubits entangle."}])
        col.add({"id": "both", "text": "Kittens run and jump a lot. Qubits entangle."})
        hit = col.recommend(liked=["cats", "qubits"], k=1, strategy="best")[0]
        assert (hit.doc_id, hit.passage.text) == ("both", "Qubits entangle.")


def test_a_misspelt_encoder_leaves_no_collection(tmp_path):
    with pytest.raises(nf.MissingDependency, match="nosuch"):
        nf.open(tmp_path / "a.nf", encoder="nosuch")
    assert not (tmp_path / "a.nf").exists()


def test_a_folder_of_a_model_is_found_from_everywhere(tmp_path, monkeypatch):
    from pathlib import Path

    models = Path(__file__).parents[1] / "formats" / "golden_vectors" / "models"
    monkeypatch.chdir(models)
    with nf.open(tmp_path / "a.nf", encoder="mean") as col:
        col.add("the river")
        assert col.stats().encoder == str(models / "mean")
    monkeypatch.chdir(tmp_path)
    for again in (None, models / "mean", str(models / "mean")):
        with nf.open("a.nf", encoder=again) as col:
            assert len(col.search("river", mode="semantic")) == 1


@pytest.mark.parametrize("location", ["~nosuchuser/x.nf", "x" * 300])
def test_a_path_that_no_system_takes(location):
    with pytest.raises(nf.InvalidInput, match=r"is no path|a collection can.t be opened at|can.t make a collection"):
        nf.open(location)
