import sys

import numpy as np
import pytest

from nearfield.cluster import find_clusters
from nearfield.documents import read_files
from nearfield.errors import MissingDependency
from nearfield.evaluate import evaluate_run
from nearfield.hits import Hits

FOUND = find_clusters(["a", "b"], np.eye(2, dtype=np.float32), ["tea", "map"], n_clusters=2, method="ward")


@pytest.mark.parametrize(
    ("missing", "use", "message"),
    [
        ("pandas", lambda path: Hits().to_pandas(), r"to_pandas needs pandas: pip install 'nearfield\[frames\]'"),
        ("pandas", lambda path: FOUND.to_pandas(), "to_pandas needs pandas"),
        ("pandas", lambda path: evaluate_run({"q": {"a": 1}}, {"q": ["a"]}).to_pandas(), "to_pandas needs pandas"),
        ("matplotlib.figure", lambda path: FOUND.dendrogram(), r"a picture needs matplotlib: .*nearfield\[plot\]"),
        ("pyarrow.parquet", lambda path: list(read_files(path)), r"reading Parquet needs pyarrow: .*\[frames\]"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, missing, use, message):
    monkeypatch.setitem(sys.modules, missing, None)
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(MissingDependency, match=message):
        use(path)
