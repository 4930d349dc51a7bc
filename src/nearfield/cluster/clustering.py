"""What was found: `Cluster` and `Clustering`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nearfield.checks import unit_vectors
from nearfield.cluster.terms import describe
from nearfield.encode.protocol import Vectors
from nearfield.errors import InvalidInput
from nearfield.extras import load_extra

Ints: TypeAlias = NDArray[np.int64]
Encode: TypeAlias = Callable[[Sequence[str]], Vectors]

_REPRESENTATIVES = 5


@dataclass(frozen=True)
class Cluster:
    """One group of documents.

    Attributes:
        label: From 0, in order of falling size; of equal sizes the one with the smallest doc_id comes first.
        size: How many documents it has.
        terms: Up to 10 words or phrases that tell it from the others, the most telling first.
        representatives: The doc_ids nearest to its centroid, at most 5, nearest first; of equals the smaller
        doc_id.
        similarities: The cosine of each representative to the centroid, between -1 and 1, higher is nearer.
    """

    label: int
    size: int
    terms: list[str]
    representatives: list[str]
    similarities: list[float]


@dataclass(frozen=True, repr=False, eq=False)
class Clustering:
    """The clusters of some documents; `find_clusters` returns one, and `print` shows sizes and terms.

    Attributes:
        labels: `{doc_id: label}` in ascending order of doc_id; -1: the document's vector is zero, it is in no
        cluster.
        clusters: The clusters, `clusters[label]` being the one with that label.
        method: "kmeans", "ward", "ward-cut" or "average".
    """

    labels: dict[str, int]
    clusters: list[Cluster]
    method: str
    _unit: Vectors = field(repr=False)
    _centroids: Vectors = field(repr=False)
    _tree: NDArray[np.float64] | None = field(repr=False)
    _encode: Encode | None = field(repr=False)

    @property
    def n_clusters(self) -> int:
        """How many clusters there are."""
        return len(self.clusters)

    def assign(self, texts: Sequence[str]) -> list[int]:
        """Return the label of each new text, by encoding it: see `assign_vectors`. No texts give [].

        Raises:
            InvalidInput: the clustering was made without an encoder, or `texts` is no list of strings.
        """
        if self._encode is None:
            raise InvalidInput("assign needs an encoder; pass encode= to find_clusters, or use assign_vectors")
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InvalidInput(f"texts must be a list of strings; got {texts!r:.80}")
        return self.assign_vectors(self._encode(texts)) if len(texts) else []

    def assign_vectors(self, vectors: Vectors) -> list[int]:
        """Return the label of each new vector; `vectors` is float32 `(m, d)`, its rows of any length.

        For "kmeans" and "ward" that is the cluster whose centroid has the highest cosine, for "ward-cut" the one with
        the nearest mean vector (Euclidean, both of normalised vectors), for "average" the one with the highest mean
        cosine to its members. Of equals the smaller label; a zero vector gets -1. Clustered documents keep their label
        with "kmeans" and "ward"; a plain linkage decides from the bottom up, so there a document at a border may be
        given to the neighbouring cluster.

        Raises:
            InvalidInput: another dimension, NaN or infinity.
        """
        unit = unit_vectors(vectors, None, self._centroids.shape[1])
        score = unit @ self._centroids.T
        if self.method != "average":
            # |x - c|² = |x|² - 2 x·c + |c|², and |x|² is the same for every centroid.
            score -= 0.5 * np.einsum("ij,ij->i", self._centroids, self._centroids)
        nearest = np.where(unit.any(axis=1), score.argmax(axis=1), -1)
        return [int(label) for label in nearest]

    def to_dict(self) -> dict[str, Any]:
        """Return method, n_clusters, clusters and labels as plain dicts, lists, strings and numbers."""
        return {
            "method": self.method,
            "n_clusters": self.n_clusters,
            "clusters": [asdict(cluster) for cluster in self.clusters],
            "labels": dict(self.labels),
        }

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row for each document: doc_id, label, and the terms of its cluster.

        Raises:
            MissingDependency: pandas is not installed.
        """
        pandas = load_extra("pandas", "frames", "to_pandas")
        terms = [", ".join(cluster.terms) for cluster in self.clusters] + [""]  # the last one is for label -1
        labels = list(self.labels.values())
        return pandas.DataFrame(
            {"doc_id": list(self.labels), "label": labels, "terms": [terms[label] for label in labels]}
        )

    def dendrogram(self, path: str | os.PathLike[str] | None = None, *, leaves: int = 50) -> Any:
        """Return the tree of a linkage as a matplotlib Figure; write it to `path` (.png or .svg) if given.

        The length of a branch is the distance at which its parts merged: for "ward" the square root of twice
        the rise of the sum of squares, for "average" the mean cosine distance. Every cluster has its colour.
        Of a tree with more than `leaves` documents the last merges are shown, and a leaf says how many
        documents it stands for.

        Raises:
            InvalidInput: the method is "kmeans", which makes no tree; another suffix; `leaves` outside 2 to
                500; or the file can't be written.
            MissingDependency: matplotlib is not installed.
        """
        from nearfield.cluster.plots import draw_dendrogram, save

        if self._tree is None:
            raise InvalidInput(f"method {self.method!r} makes no tree to draw; use method='ward' or 'average'")
        figure = draw_dendrogram(self._tree, self._inside(), self.clusters, leaves)
        return save(figure, path)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Return a map of the documents as a matplotlib Figure; write it to `path` (.png or .svg) if given.

        The two axes are the principal components of the normalised vectors, so near points are alike, though
        far clusters may overlap. The legend names the 20 largest clusters by their terms. Documents of no
        cluster are left out. The same clustering gives the same picture.

        Raises:
            InvalidInput: another suffix, or the file can't be written.
            MissingDependency: matplotlib is not installed.
        """
        from nearfield.cluster.plots import draw_map, save

        labels = np.array(list(self._inside().values()))
        return save(draw_map(self._unit, labels, self.clusters), path)

    def _inside(self) -> dict[str, int]:
        return {doc_id: label for doc_id, label in self.labels.items() if label >= 0}

    def __repr__(self) -> str:
        width = len(str(max((cluster.size for cluster in self.clusters), default=0)))
        rows = [f"{cluster.label:>4}  {cluster.size:>{width}}  {', '.join(cluster.terms)}" for cluster in self.clusters]
        noun = "cluster" if self.n_clusters == 1 else "clusters"
        return "\n".join([f"{self.n_clusters} {noun} of {len(self.labels)} documents ({self.method})", *rows])


def make_clustering(
    doc_ids: Sequence[str],
    unit: Vectors,
    texts: Sequence[str],
    labels: Ints,
    *,
    method: str,
    tree: NDArray[np.float64] | None,
    encode: Encode | None,
) -> Clustering:
    """Return the clustering of documents in ascending order of doc_id, labels in order of falling size."""
    n_clusters = int(labels.max()) + 1
    terms = describe(texts, labels, n_clusters)
    centroids = np.empty((n_clusters, unit.shape[1]), dtype=np.float32)
    clusters = []
    for label in range(n_clusters):
        rows = np.flatnonzero(labels == label)
        mean = unit[rows].mean(axis=0, dtype=np.float64)
        length = max(float(np.linalg.norm(mean)), 1e-12)
        centroids[label] = mean / length if method in ("kmeans", "ward") else mean
        # Rounded, so that equal vectors are equal whatever the processor's order of summation.
        cosines = (unit[rows] @ (mean / length)).round(6)
        nearest = np.argsort(-cosines, kind="stable")[:_REPRESENTATIVES]
        clusters.append(
            Cluster(
                label=label,
                size=len(rows),
                terms=terms[label],
                representatives=[doc_ids[rows[i]] for i in nearest],
                similarities=[float(cosines[i]) for i in nearest],
            )
        )
    named = {doc_id: int(label) for doc_id, label in zip(doc_ids, labels, strict=True)}
    return Clustering(named, clusters, method, unit[labels >= 0], centroids, tree, encode)
