"""The commands end to end, on real text and with the real encoder: the guide's eight sentences."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from nearfield.cli import main

SENTENCES = [
    "Learn Python for data science.",
    "Neural networks for image classification.",
    "Building recommendation systems with embeddings.",
    "Introduction to clustering and k-means.",
    "Deploying machine learning models to production.",
    "Semantic search using vector databases.",
    "Collaborative filtering for movie recommendations.",
    "Topic modeling and document clustering.",
]
LEVELS = ["beginner", "advanced", "advanced", "beginner", "advanced", "advanced", "beginner", "beginner"]
ROWS = [{"id": n, "text": text, "level": LEVELS[n], "year": 2020 + n} for n, text in enumerate(SENTENCES)]


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        return json.loads(self.err)["error"]

    def hits(self):
        return [(hit["doc_id"], round(hit["score"], 2)) for hit in self.json]


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


def made(folder: Path, rows=ROWS) -> Path:
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["add", str(folder / "made.nf"), str(source)]) == 0
    return folder / "made.nf"


@pytest.fixture(scope="module")
def guide(tmp_path_factory) -> Path:
    """A collection that tests only read."""
    return made(tmp_path_factory.mktemp("guide"))


# -- search and recommendation: the guide's answers -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("How to build a recommender?", [("2", 0.6456), ("6", 0.5925), ("7", 0.2876)]),
        ("embedding-based systems", [("2", 0.5454), ("5", 0.3181), ("6", 0.3017)]),
        ("I want to learn about clustering", [("3", 0.5820), ("7", 0.4681), ("0", 0.3532)]),
    ],
)
def test_search(run, guide, query, expected):
    found = run("search", guide, *query.split(), "--mode", "semantic", "--k", 3, "--json")
    assert (found.code, found.err) == (0, "")
    assert [hit["doc_id"] for hit in found.json] == [doc_id for doc_id, _ in expected]
    assert [hit["score"] for hit in found.json] == pytest.approx([score for _, score in expected], abs=0.01)
    first = int(expected[0][0])
    assert {name: found.json[0][name] for name in ("text", "title", "metadata", "passage")} == {
        "text": SENTENCES[first],
        "title": "",
        "metadata": {"level": LEVELS[first], "year": 2020 + first},
        "passage": {"text": SENTENCES[first], "start": 0, "end": len(SENTENCES[first])},
    }


def test_search_passes_every_option_on(run, guide):
    options = {
        "k": 4,
        "mode": "hybrid",
        "where": {"year": {"$gte": 2022}},
        "semantic_weight": 0.3,
        "fusion": "reciprocal",
        "diversity": 0.4,
        "explain": True,
    }
    with nf.open(guide, create=False) as collection:
        expected = collection.search("clustering documents", **options).to_dicts()
    written = {**options, "where": json.dumps(options["where"])}
    del written["explain"]
    words = [word for name, value in written.items() for word in (f"--{name.replace('_', '-')}", value)]
    found = run("search", guide, "clustering documents", *words, "--explain", "--json").json
    assert [hit["doc_id"] for hit in found] == [hit["doc_id"] for hit in expected]
    assert [hit["score"] for hit in found] == pytest.approx([hit["score"] for hit in expected], abs=1e-6)
    assert found[0]["explanation"].keys() == {"mode", "fusion", "legs", "plan"}
    assert {hit["metadata"]["year"] >= 2022 for hit in found} == {True}


def test_a_lexical_search_finds_the_word_and_no_more(run, guide):
    found = run("search", guide, "python", "--mode", "lexical", "--json")
    assert [hit["doc_id"] for hit in found.json] == ["0"]


def test_similar(run, guide):
    found = run("similar", guide, 2, "--k", 3, "--json")
    assert [hit["doc_id"] for hit in found.json] == ["6", "7", "5"]
    assert [hit["score"] for hit in found.json] == pytest.approx([0.5698, 0.2637, 0.2162], abs=0.01)
    found = run("similar", guide, 2, "--where", '{"level": "advanced"}', "--diversity", 0, "-k", 1, "--json")
    assert [hit["doc_id"] for hit in found.json] == ["5"]


def test_recommend_from_tastes_and_from_a_wish(run, guide):
    found = run("recommend", guide, "--liked", 0, "--liked", 3, "--k", 3, "--json")
    assert [hit["doc_id"] for hit in found.json] == ["7", "5", "6"]
    assert [hit["score"] for hit in found.json] == pytest.approx([0.4165, 0.3475, 0.2503], abs=0.01)
    found = run("recommend", guide, "--query", "I want to learn about clustering", "-k", 2, "--json")
    assert [hit["doc_id"] for hit in found.json] == ["3", "7"]
    with nf.open(guide, create=False) as collection:
        expected = collection.recommend(liked=["0", "3"], disliked=["7"], strategy="best", diversity=0.2, k=4)
    words = ["--liked", 0, "--liked", 3, "--disliked", 7, "--strategy", "best", "--diversity", 0.2, "--k", 4]
    assert [hit["doc_id"] for hit in run("recommend", guide, *words, "--json").json] == expected.doc_ids


def test_people_get_a_table(run, guide):
    found = run("search", guide, "How to build a recommender?", "--mode", "semantic", "-k", 2)
    lines = [" ".join(line.split()) for line in found.out.splitlines()]
    assert lines[0] == "# score doc_id document metadata"
    assert lines[2].startswith("1 0.64") or lines[2].startswith("1 0.65")
    assert lines[2].endswith(" 2 Building recommendation systems with embeddings. level=advanced")
    assert lines[3] == "year=2022"
    assert lines[4].endswith(" 6 Collaborative filtering for movie recommendations. level=beginner")


def test_an_explained_table_names_the_legs(run, guide):
    found = run("search", guide, "clustering", "-k", 1, "--explain").out
    assert "semantic: 0." in found
    assert "lexical: " in found
    assert "fused: " in found


def test_no_hit_is_said(run, guide):
    found = run("search", guide, "zebra", "--mode", "lexical")
    assert (found.code, found.out) == (0, "No document matches.\n")
    assert run("search", guide, "zebra", "--mode", "lexical", "--json").json == []


# -- cluster, evaluate, stats, get ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["kmeans", "ward", "average"])
def test_cluster(run, guide, method):
    with nf.open(guide, create=False) as collection:
        expected = collection.cluster(3, method, where={"year": {"$lt": 2027}}, seed=3).to_dict()
    words = ["--n-clusters", 3, "--method", method, "--seed", 3, "--where", '{"year": {"$lt": 2027}}', "--json"]
    assert run("cluster", guide, *words, "--labels").json == expected
    assert expected["labels"]["2"] == expected["labels"]["6"] != expected["labels"]["0"]
    del expected["labels"]
    assert run("cluster", guide, *words).json == expected


def test_cluster_passes_its_arguments_on(run, guide, monkeypatch):
    from nearfield.collection import Collection

    cluster = Collection.cluster
    calls = []

    def spied(self, *words, **options):
        calls.append((words, options))
        return cluster(self, *words, **options)

    monkeypatch.setattr(Collection, "cluster", spied)
    assert run("cluster", guide, "--n-clusters", 2, "--method", "average", "--seed", 7).code == 0
    assert run("cluster", guide).code == 0
    assert calls == [((2, "average"), {"where": None, "seed": 7}), ((None, "kmeans"), {"where": None, "seed": 0})]


def test_cluster_for_people_and_its_pictures(run, guide, tmp_path):
    words = ["--n-clusters", 2, "--method", "ward", "--labels", "--where", '{"year": {"$lt": 2026}}']
    drawn = ["--dendrogram", tmp_path / "tree.svg", "--plot", tmp_path / "map.png"]
    found = run("cluster", guide, *words, *drawn)
    assert (found.code, found.err) == (0, "")
    lines = [line.split() for line in found.out.splitlines()]
    assert lines[0] == ["label", "size", "terms", "representatives"]
    labels = lines.index(["label", "doc_id"])
    assert sorted(line[1] for line in lines[labels + 2 :] if line) == list("012345")
    assert (tmp_path / "tree.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate(run, guide, tmp_path):
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text(
        '{"_id": "a", "text": "How to build a recommender?"}\n{"_id": "b", "text": "learn about clustering"}\n'
    )
    qrels.write_text("query-id\tcorpus-id\tscore\na\t2\t1\nb\t0\t1\n")
    words = ["--queries", queries, "--qrels", qrels, "--mode", "semantic", "--k", 8]
    found = run("evaluate", guide, *words, "--measure", "P@1", "--measure", "R@8", "--per-query", "--json")
    assert (found.code, found.err) == (0, "")
    assert found.json["mean"] == {"P@1": 0.5, "R@8": 1.0}
    assert found.json["per_query"] == {"a": {"P@1": 1.0, "R@8": 1.0}, "b": {"P@1": 0.0, "R@8": 1.0}}
    one = run("evaluate", guide, *words[:-1], 1, "--measure", "R@8", "--json").json
    assert one["mean"] == {"R@8": 0.5}
    short = run("evaluate", guide, *words, "--json").json
    assert short["mean"].keys() == {"nDCG@10", "R@100", "MRR", "MAP"}
    assert "per_query" not in short
    table = run("evaluate", guide, *words, "--measure", "P@1", "--per-query").out
    assert "2 judged queries" in table
    assert ["b", "0.0000"] in [line.split() for line in table.splitlines()]


def test_stats(run, guide):
    found = run("stats", guide, "--json").json
    assert {name: found[name] for name in ("documents", "passages", "dead_passages", "dimension", "encoder")} == {
        "documents": 8,
        "passages": 8,
        "dead_passages": 0,
        "dimension": 384,
        "encoder": "all-MiniLM-L6-v2",
    }
    lines = [line.split() for line in run("stats", guide).out.splitlines()]
    assert ["documents", "8"] in lines
    assert ["dead", "passages", "0"] in lines


def test_stats_tell_why_vectors_are_scanned(run, guide):
    lines = [" ".join(line.split()) for line in run("stats", guide).out.splitlines()]
    first = next(row for row, line in enumerate(lines) if line.startswith("index "))
    assert lines[first : first + 9] == [
        "index kind: exact (auto was asked for)",
        "why: scanning 8 vectors takes less than a millisecond",
        "recall target: 0.95",
        "recall: 1, by an exact scan",
        "indexed: 0 vectors",
        "scanned: 8 vectors",
        "pending: 0 vectors",
        "dead: 0 vectors",
        "memory: 0 bytes",
    ]


# -- the index of the vectors -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def indexed(tmp_path_factory) -> Path:
    """A collection with an index of 1,200 vectors of eight dimensions, that tests only read."""
    path = tmp_path_factory.mktemp("indexed") / "a.nf"
    vectors = np.random.default_rng(0).standard_normal((1_200, 8)).astype(np.float32)
    with nf.open(path, index="ivf-flat", recall=0.9) as collection:
        collection.add([f"text {row}" for row in range(len(vectors))], vectors=vectors)
    return path


def test_tune(run, indexed, tmp_path):
    with nf.open(indexed) as collection:
        expected = collection.tune()
    found = run("tune", indexed, "--json", "--plot", tmp_path / "curve.png")
    assert (found.code, found.err) == (0, "")
    assert found.json == expected.to_dict()
    assert (found.json["recall_target"], found.json["kind"]) == (0.9, "IVF16,Flat")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert run("tune", indexed).out == run("tune", indexed, "--no-build").out == f"{expected}\n"


def test_tune_passes_its_arguments_on(run, guide, tmp_path, monkeypatch):
    from nearfield.collection import Collection

    tune, calls = Collection.tune, []

    def spied(self, *words, **options):
        calls.append((words, options))
        return tune(self, *words, **options)

    monkeypatch.setattr(Collection, "tune", spied)
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"_id": "a", "text": "How to build a recommender?"}\n')
    assert run("tune", guide, "--queries", queries).out == (
        "exact: scanning 8 vectors takes less than a millisecond\n"
        "target 0.95; every search scans all vectors, and finds all of the true nearest\n"
    )
    assert run("tune", guide, "--no-build").code == 0
    assert calls == [((str(queries),), {"build": True}), ((None,), {"build": False})]
    refused = run("tune", guide, "--queries", queries, "--no-build")
    assert (refused.code, "leave out queries" in refused.err) == (2, True)
    assert "no curve to draw" in run("tune", guide, "--plot", tmp_path / "curve.png").err


def test_stats_show_the_index(run, indexed):
    told = run("stats", indexed, "--json").json["index"]
    low, high = told["recall_interval"]
    lines = [" ".join(line.split()) for line in run("stats", indexed).out.splitlines()]
    first = lines.index("index kind: IVF16,Flat (ivf-flat was asked for)")
    assert lines[first + 1 : first + 9] == [
        "why: ivf-flat was asked for",
        "recall target: 0.9",
        f"recall: {told['recall']:.4f}, 95 % interval {low:.4f} to {high:.4f}, of 1,000 queries",
        "indexed: 1,200 vectors",
        "scanned: 0 vectors",
        "pending: 0 vectors",
        "dead: 0 vectors",
        f"memory: {told['memory_bytes']:,} bytes",
    ]


def test_an_index_is_chosen_when_the_collection_is_made(run, tmp_path):
    words = ["--index", "auto", "--recall", 0.99, "--memory", 5_000_000]
    assert run("add", tmp_path / "a.nf", "-", "--format", "lines", *words, stdin=b"Learn Python\n").code == 0
    told = run("stats", tmp_path / "a.nf", "--json").json["index"]
    assert (told["asked"], told["recall_target"]) == ("auto", 0.99)
    assert run("upsert", tmp_path / "b.nf", "-", "--index", "hnsw", stdin=b'{"text": "Learn Go"}').code == 0
    assert run("stats", tmp_path / "b.nf", "--json").json["index"]["asked"] == "hnsw"
    other = run("upsert", tmp_path / "b.nf", "-", "--index", "lsh", stdin=b'{"text": "Learn C"}')
    assert (other.code, "was made with index='hnsw'" in other.err) == (4, True)
    for wrong in (["--recall", 1.5], ["--index", "no such"], ["--memory", 0], ["--index", "hnsw", "--memory", 9]):
        assert run("add", tmp_path / "c.nf", "-", *wrong, stdin=b'{"text": "Learn C"}').code == 2
    assert not (tmp_path / "c.nf").exists()


def test_get(run, guide):
    found = run("get", guide, 7, 0, "--json").json
    assert found == [
        {"text": SENTENCES[n], "doc_id": str(n), "title": "", "metadata": {"level": LEVELS[n], "year": 2020 + n}}
        for n in (7, 0)
    ]
    lines = [" ".join(line.split()) for line in run("get", guide, 7).out.splitlines()]
    assert lines == ["doc_id 7", "level beginner", "year 2027", f"text {SENTENCES[7]}"]


# -- writing ----------------------------------------------------------------------------------------------------------


def test_add_says_what_it_did_and_a_csv_column_of_numbers_can_be_compared(run, tmp_path):
    source = tmp_path / "articles.csv"
    source.write_text("name,body,headline,year,code\nx,Learn Python,Python,2024,007\ny,Learn Rust,Rust,2023,8\n")
    fields = ["--doc-id", "name", "--text", "body", "--title", "headline", "--metadata", "year", "--batch-size", 1]
    found = run("add", tmp_path / "a.nf", source, *fields, "--json")
    assert (found.code, found.err) == (0, "")
    assert {name: found.json[name] for name in ("written", "documents")} == {"written": 2, "documents": 2}
    assert run("get", tmp_path / "a.nf", "x", "--json").json == [
        {"doc_id": "x", "text": "Learn Python", "title": "Python", "metadata": {"year": 2024}}
    ]
    hits = run("search", tmp_path / "a.nf", "learn", "--where", '{"year": {"$gte": 2024}}', "--json").json
    assert [hit["doc_id"] for hit in hits] == ["x"]


def test_add_from_stdin_numbers_documents_and_upsert_replaces(run, tmp_path):
    path = tmp_path / "a.nf"
    found = run("add", path, "-", "--format", "lines", stdin=b"Learn Python\nLearn Rust\nLearn Go\n")
    assert found.out.startswith("Wrote 3 documents in ")
    assert found.out.endswith(f"; {path} holds 3.\n")
    assert found.err == ""
    again = run("upsert", path, "-", "--limit", 1, "--json", stdin=b'[{"id": 1, "text": "Learn C"}, {"text": "no"}]')
    assert {name: again.json[name] for name in ("written", "documents")} == {"written": 1, "documents": 3}
    with nf.open(path, create=False) as collection:
        assert sorted((document.doc_id, document.text) for document in collection) == [
            ("0", "Learn Python"),
            ("1", "Learn C"),
            ("2", "Learn Go"),
        ]


def test_an_error_in_the_middle_says_what_is_stored(run, tmp_path):
    path = tmp_path / "a.nf"
    lines = b'{"id": "a", "text": "one"}\n{"id": "b", "text": "two"}\n{"id": "c", "text": 3}\n'
    found = run("add", path, "-", "--batch-size", 1, stdin=lines)
    assert found.code == 2
    assert found.err == "Error: -:3: text must be a str, got 3 (int) (2 documents before it are stored)\n"
    assert run("stats", path, "--json").json["documents"] == 2
    taken = run("add", path, "-", "--json", stdin=lines.splitlines()[1])
    assert (taken.code, taken.error["type"]) == (4, "Conflict")
    assert "'b'" in taken.error["message"]


def test_an_error_at_the_start_makes_no_collection(run, tmp_path):
    found = run("add", tmp_path / "a.nf", "-", stdin=b'{"words": "x"}')
    assert found.code == 2
    assert not (tmp_path / "a.nf").exists()


def test_interrupted_writing_keeps_whole_batches(run, tmp_path, monkeypatch):
    from nearfield.ingest import write

    calls = []

    def interrupted(engine, encoder, batch, *words, **options):
        calls.append(len(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(engine, encoder, batch, *words, **options)

    monkeypatch.setattr("nearfield.ingest.ingestion.write", interrupted)
    lines = b"one\ntwo\nthree\nfour\nfive\nsix\n"
    path = tmp_path / "a.nf"
    found = run("add", path, "-", "--format", "lines", "--batch-size", 2, stdin=lines)
    assert found.code == 130
    assert found.err == f"Error: interrupted; {path} holds 4 documents, every one of them complete\n"
    monkeypatch.undo()


def test_delete(run, tmp_path):
    path = made(tmp_path)
    assert run("delete", path, 0, 1, "--json").json == {"deleted": 2, "documents": 6}
    assert run("delete", path, "--where", '{"level": "beginner"}').out == "Deleted 3 documents; 3 are left.\n"
    unknown = run("delete", path, 2, 0)
    assert (unknown.code, unknown.err) == (3, "Error: doc_id '0' is not in the collection\n")
    assert run("stats", path, "--json").json["documents"] == 3
    assert run("delete", path).code == 2


def test_the_text_of_documents_can_do_nothing_to_a_terminal(run, tmp_path):
    nasty = {
        "id": "a",
        "title": "[bold]markup[/bold] [/]",
        "text": "red \x1b[31m bell \x07 title \x1b]0;owned\x07 c1 \x9b2J over\r \u202ereversed :smile:\nline",
        "na[red]me\x1b": "va[/]lue\x1b[2J",
    }
    path = made(tmp_path, [nasty])
    for words in (["search", path, "red", "--mode", "lexical"], ["get", path, "a"]):
        out = run(*words).out
        assert not set(out) & set("\x1b\x07\x9b\r\u202e")
        flat = " ".join(out.split())
        assert "[bold]markup[/bold] [/]" in flat
        assert "red [31m bell title ]0;owned c1 2J over reversed :smile:" in flat
        assert "va[/]lue [2J" in flat
    assert json.loads(run("get", path, "a", "--json").out)[0]["text"] == nasty["text"]


def test_long_ids_fold_and_long_texts_are_cut(run, tmp_path):
    path = made(tmp_path, [{"id": "x" * 150, "text": "word " * 500, "tags": ["y" * 200]}])
    out = run("search", path, "word", "--mode", "lexical").out
    assert out.count("x") == 150
    assert out.count("word") <= 48
    assert max(map(len, out.splitlines())) <= 100
