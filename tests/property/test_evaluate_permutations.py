from __future__ import annotations

import random

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfield.evaluate import evaluate_run

DOCS = st.sampled_from([f"d{i}" for i in range(9)])
QUERIES = st.sampled_from(["q1", "q2", "q3", "q4"])
RUNS = st.dictionaries(QUERIES, st.dictionaries(DOCS, st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1))
QRELS = st.dictionaries(QUERIES, st.dictionaries(DOCS, st.integers(0, 3), min_size=1), min_size=1)
MEASURES = {"nDCG@5": "ndcg_cut_5", "MAP": "map", "MRR": "recip_rank", "R@5": "recall_5", "P@5": "P_5"}


@settings(deadline=None, max_examples=60)
@given(run=RUNS, qrels=QRELS, seed=st.integers(0, 1000))
def test_order_changes_nothing_and_ties_are_trec_evals(run: dict, qrels: dict, seed: int) -> None:
    if run and not run.keys() & qrels.keys():
        return
    report = evaluate_run(run, qrels, list(MEASURES))
    shuffle = random.Random(seed).sample
    mixed = [
        {key: dict(shuffle(list(rows.items()), len(rows))) for key, rows in shuffle(list(table.items()), len(table))}
        for table in (run, qrels)
    ]
    assert evaluate_run(mixed[0], mixed[1], list(MEASURES)).to_dict() == report.to_dict()
    expected = pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES.values())).evaluate(run)
    for query_id in qrels:
        for mine, other in MEASURES.items():
            value = expected[query_id][other] if query_id in expected else 0.0
            assert report.per_query[query_id][mine] == pytest.approx(value, abs=1e-9)
