from __future__ import annotations

import json
from collections.abc import Callable
from math import log2

import ir_measures
import numpy as np
import pytest
import pytrec_eval

from nearfield.errors import InvalidInput
from nearfield.evaluate import DEFAULT_MEASURES, as_qrels, as_queries, as_run, evaluate_run
from nearfield.evaluate.measures import parse_measure
from nearfield.evaluate.report import bootstrap_interval

QRELS = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"d": 1}, "q3": {"e": 0}}
RUN = {"q1": {"c": 0.9, "a": 0.8, "x": 0.7, "b": 0.6}, "q3": {"e": 1.0}}


def random_case(seed: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    draw = np.random.default_rng(seed)
    docs = [f"d{i}" for i in range(40)]
    run = {
        f"q{q}": {
            str(doc): float(score) for doc, score in zip(draw.permutation(docs)[:25], draw.normal(size=25), strict=True)
        }
        for q in range(12)
    }
    qrels = {f"q{q}": {str(doc): int(draw.integers(4)) for doc in draw.permutation(docs)[:8]} for q in range(12)}
    return run, qrels


def test_values_by_hand() -> None:
    report = evaluate_run(RUN, QRELS, ["nDCG@10", "MRR", "MAP", "R@2", "P@2", "Success@1"])
    ideal = 2 / log2(2) + 1 / log2(3)
    assert report.per_query["q1"] == pytest.approx(
        {
            "nDCG@10": (2 / log2(3) + 1 / log2(5)) / ideal,
            "MRR": 1 / 2,
            "MAP": (1 / 2 + 2 / 4) / 2,
            "R@2": 1 / 2,
            "P@2": 1 / 2,
            "Success@1": 0.0,
        }
    )
    assert report.mean["MRR"] == pytest.approx(1 / 2 / 3)
    assert report.queries == 3


@pytest.mark.parametrize("seed", range(5))
def test_values_are_trec_evals(seed: int) -> None:
    run, qrels = random_case(seed)
    report = evaluate_run(run, qrels, ["nDCG@10", "recall_20", "MRR", "MAP", "P@5", "Rprec", "Bpref"])
    names = {"ndcg_cut_10", "recall_20", "recip_rank", "map", "P_5", "Rprec", "bpref"}
    expected = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    ours = ["nDCG@10", "recall_20", "MRR", "MAP", "P@5", "Rprec", "Bpref"]
    theirs = ["ndcg_cut_10", "recall_20", "recip_rank", "map", "P_5", "Rprec", "bpref"]
    for query_id, values in expected.items():
        for mine, other in zip(ours, theirs, strict=True):
            assert report.per_query[query_id][mine] == pytest.approx(values[other], abs=1e-12)
    peer = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run)
    assert report.mean["nDCG@10"] == pytest.approx(peer[ir_measures.nDCG @ 10], abs=1e-12)


def test_ties_rank_by_falling_doc_id_for_every_measure() -> None:
    tied = {"q": {"a": 1.0, "b": 1.0, "c": 1.0}}
    for order in ("abc", "cba", "bac"):
        run = {"q": {doc: tied["q"][doc] for doc in order}}
        report = evaluate_run(run, {"q": ["a"]}, ["MRR", "MRR@10", "MAP", "Success@2"])
        assert report.mean == pytest.approx({"MRR": 1 / 3, "MRR@10": 1 / 3, "MAP": 1 / 3, "Success@2": 0.0})


def test_scores_are_compared_with_all_their_digits() -> None:
    run = {"q": {"a": 1.0 + 1e-12, "z": 1.0}}
    assert evaluate_run(run, {"q": ["a"]}, ["MRR"]).mean == {"MRR": 1.0}


def test_queries_that_need_a_word() -> None:
    run = {**RUN, "q2": {}, "q9": {"a": 1.0}, "q8": {"a": 1.0}}
    report = evaluate_run(run, {**QRELS, "q4": {}}, ["R@10"], unknown_documents=2, unknown_queries=1)
    assert report.queries_without_hits == ("q2", "q4")
    assert report.queries_without_relevant == ("q3", "q4")
    assert report.queries_without_judgements == ("q8", "q9")
    assert report.mean == {"R@10": 0.25}
    assert str(report).splitlines()[3:] == [
        "2 queries without hits, counted as 0: q2, q4",
        "2 queries without any relevant document, counted as 0: q3, q4",
        "2 queries without judgements, left out: q8, q9",
        "1 judged query without a text",
        "2 judged documents not in the collection",
    ]


def test_an_empty_run_counts_as_zero() -> None:
    report = evaluate_run({}, QRELS)
    assert report.mean == dict.fromkeys(DEFAULT_MEASURES, 0.0)
    assert report.queries_without_hits == ("q1", "q2", "q3")


def test_the_table() -> None:
    report = evaluate_run({"q1": {"a": 1.0}}, {"q1": ["a"]}, ["nDCG@10", "MRR"])
    assert str(report) == (
        "1 judged query\n"
        "measure   mean   95 % interval\n"
        "nDCG@10  1.0000  1.0000 – 1.0000\n"
        "MRR      1.0000  1.0000 – 1.0000"
    )


def test_intervals_are_percentiles_of_resampled_means() -> None:
    values = np.random.default_rng(0).uniform(size=(50, 2))
    low, high = bootstrap_interval(values)
    draw = np.random.default_rng(99)
    means = np.array([values[draw.integers(50, size=50)].mean(axis=0) for _ in range(10_000)])
    np.testing.assert_allclose(low, np.percentile(means, 2.5, axis=0), atol=0.004)
    np.testing.assert_allclose(high, np.percentile(means, 97.5, axis=0), atol=0.004)
    assert bootstrap_interval(values)[0].tolist() == low.tolist()


