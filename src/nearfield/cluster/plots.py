"""Pictures of clusters: the tree of a linkage, and a map of the documents."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.encode.protocol import Vectors
from nearfield.errors import InvalidInput
from nearfield.extras import load_extra

if TYPE_CHECKING:
    from nearfield.cluster.clustering import Cluster

Ints: TypeAlias = NDArray[np.int64]

_SHARED = "#888888"
_NAMED = 20
_TERMS = 4
_RASTER = 5_000


def draw_dendrogram(
    tree: NDArray[np.float64], labels: Mapping[str, int], clusters: Sequence[Cluster], leaves: int
) -> Any:
    """Return a Figure of SciPy's linkage matrix; `labels` gives its leaves in order, as {doc_id: label}."""
    if isinstance(leaves, bool) or not isinstance(leaves, int) or not 2 <= leaves <= 500:
        raise InvalidInput(f"leaves must be an int from 2 to 500; got {leaves!r}")
    if not len(tree):
        raise InvalidInput("a tree needs at least 2 documents whose vectors are not zero")
    figure = _figure(10, 1.5 + 0.22 * min(leaves, len(labels)))
    from matplotlib.collections import LineCollection
    from scipy.cluster.hierarchy import dendrogram

    doc_ids = list(labels)
    owner = _owners(tree, list(labels.values()))
    colours = [_colour(label) for label in owner]
    shape = dendrogram(tree, p=leaves, truncate_mode="lastp", no_plot=True, link_color_func=colours.__getitem__)
    axes = figure.add_subplot()
    lines = [list(zip(x, y, strict=True)) for x, y in zip(shape["dcoord"], shape["icoord"], strict=True)]
    axes.add_collection(LineCollection(lines, colors=shape["color_list"], linewidths=1.2))
    names = [
        doc_ids[leaf] if leaf < len(doc_ids) else f"{int(tree[leaf - len(doc_ids), 3])} documents"
        for leaf in shape["leaves"]
    ]
    axes.set_xlim(float(tree[-1, 2]) * 1.02 or 1.0, 0.0)
    axes.set_ylim(0, 10 * len(names))
    axes.yaxis.tick_right()
    axes.set_yticks(range(5, 10 * len(names), 10), [_short(name) for name in names], fontsize=8, parse_math=False)
    for text, leaf in zip(axes.get_yticklabels(), shape["leaves"], strict=True):
        text.set_color(colours[leaf])
    axes.set_xlabel("distance at which parts merge")
    axes.spines[["left", "top"]].set_visible(False)
    _legend(figure, clusters)
    return figure


def draw_map(unit: Vectors, labels: Ints, clusters: Sequence[Cluster]) -> Any:
    """Return a Figure with a point for each row of `unit` at its first two principal components."""
    figure = _figure(9, 6)
    axes = figure.add_subplot()
    points = principal_plane(unit)
    size = max(2.0, 36.0 - 8.0 * float(np.log10(len(points))))
    for cluster in clusters:
        rows = points[labels == cluster.label]
        # Thousands of points would make a vector file of many megabytes.
        axes.scatter(
            rows[:, 0],
            rows[:, 1],
            s=size,
            color=_colour(cluster.label),
            linewidths=0,
            alpha=0.8,
            rasterized=len(points) > _RASTER,
        )
    axes.set_xlabel("first principal component")
    axes.set_ylabel("second principal component")
    _legend(figure, clusters)
    return figure


def principal_plane(unit: Vectors) -> NDArray[np.float64]:
    """Return each row's first two principal components, float64 `(n, 2)`, the mean at the origin.

    The sign of an axis is such that its largest weight is positive. With a single column the second one is 0.
    """
    centred = unit.astype(np.float64)
    centred -= centred.mean(axis=0)
    # The right singular vectors of n rows are the eigenvectors of a d by d matrix, which is small.
    _, _, axes = np.linalg.svd(centred.T @ centred)
    axes = axes[:2]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    plane = np.zeros((len(unit), 2))
    plane[:, : len(axes)] = centred @ axes.T
    return plane


def save(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    """Return the figure, after writing it to `path` if that isn't None; the same figure gives the same bytes.

    Raises:
        InvalidInput: the suffix is neither .png nor .svg, or the file can't be written.
    """
    if path is None:
        return figure
    import matplotlib

    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".svg"):
        raise InvalidInput(f"a picture must be .png or .svg; got {os.fspath(path)!r}")
    metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
    # SVG keeps its text as text, to be searched and read aloud; its ids come from a fixed salt.
    options = {"svg.fonttype": "none", "svg.hashsalt": "nearfield"}
    with matplotlib.rc_context(options), warnings.catch_warnings():
        # A doc_id or a term may be in a script that the picture's font lacks; it shows as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        try:
            figure.savefig(path, format=suffix[1:], dpi=150, bbox_inches="tight", metadata=metadata)
        except OSError as error:
            raise InvalidInput(f"{os.fspath(path)} can't be written: {error}") from error
    return figure


def _figure(width: float, height: float) -> Any:
    figures = load_extra("matplotlib.figure", "plot", "a picture")
    return figures.Figure(figsize=(width, height), layout="constrained")


def _owners(tree: NDArray[np.float64], labels: Sequence[int]) -> list[int]:
    """Return the cluster of every node of the tree, -1 where a merge joins several."""
    owner = list(labels)
    for left, right in tree[:, :2].astype(np.int64):
        owner.append(owner[left] if owner[left] == owner[right] else -1)
    return owner


def _colour(label: int) -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if label < 0:
        return _SHARED
    # tab20 lists each hue dark, then light: all dark ones come first.
    place = label % 20
    return to_hex(colormaps["tab20"]((2 * place) % 20 + place // 10))


def _legend(figure: Any, clusters: Sequence[Cluster]) -> None:
    from matplotlib.lines import Line2D

    shown = clusters[:_NAMED]
    handles = [Line2D([], [], marker="o", linestyle="", color=_colour(cluster.label)) for cluster in shown]
    names = [f"{c.label}: {_short(', '.join(c.terms[:_TERMS]), 60)} ({c.size})" for c in shown]
    if len(clusters) > _NAMED:
        handles.append(Line2D([], [], linestyle=""))
        names.append(f"and {len(clusters) - _NAMED} smaller clusters")
    legend = figure.legend(handles, names, loc="outside lower left", fontsize=8, frameon=False, ncols=2)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _short(text: str, length: int = 40) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
