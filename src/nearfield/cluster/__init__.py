"""Grouping documents: k-means, Ward's and average linkage, with terms, representatives and plots.

`find_clusters` takes ids, vectors and texts, and returns a `Clustering`.
"""

from __future__ import annotations

from nearfield.cluster.clustering import Cluster, Clustering
from nearfield.cluster.find import METHODS, find_clusters

__all__ = ["METHODS", "Cluster", "Clustering", "find_clusters"]
