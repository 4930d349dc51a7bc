"""The founding guide's script, redone in nearfield: eight sentences; search, recommendation, clustering.

python examples/guide.py            prints the answers
python examples/guide.py --check    also compares them with the guide's, and fails if they differ
"""

from __future__ import annotations

import sys
import tempfile

import nearfield as nf

SENTENCES = [
    "Learn Python for data science.",
    "Neural networks for image classification.",
    "Building recommendation systems with embeddings.",
    "Introduction to clustering and k-means.",
    "Deploying machine learning models to production.",
    "Semantic search using vector databases.",
    "Collaborative filtering for movie recommendations.",
    "Topic modeling and document clustering.",
]

Answers = dict[str, list[tuple[str, float]]]

EXPECTED: Answers = {
    'search "How to build a recommender?"': [("2", 0.6456), ("6", 0.5925), ("7", 0.2876)],
    'search "embedding-based systems"': [("2", 0.5454), ("5", 0.3181), ("6", 0.3017)],
    'search "I want to learn about clustering"': [("3", 0.5820), ("7", 0.4681), ("0", 0.3532)],
    "similar to 2": [("6", 0.5698), ("7", 0.2637), ("5", 0.2162)],
    "liked 0 and 3": [("7", 0.4165), ("5", 0.3475), ("6", 0.2503)],
}
GROUPS = {frozenset("014"), frozenset("26"), frozenset("357")}


def main() -> None:
    """Print the guide's answers; with --check, fail if they differ."""
    with tempfile.TemporaryDirectory() as folder, nf.open(f"{folder}/guide.nf") as col:
        col.add(SENTENCES)
        answers = {
            call: col.search(call.split('"')[1], k=3, mode="semantic") for call in EXPECTED if call.startswith("search")
        }
        answers["similar to 2"] = col.similar("2", k=3)
        answers["liked 0 and 3"] = col.recommend(liked=["0", "3"], k=3)
        for call, hits in answers.items():
            print(f"\n{call}")
            for hit in hits:
                print(f"  {hit.score:.4f}  {hit.doc_id}  {hit.text}")
        groups = {method: _groups(col, method) for method in ("kmeans", "ward")}
    if "--check" in sys.argv:
        _check({call: list(zip(hits.doc_ids, hits.scores, strict=True)) for call, hits in answers.items()}, groups)
        print("\nAll as in the guide.")


def _groups(col: nf.Collection, method: str) -> set[frozenset[str]]:
    found = col.cluster(n_clusters=3, method=method)
    print(f"\n{method}, 3 clusters")
    for cluster in found.clusters:
        members = [doc_id for doc_id, label in found.labels.items() if label == cluster.label]
        print(f"  {', '.join(members)}: {', '.join(cluster.terms[:5])}")
    return {
        frozenset(doc_id for doc_id, label in found.labels.items() if label == cluster.label)
        for cluster in found.clusters
    }


def _check(answers: Answers, groups: dict[str, set[frozenset[str]]]) -> None:
    for call, expected in EXPECTED.items():
        for (doc_id, score), (wanted, wanted_score) in zip(answers[call], expected, strict=True):
            if doc_id != wanted or abs(score - wanted_score) > 0.01:
                sys.exit(f"{call}: expected {expected}, got {answers[call]}")
    for method, found in groups.items():
        if found != GROUPS:
            sys.exit(f"{method}: expected {GROUPS}, got {found}")


if __name__ == "__main__":
    main()
