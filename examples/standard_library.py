"""The main job on real text: the docstrings of Python's standard library, searched, clustered, recommended, measured.

./scripts/demo
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import time
from pathlib import Path

from docstrings import documents
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

import nearfield as nf

BATCH = 512
EVALUATED = 400
console = Console(width=110, highlight=False)


def main() -> None:
    """Index the docstrings, once, and show what a collection answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the collections are kept")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with nf.open(folder / "docstrings.nf") as col:
        fill(col)
        show_searches(col)
        show_recommendations(col)
        show_topics(col)
        show_evaluation(col, folder / "evaluation.nf")
        show_serving(folder / "docstrings.nf")
    console.print(f"\n[dim]Done in {time.perf_counter() - began:.1f} s.[/]")


def heading(text: str, code: str = "") -> None:
    """Print a heading, and the call that makes what follows."""
    console.print(f"\n[bold]{escape(text)}[/]")
    if code:
        console.print(f"[cyan]{escape(code)}[/]")


def fill(col: nf.Collection) -> None:
    """Add the docstrings, unless they are there from an earlier run."""
    heading("Documents", "col.add(documents)")
    kept = set(col.doc_ids())
    batch = [document for document in documents() if document.doc_id not in kept]
    if not batch:
        console.print(f"{len(col):,} docstrings, kept from the last run in {col.stats().path}")
        return
    began = time.perf_counter()
    for start in track(range(0, len(batch), BATCH), description="Encoding docstrings", console=console):
        col.add(batch[start : start + BATCH])
    seconds = time.perf_counter() - began
    rate = f"{len(batch):,} of them in {seconds:.1f} s, {len(batch) / seconds:,.0f} a second"
    console.print(f"{len(col):,} docstrings of the standard library, {rate}")


def show(hits: nf.Hits) -> None:
    """Print hits as a table."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for hit in hits:
        line = textwrap.shorten(hit.passage.text, 54, placeholder=" …")
        table.add_row(f"{hit.score:6.3f}", f"[green]{escape(hit.doc_id)}[/]", escape(line))
    console.print(table)


def show_searches(col: nf.Collection) -> None:
    """Search in the three modes, and with a condition."""
    query = "run a function in another process and get its result"
    for mode in ("semantic", "lexical", "hybrid"):
        heading(f"Search, {mode}", f'col.search("{query}", k=3, mode="{mode}")')
        show(col.search(query, k=3, mode=mode))
    heading(
        "Search with a condition: only functions, of few words",
        'col.search("remove a directory and everything in it", k=3, where={"kind": "function", "words": {"$lt": 40}})',
    )
    show(col.search("remove a directory and everything in it", k=3, where={"kind": "function", "words": {"$lt": 40}}))
    heading("Many queries at once", "col.search([…], k=1)")
    for hits in col.search(["parse command line options", "compress bytes", "days between two dates"], k=1):
        show(hits)


def show_recommendations(col: nf.Collection) -> None:
    """Similar documents, and recommendations from tastes."""
    heading("Similar to shutil.copyfile", 'col.similar("shutil.copyfile", k=4)')
    show(col.similar("shutil.copyfile", k=4))
    heading(
        "Liked: json.dumps and the module csv; disliked: the module pickle",
        'col.recommend(liked=["json.dumps", "csv"], disliked=["pickle"], k=4, strategy="best")',
    )
    show(col.recommend(liked=["json.dumps", "csv"], disliked=["pickle"], k=4, strategy="best"))
    heading("A wish in words, diversified", 'col.recommend(query="read a spreadsheet", k=4, diversity=0.5)')
    show(col.recommend(query="read a spreadsheet", k=4, diversity=0.5))


def show_topics(col: nf.Collection) -> None:
    """Cluster the modules' docstrings, and name the clusters."""
    heading("Topics of the modules", 'col.cluster(n_clusters=8, where={"kind": "module"})')
    found = col.cluster(n_clusters=8, where={"kind": "module"})
    table = Table(box=None, pad_edge=False)
    for column in ("size", "terms", "representatives"):
        table.add_column(column)
    for cluster in found.clusters:
        row = (str(cluster.size), ", ".join(cluster.terms[:6]), ", ".join(cluster.representatives[:3]))
        table.add_row(*map(escape, row))
    console.print(table)


def show_evaluation(col: nf.Collection, location: Path) -> None:
    """Measure search on a task whose answers are known: find a docstring by its first line, which was taken away."""
    heading(
        "Evaluation: find each docstring, less its first line, by that line",
        'col.evaluate(queries, qrels, ["nDCG@10", "R@10", "MRR"], mode=…)',
    )
    queries, rest = {}, []
    for document in col:
        first, _, remainder = document.text.partition("\n\n")
        if len(remainder) >= 120 and 30 <= len(first) <= 100:
            queries[str(document.doc_id)] = first
            rest.append({"doc_id": document.doc_id, "text": remainder})
    asked = dict(list(queries.items())[:EVALUATED])
    with nf.open(location) as known:
        if not len(known):
            known.add(rest)
        table = Table(box=None, pad_edge=False)
        for column in ("mode", "nDCG@10", "R@10", "MRR"):
            table.add_column(column)
        for mode in ("lexical", "semantic", "hybrid"):
            report = known.evaluate(
                asked, {name: [name] for name in asked}, ["nDCG@10", "R@10", "MRR"], mode=mode, k=10
            )
            cells = []
            for measure in ("nDCG@10", "R@10", "MRR"):
                low, high = report.interval[measure]
                cells.append(f"{report.mean[measure]:.3f}  [dim]{low:.3f} to {high:.3f}[/]")
            table.add_row(mode, *cells)
        console.print(table)
        console.print(f"[dim]{len(asked)} queries over {len(known):,} documents, means and 95 % intervals[/]")


def show_serving(location: Path) -> None:
    """Say how to go on."""
    command = Path(sys.executable).with_name("nearfield")
    heading("Serve it, or search it from the shell")
    for line in (
        f"{command} serve {location}",
        'curl "http://127.0.0.1:8000/search/?q=open+a+file&top_k=3"',
        f'{command} search {location} "open a file" --k 3',
    ):
        console.print(f"  {escape(line)}", soft_wrap=True)
    console.print(f"[dim]Python with nearfield installed: {sys.executable}[/]", soft_wrap=True)


if __name__ == "__main__":
    main()
