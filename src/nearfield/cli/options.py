"""Arguments and options that several commands share, and reading their values."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeAlias

import typer

from nearfield.errors import InvalidInput

MODES = ("hybrid", "semantic", "lexical")
FUSIONS = ("standardised", "reciprocal")
STRATEGIES = ("average", "best")
METHODS = ("kmeans", "ward", "ward-cut", "average")
FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "text", "lines", "markdown")

Path: TypeAlias = Annotated[str, typer.Argument(metavar="PATH", help="The collection, a folder.")]
K: TypeAlias = Annotated[int, typer.Option("--k", "-k", metavar="N", help="How many hits.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and errors as JSON to stderr.")]
WhereText: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--where", metavar="JSON", help='Only documents whose metadata match, e.g. \'{"year": {"$gte": 2024}}\'.'
    ),
]
Mode: TypeAlias = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="MODE",
        autocompletion=lambda: list(MODES),
        help="hybrid (both, fused), semantic (vectors) or lexical (BM25).",
    ),
]
SemanticWeight: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--semantic-weight",
        metavar="0..1",
        show_default=False,
        help="Weight of the semantic leg in hybrid search; if not given, 0.7, or 0.5 with reciprocal fusion.",
    ),
]
Fusion: TypeAlias = Annotated[
    str,
    typer.Option(
        "--fusion",
        metavar="KIND",
        autocompletion=lambda: list(FUSIONS),
        help="standardised (sum of standardised scores) or reciprocal (of ranks).",
    ),
]
Diversity: TypeAlias = Annotated[
    float,
    typer.Option("--diversity", metavar="0..1", help="0: by relevance alone; more: hits that differ from each other."),
]

Files: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES",
        help="Files and folders to read, or - for stdin: JSON lines, JSON, CSV, TSV, Parquet, text, Markdown; "
        "each may be gzipped.",
    ),
]
IdField: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--doc-id", metavar="FIELD", help="Field with the ids. Else doc_id, id or _id; without one they are numbered."
    ),
]
TextField: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--text",
        metavar="FIELD",
        help="Field with the text. Else text, or the only one of content, body, abstract, ...",
    ),
]
TitleField: TypeAlias = Annotated[
    str | None, typer.Option("--title", metavar="FIELD", help="Field with the title. Else title, if there is one.")
]
MetadataFields: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata", metavar="FIELD", help="Field to keep as metadata, may be repeated. Else all other fields."
    ),
]
Format: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        autocompletion=lambda: list(FORMATS),
        help=f"Format of every file, whatever its name: {', '.join(FORMATS)} (a document a line).",
    ),
]
Limit: TypeAlias = Annotated[int | None, typer.Option("--limit", metavar="N", help="Read no more documents than this.")]
SkipEmpty: TypeAlias = Annotated[
    bool, typer.Option("--skip-empty", help="Leave out rows without text and title, and say how many; else an error.")
]
BatchSize: TypeAlias = Annotated[
    int, typer.Option("--batch-size", min=1, max=1_000_000, metavar="N", help="Documents that are committed together.")
]
Restart: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--restart", help="Begin with the first document, also if an earlier run that was cut off stored some of them."
    ),
]
VectorCache: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--vector-cache",
        help="Keep vectors in the user's cache folder too, so that no collection with the same encoder encodes a text "
        "again.",
    ),
]
EncoderName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="NAME",
        help="Model's name, folder, or endpoint as https://host/v1#model, fixed when the collection is made; "
        "all-MiniLM-L6-v2 if not given.",
    ),
]
IndexKind: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="KIND",
        help="Index of the vectors, fixed when the collection is made: auto, exact, a name such as hnsw or ivf-flat, "
        "or a FAISS factory string; auto if not given.",
    ),
]
Recall: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--recall",
        metavar="0..1",
        help="Share of the true nearest that searches must find, fixed when the collection is made; 0.95 if not given.",
    ),
]
Memory: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--memory",
        metavar="BYTES",
        help="Most bytes of the index that auto chooses, fixed when the collection is made; no limit if not given.",
    ),
]


def parse_where(text: str | None) -> dict[str, Any] | None:
    """Return the condition that --where states.

    Raises:
        InvalidInput: it is no JSON object.

    >>> parse_where('{"year": {"$gte": 2024}}')
    {'year': {'$gte': 2024}}
    """
    if text is None:
        return None
    example = """such as --where '{"year": {"$gte": 2024}}'"""
    try:
        where = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"--where must be JSON, {example}, got {text!r}: {error}") from None
    if not isinstance(where, dict):
        raise InvalidInput(f"--where must be a JSON object, {example}, got {text!r}")
    return where
