from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from sklearn.decomposition import PCA

from nearfield.cluster import Clustering, find_clusters
from nearfield.cluster.plots import principal_plane
from nearfield.errors import InvalidInput


def found(n: int = 12, method: str = "ward", doc_ids: list[str] | None = None, groups: int = 3) -> Clustering:
    draw = np.random.default_rng(0)
    vectors = np.eye(8)[np.arange(n) % groups] + 0.1 * draw.normal(size=(n, 8))
    names = doc_ids or [f"doc-{i:03}" for i in range(n)]
    texts = [f"topic{'abcdefgh'[i % groups]}" for i in range(n)]
    return find_clusters(names, vectors.astype(np.float32), texts, n_clusters=groups, method=method)


def texts_of(svg: Path) -> list[str]:
    return [node.text or "" for node in ET.parse(svg).getroot().iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("method", ["ward", "average"])
def test_a_dendrogram_names_every_document(tmp_path: Path, method: str) -> None:
    file = tmp_path / "tree.svg"
    found(method=method).dendrogram(file)
    written = texts_of(file)
    assert sorted(text for text in written if text.startswith("doc-")) == [f"doc-{i:03}" for i in range(12)]
    assert {text for text in written if re.match(r"\d: topic", text)} == {
        "0: topica (4)",
        "1: topicb (4)",
        "2: topicc (4)",
    }


def test_a_large_dendrogram_shows_the_last_merges(tmp_path: Path) -> None:
    file = tmp_path / "tree.svg"
    found(n=300).dendrogram(file, leaves=20)
    leaves = [text for text in texts_of(file) if text.startswith("doc-") or text.endswith(" documents")]
    assert len(leaves) == 20
    assert sum(int(text.split()[0]) if text.endswith("documents") else 1 for text in leaves) == 300


def test_the_tree_is_drawn_at_its_heights() -> None:
    clustering = found()
    lines = clustering.dendrogram().axes[0].collections[0].get_segments()
    heights = sorted(float(segment[1][0]) for segment in lines)
    assert heights == pytest.approx(sorted(clustering._tree[:, 2]))


def test_merges_within_a_cluster_have_its_colour_and_others_are_grey() -> None:
    colours = found().dendrogram().axes[0].collections[0].get_colors()
    assert len({tuple(colour) for colour in colours}) == 4
    grey = [colour for colour in colours if colour[0] == colour[1] == colour[2]]
    assert len(grey) == 2


def test_png_and_svg_are_valid_and_repeatable(tmp_path: Path) -> None:
    for name in ("tree.png", "map.svg", "tree.svg", "map.PNG"):
        files = [tmp_path / str(i) / name for i in range(2)]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            draw = found().dendrogram if name.startswith("tree") else found().plot
            draw(file)
        assert files[0].read_bytes() == files[1].read_bytes()
        if name.endswith("svg"):
            assert ET.parse(files[0]).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            pixels = image.imread(files[0])
            assert min(pixels.shape[:2]) > 300
            assert pixels.std() > 0.01


@pytest.mark.parametrize("method", ["kmeans", "ward"])
def test_a_map_shows_every_document_in_its_clusters_colour(method: str) -> None:
    clustering = found(method=method)
    axes = clustering.plot().axes[0]
    assert [len(points.get_offsets()) for points in axes.collections] == [4, 4, 4]
    assert len({tuple(points.get_facecolor()[0]) for points in axes.collections}) == 3


def test_the_plane_is_scikit_learns_up_to_the_sign() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    expected = PCA(2, svd_solver="full").fit_transform(vectors.astype(np.float64))
    np.testing.assert_allclose(np.abs(principal_plane(vectors)), np.abs(expected), atol=1e-6)
    axes, *_ = np.linalg.lstsq(vectors - vectors.mean(axis=0), principal_plane(vectors), rcond=None)
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in axes.T)
    assert principal_plane(vectors) == pytest.approx(principal_plane(-vectors) * -1)
    assert principal_plane(np.ones((3, 1), dtype=np.float32)).tolist() == [[0, 0]] * 3


def test_odd_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = ["a$b$c", "_hidden", "<&>", "文書", "😀", "x" * 90, "$\\frac{", "plain", "9", "10", "11", "12"]
    found(doc_ids=names).dendrogram(tmp_path / "tree.svg")
    written = texts_of(tmp_path / "tree.svg")
    assert {"a$b$c", "_hidden", "<&>", "文書", "😀", "$\\frac{", f"{'x' * 39}…"} <= set(written)
    found(doc_ids=names).dendrogram(tmp_path / "tree.png")


def test_many_clusters_have_a_short_legend(tmp_path: Path) -> None:
    vectors = np.eye(30, dtype=np.float32)
    clustering = find_clusters([f"{i:02}" for i in range(30)], vectors, ["w"] * 30, n_clusters=30)
    clustering.plot(tmp_path / "map.svg")
    assert "and 10 smaller clusters" in texts_of(tmp_path / "map.svg")


def test_pictures_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'kmeans' makes no tree to draw; use method='ward' or 'average'"):
        found(method="kmeans").dendrogram(tmp_path / "tree.png")
    with pytest.raises(InvalidInput, match=r"must be \.png or \.svg; got '.*tree\.pdf'"):
        found().dendrogram(tmp_path / "tree.pdf")
    with pytest.raises(InvalidInput, match="can't be written"):
        found().plot(tmp_path / "missing" / "map.png")
    for leaves in (1, 501, True, 2.0):
        with pytest.raises(InvalidInput, match="leaves must be an int from 2 to 500"):
            found().dendrogram(leaves=leaves)  # type: ignore[arg-type]
