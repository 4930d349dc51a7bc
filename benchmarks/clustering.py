"""Clusters of labelled texts against scikit-learn's, on the same vectors: agreement with the labels, and seconds.

    python benchmarks/clustering.py --data FOLDER

FOLDER holds a folder for each set, with docs.jsonl.gz: on each line an object with "text", "label", perhaps "title".
Agreement is the normalised mutual information and the adjusted Rand index, both × 100, higher is better. Seconds of
nearfield include terms and representatives, which scikit-learn doesn't make. The last row of a set lets nearfield
choose the number of clusters.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from nearfield.cluster import find_clusters
from nearfield.cluster.partition import LINKAGE_LIMIT
from nearfield.encode import DEFAULT_ENCODER, load_encoder
from nearfield.encode.whole import encode_documents

SETS = ("bbc_news", "banking77", "stackoverflow20")


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--sets", nargs="+", default=SETS, help="which sets (default: %(default)s)")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, help="name or folder of the encoder")
    parser.add_argument("--vectors", type=Path, help="a folder that keeps vectors from run to run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.sets:
        texts, labels = read(options.data / name / "docs.jsonl.gz")
        vectors = encode(name, texts, options.encoder, options.vectors)
        compare(name, texts, labels, vectors, options.seed)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def read(path: Path) -> tuple[list[str], list[str]]:
    """Return the texts, each after its title, and their labels."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [f"{row.get('title') or ''}\n{row['text']}".strip() for row in rows], [str(row["label"]) for row in rows]


def encode(name: str, texts: list[str], encoder_name: str, folder: Path | None) -> np.ndarray:
    """Return the texts' vectors, from `folder` if they are there."""
    file = folder / f"{name}.npy" if folder else None
    if file and file.exists():
        return np.load(file)
    encoder = load_encoder(encoder_name)
    start = time.perf_counter()
    vectors = encode_documents(texts, encoder)
    print(f"{name}: {len(texts):,} texts encoded in {time.perf_counter() - start:.1f} s")
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, vectors)
    return vectors


def compare(name: str, texts: list[str], labels: list[str], vectors: np.ndarray, seed: int) -> None:
    """Print a row for each method of nearfield and of scikit-learn."""
    k, n = len(set(labels)), len(texts)
    doc_ids = [f"{row:09}" for row in range(n)]

    def ours(method: str, n_clusters: int | None) -> list[int]:
        found = find_clusters(doc_ids, vectors, texts, n_clusters=n_clusters, method=method, seed=seed)
        return list(found.labels.values())

    def kmeans() -> list[int]:
        return KMeans(k, n_init=10, random_state=seed).fit_predict(vectors).tolist()

    def ward() -> list[int]:
        return AgglomerativeClustering(k, linkage="ward").fit_predict(vectors).tolist()

    print(f"\n{name}: {n:,} documents, {k} labels, vectors {vectors.nbytes / 1e6:.0f} MB")
    print(f"{'':28}  clusters   NMI   ARI  seconds")
    pairs = [
        (
            measure("k-means, nearfield", lambda: ours("kmeans", k), labels),
            measure("k-means, scikit-learn", kmeans, labels),
        )
    ]
    if n <= LINKAGE_LIMIT:
        pairs.append(
            (measure("Ward, nearfield", lambda: ours("ward", k), labels), measure("Ward, scikit-learn", ward, labels))
        )
    for mine, peer in pairs:
        print(f"nearfield ÷ scikit-learn, seconds: {mine / peer:.2f}")
    measure("k-means, nearfield, chosen k", lambda: ours("kmeans", None), labels)


def measure(title: str, cluster: Callable[[], list[int]], labels: list[str]) -> float:
    """Print one row and return its seconds."""
    start = time.perf_counter()
    found = cluster()
    seconds = time.perf_counter() - start
    agreement = 100 * normalized_mutual_info_score(labels, found), 100 * adjusted_rand_score(labels, found)
    print(f"{title:28}  {len(set(found)):8}  {agreement[0]:4.1f}  {agreement[1]:4.1f}  {seconds:7.2f}")
    return seconds


if __name__ == "__main__":
    main()
