"""nearfield's index beside scikit-learn, PyTorch and the user's own FAISS in one process: their OpenMP libraries may be
one, and which of them FAISS uses depends on what was imported before."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from nearfield.index.faiss import import_faiss, in_this_thread, on_all_processors, processors

SECONDS = 120
"""After which a process hangs."""

TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not TORCH, reason="PyTorch isn't installed: pip install torch")
ORDERS = [
    "faiss,sklearn.cluster",
    "sklearn.cluster,faiss",
    pytest.param("faiss,sklearn.cluster,torch", marks=needs_torch),
    pytest.param("torch,sklearn.cluster,faiss", marks=needs_torch),
    pytest.param("sklearn.cluster,torch,faiss", marks=needs_torch),
]

PREAMBLE = """
import importlib, json, os, sys, threading, time
import numpy as np
for module in sys.argv[2].split(","):
    importlib.import_module(module)
import nearfield as nf
from threadpoolctl import threadpool_info

torch = sys.modules.get("torch")
rng = np.random.default_rng(0)
middles = rng.standard_normal((30, 24))
vectors = (middles[rng.integers(0, 30, 3000)] + 0.5 * rng.standard_normal((3000, 24))).astype(np.float32)
queries = (vectors[:40] + 0.1).astype(np.float32)

def threads():
    "How many threads this thread's libraries may use."
    openmp = {one["filepath"]: one["num_threads"] for one in threadpool_info() if one["user_api"] == "openmp"}
    return {**openmp, "torch": torch.get_num_threads() if torch else 0}

def ids(hits):
    return [hit.doc_id for hit in hits]

def single():
    return [ids(col.search(query, k=5, mode="semantic")) for query in queries]

def batch():
    return [ids(hits) for hits in col.search(queries, k=5, mode="semantic")]

col = nf.open(sys.argv[1])
assert col.stats().index["kind"] != "exact"
"""

ALTERNATELY = """
from sklearn.cluster import KMeans

def grouped():
    return float(KMeans(30, n_init=1, random_state=0).fit(vectors).inertia_)

def multiplied():
    if torch is None:
        return 0.0
    rows = torch.from_numpy(vectors)
    return float((rows @ rows.T).sum())

def clustered():
    return sorted(cluster.size for cluster in col.cluster(n_clusters=5, method="kmeans").clusters)

WORK = [single, batch, grouped, multiplied, clustered, batch, single]
alone = {work: work() for work in WORK}

def same(work, told):
    return told == alone[work] if work in (single, batch, clustered) else np.isclose(told, alone[work], rtol=1e-3)

wrong = [work.__name__ for _ in range(2) for work in WORK if not same(work, work())]

def several(first):
    for number in range(len(WORK)):
        work = WORK[(first + number) % len(WORK)]
        if not same(work, work()):
            wrong.append(f"{work.__name__} in a thread")

pool = [threading.Thread(target=several, args=(first,)) for first in range(4)]
for thread in pool:
    thread.start()
for thread in pool:
    thread.join()
print(json.dumps({"wrong": wrong, "same": alone[single] == alone[batch]}))
"""

UNCHANGED = """
before = threads()
told = {}
for name, work in {"single": single, "batch": batch}.items():
    work()
    told[name] = threads()
print(json.dumps({"before": before, **told}))
"""

QUIET = """
def running():
    return len(os.listdir("/proc/self/task"))

single()
before = running()
batch()
for _ in range(100):  # the pool's threads end a moment after the search
    if running() == before:
        break
    time.sleep(0.05)
print(json.dumps({"before": before, "after": running()}))
"""


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A collection with an index, 3,000 vectors in clusters."""
    folder = tmp_path_factory.mktemp("threads") / "col.nf"
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((30, 24))
    vectors = (middles[rng.integers(0, 30, 3000)] + 0.5 * rng.standard_normal((3000, 24))).astype(np.float32)
    with nf.open(folder, index="ivf-flat") as col:
        col.add([{"doc_id": f"d{i}", "text": f"number {i}"} for i in range(3000)], vectors=vectors)
    return folder


def run(folder: Path, order: str, script: str, **environment: str) -> dict:
    """Run a script in a process that imports modules in an order, and return what it tells."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PREAMBLE + script, str(folder), order],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_alternately_and_from_several_threads_each_gives_what_it_gives_alone(indexed, order):
    assert run(indexed, order, ALTERNATELY) == {"wrong": [], "same": True}


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_the_callers_number_of_threads_is_as_before(indexed, order):
    told = run(indexed, order, UNCHANGED)
    assert told["batch"] == told["before"]
    assert told["single"] == told["before"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in Linux's /proc")
def test_no_thread_of_a_batch_goes_on(indexed):
    told = run(indexed, "faiss", QUIET)
    assert told["after"] == told["before"]


@pytest.mark.slow
@pytest.mark.parametrize(("given", "used"), [("", processors()), ("1", 1), ("64", processors())])
def test_omp_num_threads_of_the_user_is_an_upper_limit(indexed, given, used):
    script = """
from nearfield.index.faiss import import_faiss, on_all_processors
wide = on_all_processors(import_faiss().omp_get_max_threads)
print(json.dumps({"wide": wide, "same": single() == batch()}))
"""
    environment = {"OMP_NUM_THREADS": given} if given else {}
    assert run(indexed, "faiss", script, **environment) == {"wide": used, "same": True}


class TestThreadsOfFaiss:
    def test_in_this_thread_alone_and_as_before_afterwards(self):
        faiss = import_faiss()
        before = faiss.omp_get_max_threads()
        try:
            faiss.omp_set_num_threads(3)  # what the user wants for his own
            assert in_this_thread(faiss.omp_get_max_threads) == 1
            assert faiss.omp_get_max_threads() == 3
            with pytest.raises(ZeroDivisionError):
                in_this_thread(lambda: 1 / 0)
            assert faiss.omp_get_max_threads() == 3
            on_all_processors(lambda: None)
            assert faiss.omp_get_max_threads() == 3
        finally:
            faiss.omp_set_num_threads(before)

    def test_on_all_processors_in_a_thread_that_ends(self):
        me = threading.get_ident()
        assert on_all_processors(threading.get_ident) != me
        assert "nearfield-index" not in [thread.name for thread in threading.enumerate()]
        with pytest.raises(ZeroDivisionError):
            on_all_processors(lambda: 1 / 0)

    def test_on_all_processors_from_a_thread_that_outlives_the_main_thread(self):
        script = """
import threading
from nearfield.index.faiss import on_all_processors

def later():
    threading.main_thread().join()
    print(on_all_processors(lambda: "done"))

threading.Thread(target=later).start()
"""
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.slow
def test_a_query_after_kmeans_takes_no_longer_than_before(indexed):
    """The threads of scikit-learn's pool spin a while for the next work; a query needs none of them."""
    script = """
from sklearn.cluster import KMeans

def median():
    times = []
    for query in queries:
        began = time.perf_counter()
        col.search(query, k=5, mode="semantic")
        times.append(time.perf_counter() - began)
    return float(np.median(times))

single()
before = min(median() for _ in range(5))
after = []
for _ in range(5):
    KMeans(30, n_init=1, random_state=0).fit(vectors)
    after.append(median())
print(json.dumps({"times": min(after) / before, "milliseconds": before * 1e3}))
"""
    assert run(indexed, "faiss", script)["times"] < 5
