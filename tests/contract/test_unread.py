"""Hits of a vector, whose documents are read when somebody looks: what is read, when, and what may come between."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import nearfield as nf
from forking import fork_telling
from nearfield.hits import Passage
from nearfield.search import unread
from nearfield.stages import listen

QUERY = np.array([1.0, 0.2, 0.0, 0.0], np.float32)
VECTORS = np.array([[1, 0, 0, 0], [0.9, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 1]], np.float32)
ORDER = ["0", "1", "2", "3", "4"]


def document(name, text):
    return {"doc_id": name, "title": f"title {name}", "text": text, "place": int(name)}


@pytest.fixture
def col(tmp_path):
    with nf.open(tmp_path / "col.nf") as collection:
        collection.add([document(name, f"text {name}") for name in ORDER], vectors=VECTORS)
    # Opened again, so that others may write until this one does.
    with nf.open(tmp_path / "col.nf") as collection:
        yield collection


def search(col, **options):
    return col.search(QUERY, k=5, mode="semantic", **options)


def reads(act):
    """Return how often documents were read by an action, and what it returned."""
    heard = []
    with listen(lambda name, _: heard.append(name)):
        answer = act()
    return heard.count("read"), answer


def whole(hits):
    """Return what the hits of `col` are, made by hand from their doc_ids and scores."""
    return nf.Hits(
        [
            nf.Hit(
                hit.doc_id,
                hit.score,
                f"text {hit.doc_id}",
                f"title {hit.doc_id}",
                {"place": int(hit.doc_id)},
                Passage(f"text {hit.doc_id}", 0, 6),
            )
            for hit in hits
        ]
    )


# -- what is read, and when --------------------------------------------------------------------------------------------


def test_doc_ids_and_scores_are_there_and_nothing_is_read(col):
    def look():
        hits = search(col)
        return hits.doc_ids, hits.scores, [hit.doc_id for hit in hits[1:3]], len(hits), bool(hits)

    count, (doc_ids, scores, some, length, there) = reads(look)
    assert count == 0
    assert doc_ids == ORDER
    units = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, units @ QUERY / np.linalg.norm(QUERY), atol=1e-6)
    assert (some, length, there) == (["1", "2"], 5, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", "text 2"),
        ("title", "title 2"),
        ("metadata", {"place": 2}),
        ("passage", Passage("text 2", 0, 6)),
        ("explanation", None),
    ],
)
def test_the_first_look_reads_the_documents_of_all_hits_at_once(col, name, value):
    hits = search(col)
    assert reads(lambda: getattr(hits[2], name)) == (1, value)
    assert reads(lambda: [(hit.text, hit.title, hit.metadata, hit.passage) for hit in hits])[0] == 0
    assert hits[2].metadata is hits[2].metadata


def test_unread_hits_are_equal_to_whole_ones(col):
    assert search(col) == whole(search(col))
    assert whole(search(col)) == search(col)
    assert search(col)[0] == whole(search(col))[0]
    assert search(col)[:2] == whole(search(col))[:2]
    assert search(col) == search(col)
    assert search(col) != search(col)[:4]
    assert repr(search(col)) == repr(whole(search(col)))
    assert repr(search(col)[1]) == repr(whole(search(col))[1])
    assert search(col).to_dicts() == whole(search(col)).to_dicts()
    assert search(col)[3].to_dict() == whole(search(col))[3].to_dict()


def test_a_frame_of_unread_hits_is_that_of_whole_ones(col):
    pytest.importorskip("pandas")
    assert search(col).to_pandas().equals(whole(search(col)).to_pandas())


@pytest.mark.parametrize(
    "transfer",
    [
        lambda thing: pickle.loads(pickle.dumps(thing)),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_what_is_pickled_and_copied_is_read(col, transfer):
    expected = whole(search(col))
    count, copied = reads(lambda: transfer(search(col)[1]))
    assert (count, copied) == (1, expected[1])
    others = transfer(search(col))
    col.delete(ORDER)
    assert others == expected


def test_a_changed_copy_of_a_hit_is_read(col):
    assert dataclasses.replace(search(col)[0], score=0.5).text == "text 0"


def test_a_hit_is_still_frozen_and_has_no_other_fields(col):
    hit = search(col)[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        hit.text = "another"
    with pytest.raises(AttributeError, match="'Hit' object has no attribute 'txt'"):
        _ = hit.txt
    assert not hasattr(hit, "__dict__")


def test_each_answer_of_a_matrix_is_read_for_itself(col):
    near, far = col.search(np.stack((QUERY, -QUERY)), k=2, mode="semantic")
    assert reads(lambda: [hit.text for hit in near]) == (1, ["text 0", "text 1"])
    assert reads(lambda: [hit.text for hit in far]) == (1, ["text 4", "text 3"])


def test_an_explanation_is_that_of_the_search(col):
    (hit, _) = col.search(QUERY, k=2, mode="semantic", explain=True)
    assert hit.explanation.mode == "semantic"
    assert hit.explanation.legs["semantic"].rank == 1
    assert hit.explanation.legs["semantic"].score == hit.score


def test_filters_and_diversity_leave_documents_unread(col):
    count, hits = reads(lambda: search(col, where={"place": {"$gte": 2}}, diversity=0.5))
    assert count == 0
    assert sorted(hit.text for hit in hits) == ["text 2", "text 3", "text 4"]


def test_the_passage_that_matched_is_found_later_too(tmp_path, encoder):
    encoder.max_tokens = 4
    with nf.open(tmp_path / "long.nf", encoder=encoder) as col:
        col.add({"doc_id": "long", "text": "Red apples are sweet. Blue skies are wide. Green pears are sour."})
        vector = encoder.encode_queries(["Blue skies are wide."])[0]
        (late,) = col.search(vector, k=1, mode="semantic")
        (early,) = col.search("Blue skies are wide.", k=1, mode="semantic")
    assert late.passage.text == "Blue skies are wide."
    assert late == early


def test_a_text_is_answered_with_its_documents(tmp_path, encoder):
    with nf.open(tmp_path / "words.nf", encoder=encoder) as col:
        col.add(["red apples", "green pears"])
        count, hits = reads(lambda: col.search("red", k=1))
        assert count == 1
        assert reads(lambda: hits[0].text) == (0, "red apples")


# -- what the search saw, and nothing newer ----------------------------------------------------------------------------


def delete_all(col):
    assert col.delete(ORDER) == 5


def delete_some(col):
    assert col.delete(where={"place": {"$gte": 0}}) == 5


def replace(col):
    col.upsert([document(name, f"newer {name}") for name in ORDER], vectors=VECTORS)


def ingest(col):
    col.ingest([document(name, f"newer {name}") for name in ORDER], vectors=VECTORS, replace=True)


def close(col):
    col.close()


def delete_and_compact(col):
    col.delete("4")
    col.compact()


CHANGES = [delete_all, delete_some, replace, ingest, close, delete_and_compact]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_hits_in_use_are_read_before_this_collection_changes(col, change):
    hits = search(col)
    first, rest = hits[0], hits[1:]
    expected = whole(hits)
    del hits
    change(col)
    assert reads(lambda: first) == (0, expected[0])
    assert reads(lambda: rest) == (0, expected[1:])


def test_hits_are_read_before_an_import_replaces_documents(col, tmp_path):
    pytest.importorskip("pyarrow")
    with nf.open(tmp_path / "other.nf") as other:
        other.add([document(name, f"newer {name}") for name in ORDER], vectors=VECTORS)
        other.export_parquet(tmp_path / "newer.parquet")
    hits = search(col)
    expected = whole(hits)
    col.import_parquet(tmp_path / "newer.parquet", replace=True)
    assert hits == expected
    assert search(col)[0].text == "newer 0"


def test_hits_are_read_before_a_migration(tmp_path, encoder):
    with nf.open(tmp_path / "old.nf", encoder=encoder) as col:
        col.add(["red apples", "green pears"])
        hits = col.search(encoder.encode_queries(["red"])[0], k=1, mode="semantic")
        col.migrate(type(encoder)(32), compare=False)
        assert reads(lambda: hits[0].text) == (0, "red apples")


def test_adding_documents_reads_nothing(col):
    hits = search(col)
    assert reads(lambda: col.add({"doc_id": "5", "text": "five"}, vectors=VECTORS[:1]))[0] == 0
    assert reads(lambda: hits[4].text) == (1, "text 4")


def test_compaction_leaves_hits_unread_and_right(col):
    col.delete("3")
    hits = search(col)
    assert reads(col.compact)[0] == 0
    assert reads(lambda: [hit.text for hit in hits]) == (1, ["text 0", "text 1", "text 2", "text 4"])


def test_hits_are_readable_after_their_collection_was_left(tmp_path):
    with nf.open(tmp_path / "left.nf") as col:
        col.add([document(name, f"text {name}") for name in ORDER], vectors=VECTORS)
        hits = search(col)
    assert hits == whole(hits)


def test_hits_that_nobody_holds_are_not_read(col):
    search(col)
    kept = search(col)
    gc.collect()
    assert reads(lambda: col.delete("0"))[0] == 1
    assert kept[0].text == "text 0"


def test_a_hit_that_was_read_is_not_read_again_before_a_deletion(col):
    hits = search(col)
    assert hits[0].text == "text 0"
    assert reads(lambda: col.delete("0"))[0] == 0


def test_while_documents_are_deleted_answers_are_read_at_once(col):
    answers = []

    def documents():
        for name in ORDER:
            answers.append(reads(lambda: search(col)))
            yield document(name, f"newer {name}")

    col.ingest(documents(), vectors=VECTORS, replace=True, batch_size=1)
    assert [count for count, _ in answers] == [1] * 5
    assert [answers[i][1][0].text for i in (0, 2)] == ["text 0", "newer 0"]
    assert reads(lambda: search(col))[0] == 0


def test_beyond_a_number_of_unread_answers_they_are_read_at_once(col, monkeypatch):
    monkeypatch.setattr(unread, "MOST_UNREAD", 3)
    kept = [reads(lambda: search(col)) for _ in range(5)]
    assert [count for count, _ in kept] == [0, 0, 0, 1, 1]
    assert kept[0][1][0].text == "text 0"  # so that there is room for another
    assert [reads(lambda: search(col))[0]] == [0]
    assert reads(lambda: col.delete("0"))[0] == 2


# -- others who write --------------------------------------------------------------------------------------------------


def change_elsewhere(path, change):
    code = f"import nearfield as nf, numpy as np\nwith nf.open({str(path)!r}) as col: {change}"
    subprocess.run([sys.executable, "-c", code], check=True)


DELETE = "col.delete('1')"
REPLACE = "col.upsert({'doc_id': '1', 'text': 'newer'}, vectors=np.array([[0.9, 0.5, 0, 0]]))"
ADD = "col.add({'doc_id': '9', 'text': 'nine'}, vectors=np.array([[0, 0, 1, 0]]))"


@pytest.mark.parametrize("change", [DELETE, REPLACE], ids=["delete", "replace"])
def test_a_document_that_another_process_took_is_told(col, tmp_path, change):
    hits, later = search(col), search(col, where={"place": {"$ne": 1}})
    change_elsewhere(tmp_path / "col.nf", change)
    with pytest.raises(nf.NotFound, match=r"document '1' was deleted or replaced by another process .* search again"):
        _ = hits[0].text
    assert (hits.doc_ids, hits[1].doc_id) == (ORDER, "1")
    assert [hit.text for hit in later] == ["text 0", "text 2", "text 3", "text 4"]
    col.close()
    with pytest.raises(nf.NotFound, match="document '1' was deleted or replaced by another process"):
        _ = hits[0].text


def test_what_another_process_leaves_alone_is_read(col, tmp_path):
    hits = search(col)
    change_elsewhere(tmp_path / "col.nf", ADD)
    assert reads(lambda: hits == whole(hits)) == (1, True)


def test_a_write_of_another_process_is_seen_by_the_next_search(col, tmp_path):
    assert search(col).doc_ids == ORDER
    change_elsewhere(tmp_path / "col.nf", DELETE)
    assert search(col).doc_ids == ["0", "2", "3", "4"]
    change_elsewhere(tmp_path / "col.nf", ADD)
    assert search(col).doc_ids == ["0", "2", "3", "9", "4"]


def test_a_failure_before_a_write_comes_when_the_hits_are_looked_at(col, tmp_path):
    hits = search(col)
    with nf.open(tmp_path / "col.nf") as other:
        other.delete("1")
    assert col.delete("2") == 1
    with pytest.raises(nf.NotFound, match="document '1' was deleted"):
        _ = hits[4].text


def test_a_migration_elsewhere_is_told(tmp_path, encoder):
    with nf.open(tmp_path / "old.nf", encoder=encoder) as col:
        col.add(["red apples", "green pears"])
    with nf.open(tmp_path / "old.nf", encoder=encoder) as col:
        hits = col.search(encoder.encode_queries(["red"])[0], k=1, mode="semantic")
        with nf.open(tmp_path / "old.nf", encoder=encoder) as other:
            other.migrate(type(encoder)(32), compare=False)
        with pytest.raises(nf.Conflict, match="was migrated to another encoder by another process"):
            _ = hits[0].text


def test_a_migration_elsewhere_of_given_vectors_is_told(tmp_path, encoder):
    encoder.dimension = 4
    with nf.open(tmp_path / "given.nf", encoder=encoder) as col:
        col.add(["red apples", "green pears"], vectors=VECTORS[:2])
    with nf.open(tmp_path / "given.nf", encoder=encoder) as col:
        hits = search(col)
        with nf.open(tmp_path / "given.nf", encoder=encoder) as other:
            other.migrate(type(encoder)(32), compare=False, replace_given=True)
        with pytest.raises(nf.Conflict, match="was migrated"):
            _ = hits[0].text


def test_the_first_encoded_documents_beside_given_vectors_are_no_migration(tmp_path, encoder):
    encoder.dimension = 4
    with nf.open(tmp_path / "given.nf", encoder=encoder) as col:
        col.add(["red apples", "green pears"], vectors=VECTORS[:2])
        hits = search(col)
        col.add("blue sky")
        assert reads(lambda: [hit.text for hit in hits]) == (1, ["red apples", "green pears"])


def test_a_fork_reads_what_its_parent_searched(col):
    hits = search(col)
    assert fork_telling(lambda tell: [tell(hit.text) for hit in hits]) == (0, [f"text {name}" for name in ORDER])
    assert hits == whole(hits)


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_that_look_at_once_see_the_same(col):
    for _ in range(50):
        hits = search(col)
        expected = whole(hits)
        together = threading.Barrier(4)

        def look(hits=hits, together=together):
            together.wait()
            return list(hits)

        with ThreadPoolExecutor(4) as pool:
            seen = [future.result() for future in [pool.submit(look) for _ in range(4)]]
        assert seen == [expected.hits] * 4


def test_hits_of_other_threads_show_what_they_saw_while_one_replaces_everything(col):
    ended = threading.Event()

    def keep_searching():
        answers = []
        while not ended.is_set():
            answers.append(search(col))
            if len(answers) > 20:
                answers.pop(0)
        return [{hit.text.split()[0] for hit in hits} for hits in answers]

    with ThreadPoolExecutor(3) as pool:
        searching = [pool.submit(keep_searching) for _ in range(3)]
        for round_ in range(20):
            col.upsert([document(name, f"round{round_} {name}") for name in ORDER], vectors=VECTORS)
        ended.set()
        for future in searching:
            # Of one state each, and none is lost.
            assert all(len(words) == 1 for words in future.result())


# -- beside it ---------------------------------------------------------------------------------------------------------


def test_a_vector_of_another_length_is_refused_also_when_all_documents_are_gone(col):
    wrong = np.ones(7, np.float32)
    with pytest.raises(nf.InvalidInput, match=r"shape \(n, 4\), got shape \(1, 7\)"):
        col.search(wrong, mode="semantic")
    col.delete(ORDER)
    col.compact()
    with pytest.raises(nf.InvalidInput, match=r"shape \(n, 4\), got shape \(1, 7\)"):
        col.search(wrong, mode="semantic")
    assert search(col) == nf.Hits()
    assert col.search(np.stack((QUERY, QUERY)), mode="semantic") == [nf.Hits(), nf.Hits()]


def test_a_collection_without_vectors_finds_nothing(tmp_path):
    with nf.open(tmp_path / "empty.nf") as col:
        assert col.search(np.ones(7, np.float32), mode="semantic") == nf.Hits()
        assert col.search(np.ones((2, 7), np.float32), mode="semantic") == [nf.Hits(), nf.Hits()]
        assert col.search(np.ones((0, 7), np.float32), mode="semantic") == []


def test_doc_ids_and_scores_are_copies_and_hits_are_made_once(col):
    hits = search(col)
    expected = list(hits.doc_ids), list(hits.scores)
    hits.doc_ids.clear()
    hits.scores.clear()
    assert (hits.doc_ids, hits.scores) == expected
    assert len(hits) == len(expected[0])
    assert hits[0] is hits.hits[0] is next(iter(hits))
    hits.doc_ids.clear()
    assert (hits.doc_ids, hits.scores) == expected == ([hit.doc_id for hit in hits], [hit.score for hit in hits])


@pytest.mark.parametrize("options", [{"k": True}, {"k": 1.0}, {"mode": ["semantic"]}, {"k": []}, {"diversity": True}])
def test_options_that_equal_good_ones_are_still_refused(col, options):
    good = {"k": 1, "mode": "semantic", "diversity": 1}
    assert len(col.search(QUERY, **good)) == 1
    with pytest.raises(nf.InvalidInput):
        col.search(QUERY, **good | options)
    assert len(col.search(QUERY, **good)) == 1
