"""`nearfield cluster`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nearfield.cli import options
from nearfield.cli.opened import existing
from nearfield.cli.output import print_json, print_table

if TYPE_CHECKING:
    from nearfield.cluster import Clustering


def command(
    path: options.Path,
    n_clusters: Annotated[
        int | None, typer.Option("--n-clusters", metavar="N", help="How many clusters. Else chosen.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="METHOD",
            autocompletion=lambda: list(options.METHODS),
            help=f"{', '.join(options.METHODS)} (the last three are linkages).",
        ),
    ] = "kmeans",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the random starts.")] = 0,
    where: options.WhereText = None,
    labels: Annotated[bool, typer.Option("--labels", help="Also say which document is in which cluster.")] = False,
    dendrogram: Annotated[
        str | None, typer.Option("--dendrogram", metavar="FILE", help="Draw the tree of a linkage (.png or .svg).")
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", metavar="FILE", help="Draw a map of the documents (.png or .svg).")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Group the documents, with the terms that tell each group from the others.

    With --json: an object with method, n_clusters, clusters (label, size, terms, representatives, similarities) and,
    with --labels, labels (doc_id to label; -1 is an outlier).
    """
    condition = options.parse_where(where)
    with existing(path) as collection:
        found = collection.cluster(n_clusters, method, where=condition, seed=seed)
    if dendrogram is not None:
        found.dendrogram(dendrogram)
    if plot is not None:
        found.plot(plot)
    if as_json:
        fields = found.to_dict()
        print_json(fields if labels else {name: value for name, value in fields.items() if name != "labels"})
    else:
        _print(found, labels)


def _print(found: Clustering, labels: bool) -> None:
    print_table(
        ("label", "size", "terms", "representatives"),
        ([cluster.label, cluster.size, ", ".join(cluster.terms), ", ".join(cluster.representatives)]
         for cluster in found.clusters),
        right=("label", "size"),
    )  # fmt: skip
    if labels:
        print_table(("label", "doc_id"), ((label, doc_id) for doc_id, label in found.labels.items()), right=("label",))
