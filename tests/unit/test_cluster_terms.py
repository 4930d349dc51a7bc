from __future__ import annotations

import numpy as np

from nearfield.cluster.terms import describe
from nearfield.cluster.words import STOP_WORDS, root, singular, tokens


def test_terms_follow_class_based_tf_idf() -> None:
    texts = ["apple apple apple pear common", "apple plum common", "stone common", "stone sand common"]
    # Weights by hand: apple (1 + ln 3) + 1, pear 1, plum 1 in cluster 0; stone 2, sand 1 in cluster 1. "common" is as
    # frequent outside as inside, so no term. Equal weights in alphabetic order.
    assert describe(texts, np.array([0, 0, 1, 1]), 2) == [["apple", "pear", "plum"], ["stone", "sand"]]


def test_one_long_document_does_not_speak_for_its_cluster() -> None:
    texts = ["river, " * 3 + "boat"] * 4 + ["boat, " + "zebra " * 500] + ["desert camel"] * 5
    assert describe(texts, np.array([0] * 5 + [1] * 5), 2)[0] == ["river", "boat"]


def test_no_stop_words_in_any_terms() -> None:
    texts = [
        "The cat isn't on the mat, and what it's doing there can't be said",
        "We use the dogs’ very own houses",
    ] * 3
    terms = describe(texts, np.array([0, 1] * 3), 2)
    assert {word for found in terms for term in found for word in term.split()} == {"cat", "mat", "dogs", "houses"}
    assert not STOP_WORDS & {word for found in terms for term in found for word in term.split()}


def test_function_words_of_other_languages_are_left_out() -> None:
    french = ["le chat dort dans la maison", "le chien court dans la rue"]
    terms = describe(french * 4, np.array([0, 1] * 4), 2)
    assert terms == [["chat dort", "maison"], ["chien court", "rue"]]


def test_singular_and_plural_count_together_and_are_named_once() -> None:
    texts = ["query planner", "queries", "queries", "vectors", "vector", "vector"]
    assert describe(texts, np.array([0, 0, 0, 1, 1, 1]), 2) == [["queries", "planner"], ["vector"]]


def test_one_idea_is_named_once() -> None:
    texts = ["encode", "encoding", "encoder", "decimal"]
    found = describe([*texts, "sea"], np.array([0, 0, 0, 0, 1]), 2)[0]
    assert found == ["decimal", "encode"]


def test_a_phrase_takes_the_place_of_its_words() -> None:
    texts = ["prime minister spoke", "the prime minister voted", "minister resigned"] * 2 + ["sea"] * 6
    found = describe(texts, np.array([0] * 6 + [1] * 6), 2)[0]
    assert found[0] == "prime minister"
    assert "prime" not in found
    assert "minister" not in found


def test_phrases_do_not_cross_punctuation_or_stop_words() -> None:
    texts = ["sorting. networks", "sorting of networks"] * 3 + ["tea"] * 6
    found = describe(texts, np.array([0] * 6 + [1] * 6), 2)[0]
    assert sorted(found) == ["networks", "sorting"]


def test_documents_outside_every_cluster_and_texts_without_words() -> None:
    assert describe(["noise", "signal"], np.array([-1, 0]), 1) == [["signal"]]
    assert describe(["the of and", "42 !"], np.array([0, 1]), 2) == [[], []]
    assert describe(["", "word"], np.array([0, 1]), 2) == [[], ["word"]]


def test_at_most_count_terms() -> None:
    text = " , ".join(f"word{chr(97 + i)}x" for i in range(20))
    assert len(describe([text], np.array([0]), 1)[0]) == 10
    assert len(describe([text], np.array([0]), 1, count=3)[0]) == 3


def test_tokens_keep_identifiers_and_scripts_without_blanks() -> None:
    assert tokens("os.path.read_csv(__init__) utf8") == ["os", "", "path", "", "read_csv", "", "init", "", "utf8"]
    assert [token for token in tokens("$13bn café Straße") if token] == ["café", "straße"]
    assert [token for token in tokens("機械学習 модели") if token] == ["機械", "械学", "学習", "модели"]


def test_singular_and_root() -> None:
    assert [singular(word) for word in ["files", "libraries", "process", "status", "bus", "os"]] == [
        "file",
        "library",
        "process",
        "status",
        "bus",
        "os",
    ]
    assert len({root(word) for word in ["planning", "planned", "planner"]}) == 1
    assert root("station") != root("statistics")