def test_the_interval_holds_the_mean_and_depends_on_nothing_else() -> None:
    run, qrels = random_case(1)
    report = evaluate_run(run, qrels)
    backwards = evaluate_run(dict(reversed(run.items())), dict(reversed(qrels.items())))
    assert backwards.to_dict() == report.to_dict()
    for measure, (low, high) in report.interval.items():
        assert low < report.mean[measure] < high


def test_dict_and_frame() -> None:
    report = evaluate_run(RUN, QRELS, ["MRR", "R@2"])
    data = json.loads(json.dumps(report.to_dict()))
    assert data["per_query"]["q1"] == {"MRR": 0.5, "R@2": 0.5}
    assert data["queries"] == 3
    assert data["interval"]["MRR"] == list(report.interval["MRR"])
    frame = report.to_pandas()
    assert frame.index.name == "query_id"
    assert frame.to_dict("index") == report.per_query


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("nDCG@10", "nDCG@10"),
        ("ndcg@10", "nDCG@10"),
        ("ndcg_cut_10", "nDCG@10"),
        ("nDCG", "nDCG"),
        ("R@100", "R@100"),
        ("Recall@100", "R@100"),
        ("recall_100", "R@100"),
        ("MRR", "RR"),
        ("recip_rank", "RR"),
        ("mrr@10", "RR@10"),
        ("MAP", "AP"),
        ("map_cut_5", "AP@5"),
        ("precision@5", "P@5"),
        ("hits@1", "Success@1"),
        ("AP(rel=2)", "AP(rel=2)"),
        (" P(rel=2)@5 ", "P(rel=2)@5"),
        ("IPrec@0.5", "IPrec@0.5"),
        ("Judged@10", "Judged@10"),
    ],
)
def test_names_of_measures(name: str, meaning: str) -> None:
    assert repr(parse_measure(name)) == meaning
    assert list(evaluate_run(RUN, QRELS, [name]).mean) == [name]


@pytest.mark.parametrize(
    "name", ["nonsense", "nDCG@0", "nDCG@ten", "P", "R", "nDCG@2.5", "AP(foo=1)", "AP(rel", "", "@10", "NumRet", 10]
)
def test_unknown_measures_are_refused_with_examples(name: str) -> None:
    with pytest.raises(InvalidInput, match="nDCG@10, R@100, MRR"):
        parse_measure(name)


def test_measures_as_one_name_and_twice() -> None:
    assert list(evaluate_run(RUN, QRELS, "MRR").mean) == ["MRR"]
    assert evaluate_run(RUN, QRELS, ["MRR", "RR", "MRR"]).per_query["q1"] == {"MRR": 0.5, "RR": 0.5}


def test_forms_of_judgements() -> None:
    assert as_qrels({1: ["a", 2, "a"], "q": ("b",), "s": {"c"}, "m": {"d": 0, 7: np.int64(3), "f": 2.0}}) == {
        "1": {"a": 1, "2": 1},
        "q": {"b": 1},
        "s": {"c": 1},
        "m": {"d": 0, "7": 3, "f": 2},
    }
    assert as_queries({1: "waves", "b": "maps"}) == {"1": "waves", "b": "maps"}
    assert as_run({1: {2: 1, "b": np.float32(0.5)}, "e": {}}) == {"1": {"2": 1.0, "b": 0.5}, "e": {}}


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: evaluate_run(RUN, QRELS, []), "at least one measure"),
    (lambda: evaluate_run({"1": {"a": 1.0}}, {"q1": ["a"]}), "the run has '1', the qrels 'q1'; use the same query ids"),
    (lambda: as_qrels({}), "at least one query"),
    (lambda: as_qrels([("q", "d", 1)]), "qrels must be {query_id: {doc_id: grade}}"),  # type: ignore[arg-type]
    (lambda: as_qrels({"q": "abc"}), "query 'q' has 'abc'"),
    (lambda: as_qrels({"q": {"d": -1}}), "at least 0; document 'd' of query 'q' has -1"),
    (lambda: as_qrels({"q": {"d": 0.5}}), "has 0.5"),
    (lambda: as_qrels({"q": {"d": True}}), "has True"),
    (lambda: as_qrels({"q": {"d": float("inf")}}), "has inf"),
    (lambda: as_qrels({"q": {1: 1, "1": 2}}), "two grades"),
    (lambda: as_qrels({1: ["a"], "1": ["b"]}), "query '1' is there twice"),
    (lambda: as_qrels({True: ["a"]}), "non-empty str or an int; got True"),
    (lambda: as_qrels({"q": [""]}), "got ''"),
    (lambda: as_queries({"q": "  "}), "query 'q' must have a text"),
    (lambda: as_queries({"q": 3}), "query 'q' must have a text; got 3"),  # type: ignore[dict-item]
    (lambda: as_queries(["waves"]), "queries must be {query_id: text}"),  # type: ignore[arg-type]
    (lambda: as_run({"q": {"d": float("nan")}}), "finite number; document 'd' of query 'q' has nan"),
    (lambda: as_run({"q": {"d": "1"}}), "has '1'"),  # type: ignore[dict-item]
    (lambda: as_run({"q": ["d"]}), r"must give query 'q' {doc_id: score}; got \['d'\]"),  # type: ignore[dict-item]
    (lambda: as_run([1]), "run must be"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
