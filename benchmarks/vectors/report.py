"""The tables."""

from __future__ import annotations

from collections.abc import Sequence

from cases import FAMILIES, SHARES, Case
from measure import Measured

ISSUE = ["none", "adversarial-50", "adversarial-10", "adversarial-1", "random-1"]
OWN = "nearfield"


def print_all(results: Sequence[Measured], names: Sequence[str], cases: dict[str, Case]) -> None:
    """Print the summary, a table for each family of filters, and nearfield's times as shares of the others'."""
    there = [result for result in results if not result.failed]
    _print_summary(there, names)
    for result in results:
        if result.failed:
            print(f"{result.label}: {result.failed}\n")
    own = next((result for result in there if result.name == OWN), None)
    if "none" in names:
        _print_cases("no filter", there, own, ["none"], cases)
    for family in FAMILIES:
        columns = [name for name in names if name in [f"{family}-{share}" for share in SHARES]]
        if columns:
            _print_cases(f"{family} filters", there, own, columns, cases)
    print("N% behind a recall: so many of the queries got 10 documents, or all that are allowed; the others fewer")
    print("ratio: nearfield's p50 (ids and scores) over the system's; below 1: nearfield is faster; *: recall < .95\n")
    _print_settings(there)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))]  # noqa: B905
        print("  ".join(cells).rstrip())
    print()


def _print_summary(results: Sequence[Measured], names: Sequence[str]) -> None:
    columns = [name for name in ISSUE if name in names]
    print("p50 in ms (recall@10); built with every processor, searched on one thread")
    header = ["", *columns, "build s", "first hits s", "resident MB", "anonymous MB", "disk MB"]
    rows = [[result.label, *(_cell(result, name) for name in columns), *_costs(result)] for result in results]
    print_table(header, rows)


def _costs(result: Measured) -> list[str]:
    memory = [f"{result.memory[name] / 1e6:,.0f}" for name in ("VmRSS", "RssAnon")]
    return [f"{result.build['seconds']:,.1f}", f"{result.first:.2f}", *memory, f"{result.bytes / 1e6:,.0f}"]


def _print_cases(
    title: str, results: Sequence[Measured], own: Measured | None, names: Sequence[str], cases: dict[str, Case]
) -> None:
    print(f"{title}: p50/p95 in ms (recall@10), and ratio")
    rows = [["", *(cell for name in names for cell in (name, "ratio"))]]
    for result in results:
        pairs = [(_cell(result, name, high=True), _ratio(own, result, name)) for name in names]
        rows.append([result.label, *(cell for pair in pairs for cell in pair)])
    print_table(rows[0], rows[1:])
    for name in names:
        case = cases[name]
        print(f"{name}: {len(case.filters)} filters, {100 * case.share:.3g} % allowed, {len(case.asked)} queries")
    print()


def _ratio(own: Measured | None, result: Measured, name: str) -> str:
    mine, other = own.cases.get(name, {}) if own else {}, result.cases.get(name, {})
    if not mine.get("queries") or not other.get("queries"):
        return ""
    return f"{mine['p50'] / other['p50']:.2f}{'*' if round(other['recall'], 3) < 0.95 else ''}"


def _print_settings(results: Sequence[Measured]) -> None:
    for result in results:
        tuned = "" if result.tuning is None else f"; {result.setting} for a recall of {result.tuning:.3f} in tuning"
        print(f"{result.label}: {result.about}{tuned}")
        parts = {name: value for name, value in result.build.items() if name not in {"seconds", "peak"}}
        print(f"  build: {parts}, peak {result.build['peak'] / 1e6:,.0f} MB")
        for name, case in result.cases.items():
            if case.get("wrong"):
                print(f"  {name}: {case['wrong']} of the documents it returned are not allowed")
            if case.get("plan"):
                print(f"  {name}: {case['plan']}")


def _cell(result: Measured, name: str, *, high: bool = False) -> str:
    case = result.cases.get(name, {})
    if not case.get("queries"):
        return "no queries"
    times = f"{_digits(case['p50'])}/{_digits(case['p95'])}" if high else _digits(case["p50"])
    filled = "" if case["filled"] == 1 else f" {100 * case['filled']:.0f}%"
    return f"{times} ({case['recall']:.3f}){filled}"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
