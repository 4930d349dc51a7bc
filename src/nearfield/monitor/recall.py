"""`tune`: an index built and measured now, and what was measured: how much time each share of recall costs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nearfield import checks
from nearfield.encode.protocol import Encoder, Vectors
from nearfield.engine.protocol import Engine
from nearfield.errors import Conflict, InvalidInput
from nearfield.evaluate.forms import as_queries
from nearfield.extras import load_extra
from nearfield.index.tuning import Point, Tuning
from nearfield.search.run import Asked, encode_asked

Queries: TypeAlias = Mapping[str, str] | Sequence[str] | Vectors | str | Path
"""Texts, {query_id: text}, a BEIR or TREC file of these, or float32 `(q, d)`."""

K = 10
"""The number of hits that the curve is measured with."""

COLUMNS = ("reach", "candidates", "recall", "low", "high", "milliseconds")


@dataclass(frozen=True, slots=True)
class RecallPoint:
    """An effort of the index, what it finds, and what it costs.

    Attributes:
        reach: Lists that are looked at (FAISS's nprobe) on the mean, or the queue of a graph (efSearch); 0: the kind
            has no choice.
        candidates: How many vectors are then compared in full.
        recall: Mean share of the true 10 nearest that is found, higher is better.
        low: Lower end of its 95 % interval.
        high: Upper end.
        milliseconds: Median time of a query in one thread, the comparison in full included.
    """

    reach: int
    candidates: int
    recall: float
    low: float
    high: float
    milliseconds: float


@dataclass(frozen=True)
class Tuned:
    """What an index was measured to find, and what that costs; `print` shows the curve.

    Attributes:
        kind: FAISS's factory string of the index that searches use, or "exact": every search scans all vectors.
        reason: Why it is this kind.
        recall_target: Share of the true nearest that searches must find on average, fixed when the collection was made.
        recall: The share that they find with the chosen effort, measured for 10 hits; 1 for an exact scan.
        interval: Its 95 % interval.
        queries: How many queries that was measured with; 0: nothing had to be measured.
        chosen: The cheapest effort that surely keeps the target; None for an exact scan.
        curve: The efforts that no cheaper one equals, by rising recall and time; [] if there is no index. There may be
            a curve without a chosen effort: then none of them keeps the target, and searches scan.
    """

    kind: str
    reason: str
    recall_target: float
    recall: float
    interval: tuple[float, float]
    queries: int
    chosen: RecallPoint | None
    curve: list[RecallPoint]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, strings and numbers, ready for JSON."""
        return {**asdict(self), "interval": list(self.interval)}

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row for each point of the curve: its fields, and whether it is the chosen one.

        Raises:
            MissingDependency: pandas is not installed.
        """
        pandas = load_extra("pandas", "frames", "to_pandas")
        rows = [{**asdict(point), "chosen": point == self.chosen} for point in self.curve]
        return pandas.DataFrame(rows, columns=[*COLUMNS, "chosen"])

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Return the curve as a matplotlib Figure, recall against time; write it to `path` (.png or .svg) if given.

        Bars are 95 % intervals, a line shows the target, and a star the chosen effort.

        Raises:
            InvalidInput: there is no curve, since every search scans; another suffix; or the file can't be written.
            MissingDependency: matplotlib is not installed.
        """
        from nearfield.cluster.plots import save
        from nearfield.monitor.plots import draw_curve

        if not self.curve:
            raise InvalidInput(f"there is no curve to draw, since every search scans all vectors: {self.reason}")
        return save(draw_curve(self), path)

    def __str__(self) -> str:
        head = f"{self.kind}: {self.reason}\n{self._state()}"
        if not self.curve:
            return head
        columns = ("reach", "candidates", "recall", "95 % interval", "ms", "")
        rows = [columns, *(self._row(point) for point in self.curve)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([head, "", *lines])

    def _state(self) -> str:
        if self.chosen is None:
            return f"target {self.recall_target:g}; every search scans all vectors, and finds all of the true nearest"
        low, high = self.interval
        return (
            f"target {self.recall_target:g}; recall@{K} {self.recall:.4f}, 95 % interval {low:.4f} to {high:.4f}, "
            f"measured with {self.queries:,} queries\n"
            f"chosen: reach {self.chosen.reach:,}, {self.chosen.candidates:,} candidates, "
            f"{self.chosen.milliseconds:.3f} ms a query"
        )

    def _row(self, point: RecallPoint) -> tuple[str, ...]:
        return (
            f"{point.reach:,}",
            f"{point.candidates:,}",
            f"{point.recall:.4f}",
            f"{point.low:.4f} to {point.high:.4f}",
            f"{point.milliseconds:.3f}",
            "chosen" if point == self.chosen else "",
        )


def tune(engine: Engine, get_encoder: Callable[[], Encoder], queries: Queries | None, *, build: bool) -> Tuned:
    """Return what an engine's index was measured to do; `Collection.tune` describes it.

    Args:
        engine: Where the collection lives.
        get_encoder: Gives its encoder, if there are texts to encode.
        queries: What `Collection.tune` takes.
        build: Likewise.
    """
    if not engine.capabilities.tuning:
        raise InvalidInput(f"the engine of {engine.location} has no index that can be tuned")
    if queries is not None and not build:
        raise InvalidInput("build=False tells what was measured before; leave out queries, or let the index be built")
    asked = None if queries is None else _vectors(engine, get_encoder, queries)
    tuning = engine.tune(asked, build=build)
    return _told(engine.stats().index, tuning)


def _vectors(engine: Engine, get_encoder: Callable[[], Encoder], queries: Queries) -> Vectors:
    if isinstance(queries, np.ndarray):
        asked = Asked(checks.unit_vectors(queries, None, engine.settings.dimension, "query vectors"))
    else:
        asked = encode_asked(_texts(queries), get_encoder())
    with engine.view() as view:
        if not asked.fits(view):
            raise Conflict("the collection was migrated to another encoder meanwhile; tune it again")
    vectors = asked.vectors
    if vectors is None or not len(vectors):
        raise InvalidInput("queries must hold at least one query; leave them out to measure with the documents alone")
    return vectors


def _texts(queries: Mapping[str, str] | Sequence[str] | str | Path) -> list[str]:
    given: Any = queries
    if isinstance(queries, list | tuple):
        given = {str(number): text for number, text in enumerate(queries)}
    return list(as_queries(given).values())


def _told(index: Mapping[str, Any], tuning: Tuning | None) -> Tuned:
    chosen = None if tuning is None else tuning.chosen.get(K)
    low, high = index["recall_interval"]
    return Tuned(
        kind=index["kind"],
        reason=index["reason"],
        recall_target=index["recall_target"],
        recall=index["recall"],
        interval=(low, high),
        queries=0 if tuning is None else tuning.queries,
        chosen=None if chosen is None else _point(chosen),
        curve=[] if tuning is None else [_point(point) for point in tuning.curve],
    )


def _point(point: Point) -> RecallPoint:
    effort = point.effort
    return RecallPoint(effort.reach, effort.candidates, point.recall, point.low, point.high, point.milliseconds)
