"""Measures of retrieval quality: judgements, runs and the report that compares them.

`evaluate_run` is the heart: a run (what a system returned) against qrels (what is relevant) gives a `Report`.
The readers take the files of BEIR and TREC.
"""

from __future__ import annotations

from nearfield.evaluate.forms import as_qrels, as_queries, as_run
from nearfield.evaluate.measures import DEFAULT_MEASURES
from nearfield.evaluate.readers import read_qrels, read_queries
from nearfield.evaluate.report import Report
from nearfield.evaluate.run import evaluate_run
from nearfield.evaluate.runfile import read_run, write_run

__all__ = [
    "DEFAULT_MEASURES",
    "Report",
    "as_qrels",
    "as_queries",
    "as_run",
    "evaluate_run",
    "read_qrels",
    "read_queries",
    "read_run",
    "write_run",
]
