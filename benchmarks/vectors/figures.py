"""The bars that nearfield is held to, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from measure import Measured
from report import print_table

SLOWEST = ((200_000, 2.0), (583_128, 4.0))
"""Milliseconds that a filtered search may take at p50, up to so many documents."""


def print_figures(results: Sequence[Measured], documents: int, recall: float) -> None:
    """Print each bar that can be judged by what was measured, and whether it is met."""
    known = {result.name: result for result in results if not result.failed}
    own = known.get("nearfield")
    if own is None:
        return
    rows = [
        *_recalls(own, recall),
        *_latencies(own, known, documents),
        *_costs(own, known),
    ]
    print("nearfield's bars")
    print_table(["", "measured", "bar", ""], [[*row[:3], "met" if row[3] else "MISSED"] for row in rows])


Row = tuple[str, str, str, bool]


def _recalls(own: Measured, recall: float) -> list[Row]:
    answered = {name: case for name, case in own.cases.items() if case.get("queries")}
    if not answered:
        return []
    worst = min(answered, key=lambda name: answered[name]["recall"])
    emptiest = min(answered, key=lambda name: answered[name]["filled"])
    lowest, filled = answered[worst]["recall"], answered[emptiest]["filled"]
    rows: list[Row] = []
    if "none" in answered:
        low = answered["none"]["low"]
        rows.append(
            ("recall@10 without a filter, at 95 % confidence at least", f"{low:.3f}", f">= {recall}", low >= recall)
        )
    return [
        *rows,
        (f"recall@10, the worst case ({worst})", f"{lowest:.3f}", f">= {recall}", lowest >= recall),
        (f"10 of 10 filled, the worst case ({emptiest})", f"{100 * filled:.1f} %", "100 %", filled == 1),
    ]


def _latencies(own: Measured, known: dict[str, Measured], documents: int) -> list[Row]:
    rows: list[Row] = []
    filtered = {name: case["p50"] for name, case in own.cases.items() if name != "none" and case.get("queries")}
    if filtered:
        bar = next((bar for most, bar in SLOWEST if documents <= most), SLOWEST[-1][1])
        slowest = max(filtered, key=lambda name: filtered[name])
        value = filtered[slowest]
        rows.append((f"p50 with a filter, the slowest ({slowest})", f"{value:.2f} ms", f"<= {bar} ms", value <= bar))
    pairs = [
        ("nearfield", "faiss-hnsw", 1.25),
        ("nearfield", "faiss-hnsw-same", 1.25),
        ("nearfield", "faiss-hnsw-200", 1.25),
        ("nearfield-read", "qdrant", 1.0),
    ]
    for mine, peer, bar in pairs:
        if mine in known and peer in known and "none" in known[mine].cases:
            value = known[mine].cases["none"]["p50"] / known[peer].cases["none"]["p50"]
            rows.append((f"p50 without a filter, {mine} / {peer}", f"{value:.2f}", f"<= {bar}", value <= bar))
    return rows + _beside_peers(own, known)


def _beside_peers(own: Measured, known: dict[str, Measured]) -> list[Row]:
    rows: list[Row] = []
    if "lancedb" in known:
        slower = [name for name, case, peer in _pairs(own, known["lancedb"]) if case["p50"] > peer["p50"]]
        rows.append(("cases slower than LanceDB", ", ".join(slower) or "none", "none", not slower))
    if "chroma" in known:
        less = [n for n, case, peer in _pairs(own, known["chroma"]) if case["recall"] < min(0.945, peer["recall"])]
        rows.append(("cases less right than Chroma, rounded to .95", ", ".join(less) or "none", "none", not less))
    return rows


def _pairs(own: Measured, peer: Measured) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    names = [name for name in own.cases if own.cases[name].get("queries") and peer.cases.get(name, {}).get("queries")]
    return [(name, own.cases[name], peer.cases[name]) for name in names]


def _costs(own: Measured, known: dict[str, Measured]) -> list[Row]:
    rows: list[Row] = [("reopening to the first hits", f"{own.first:.2f} s", "<= 0.5 s", own.first <= 0.5)]
    if "faiss-hnsw" in known:
        value = own.build["indexing"] / known["faiss-hnsw"].build["seconds"]
        rows.append(("building the index / FAISS HNSW's build", f"{value:.2f}", "<= 1.2", value <= 1.2))
        value = own.build["seconds"] / known["faiss-hnsw"].build["seconds"]
        rows.append(("storing and indexing / FAISS HNSW's build", f"{value:.2f}", "<= 1.2", value <= 1.2))
    return rows
