"""The cache of vectors: what is found, what is not, bounds, damage, threads and processes."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import nearfield as nf
from forking import fork
from nearfield.encode import cache_store
from nearfield.encode.cache import CachedEncoder, CacheStats, cached, check_cache
from nearfield.testing import check_encoder

WIDTH = 64


def vector(text, role="document", seed=0):
    """The vector of a text, by construction."""
    return np.random.default_rng([seed, *role.encode(), *text.encode()]).standard_normal(WIDTH).astype(np.float32)


class Counting:
    """An encoder that notes what it was asked for."""

    name, dimension, max_tokens = "counting", WIDTH, None

    def __init__(self, fingerprint="counting-1", seed=0, runtime="test 1", precision="float32"):
        self.fingerprint, self.precision, self._seed = fingerprint, precision, seed
        self.identity = {"runtime": runtime} if runtime else {}
        self.asked = []

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode_documents(self, texts):
        return self._encode(texts, "document")

    def encode_queries(self, texts):
        return self._encode(texts, "query")

    def _encode(self, texts, role):
        self.asked += texts
        return np.array([vector(text, role, self._seed) for text in texts], np.float32).reshape(len(texts), WIDTH)


def texts(number, name="text"):
    return [f"{name} {n}" for n in range(number)]


def files(folder):
    return sorted(file.name for file in folder.iterdir())


def database(folder):
    (file,) = folder.glob("vectors-*.sqlite")
    return file


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


# -- what is found ----------------------------------------------------------------------------------------------------


def test_a_text_is_encoded_once(folder):
    encoder = Counting()
    cache = CachedEncoder(encoder, folder)
    first = cache.encode_documents(["b", "a", "b"])
    assert encoder.asked == ["b", "a"]
    second = cache.encode_documents(["c", "a", "b"])
    assert encoder.asked == ["b", "a", "c"]
    assert np.array_equal(first, [vector("b"), vector("a"), vector("b")])
    assert np.array_equal(second, [vector("c"), vector("a"), vector("b")])
    assert (cache.stats.hits, cache.stats.misses, cache.stats.entries) == (2, 3, 3)
    assert cache.stats.hit_rate == 0.4
    assert cache.stats.to_dict()["hit_rate"] == 0.4


def test_it_is_kept_for_the_next_process_and_collection(folder):
    CachedEncoder(Counting(), folder).encode_documents(texts(5000))
    encoder = Counting()
    cache = CachedEncoder(encoder, folder)
    assert np.array_equal(cache.encode_documents(texts(5001)), [vector(text) for text in texts(5001)])
    assert encoder.asked == ["text 5000"]


def test_documents_queries_and_exact_texts_are_apart(folder):
    encoder = Counting()
    cache = CachedEncoder(encoder, folder)
    for text in ("a", "A", "a ", "", "ä", "a\u0308"):
        assert np.array_equal(cache.encode_documents([text]), [vector(text)])
        assert np.array_equal(cache.encode_queries([text]), [vector(text, "query")])
    assert len(encoder.asked) == 12
    assert cache.stats.hits == 0


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "counting-2"},
        {"precision": "int8"},
        {"runtime": "test 2"},
        {"runtime": None},
    ],
    ids=repr,
)
def test_encoders_that_differ_share_nothing(folder, other):
    CachedEncoder(Counting(), folder).encode_documents(["a"])
    encoder = Counting(**{"seed": 7, **other})
    assert np.array_equal(CachedEncoder(encoder, folder).encode_documents(["a"]), [vector("a", seed=7)])
    assert "a" in encoder.asked


def test_an_encoder_without_verified_files_must_have_the_same_vectors(folder):
    for seed in (1, 2):  # the same fingerprint
        encoder = Counting(runtime=None, seed=seed)
        assert np.array_equal(CachedEncoder(encoder, folder).encode_documents(["a"]), [vector("a", seed=seed)])
        assert "a" in encoder.asked
    for seed in (1, 2):
        encoder = Counting(runtime=None, seed=seed)
        assert np.array_equal(CachedEncoder(encoder, folder).encode_documents(["a"]), [vector("a", seed=seed)])
        assert "a" not in encoder.asked


def test_it_passes_the_suite_of_encoders(folder, encoder):
    check_encoder(CachedEncoder(Plain(), folder))


class Plain(Counting):
    """Refuses what is no text, as encoders do."""

    def _encode(self, texts, role):
        from nearfield.encode.texts import check_texts

        return super()._encode(check_texts(texts), role)


def test_members_are_the_encoders(folder):
    encoder = Counting()
    cache = CachedEncoder(CachedEncoder(encoder, folder), folder)
    assert cache.uncached is encoder
    assert (cache.name, cache.dimension, cache.max_tokens) == ("counting", WIDTH, None)
    assert (cache.fingerprint, cache.precision, cache.identity) == ("counting-1", "float32", {"runtime": "test 1"})
    assert (cache.count_tokens(["a b"]), cache.tokens_at_most("a b")) == ([2], None)
    assert cached(cache, True) is cache
    assert cached(encoder, False) is encoder
    assert cached(encoder, folder).uncached is encoder
    assert cache.encode_documents([]).shape == (0, WIDTH)
    assert not folder.exists()


def test_vectors_that_cannot_be_right_are_not_kept(folder):
    encoder = Counting()
    cache = CachedEncoder(encoder, folder)
    encoder._encode = lambda texts, role: np.full((len(texts), WIDTH), np.nan, np.float32)
    with pytest.raises(nf.InvalidInput, match="NaN"):
        cache.encode_documents(["a"])
    encoder._encode = lambda texts, role: np.zeros((1, 3), np.float32)
    with pytest.raises(nf.InvalidInput, match="shape"):
        cache.encode_documents(["a", "b"])
    del encoder._encode
    assert np.array_equal(cache.encode_documents(["a"]), [vector("a")])


# -- where it is ------------------------------------------------------------------------------------------------------


def test_the_folder_is_the_users_and_private(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    CachedEncoder(Counting()).encode_documents(["a"])
    folder = tmp_path / "xdg" / "nearfield" / "vectors"
    assert {"vectors-0001.sqlite", "vectors.lock"} <= set(files(folder))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_arguments_are_checked(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for path in (file, "", "a\0b", 5):
        with pytest.raises(nf.InvalidInput, match="the cache's path must be a folder"):
            CachedEncoder(Counting(), path)
    for size in (1000, 1.5, True):
        with pytest.raises(nf.InvalidInput, match="max_bytes must be an int of at least 1048576"):
            CachedEncoder(Counting(), tmp_path, max_bytes=size)
    for cache in (None, 1, file):
        with pytest.raises(nf.InvalidInput, match="cache"):
            check_cache(cache)
    assert file.read_text() == "mine"


def test_a_folder_that_cannot_be_made_leaves_encoding_as_it_is(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = CachedEncoder(Counting(), tmp_path / "file" / "cache")
    for _ in range(3):
        assert np.array_equal(cache.encode_documents(["a"]), [vector("a")])
    assert cache.stats == CacheStats(0, 3, 0, 0)
    (record,) = caplog.records
    assert "can't be used" in record.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_leaves_encoding_as_it_is(folder):
    folder.mkdir(mode=0o500)
    cache = CachedEncoder(Counting(), folder)
    assert np.array_equal(cache.encode_documents(["a"]), [vector("a")])
    assert files(folder) == []


def test_a_full_disk_leaves_encoding_as_it_is(folder, monkeypatch, caplog):
    cache = CachedEncoder(Counting(), folder)
    cache.encode_documents(["a"])

    def full(*_):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(cache_store, "_evict", full)
    assert np.array_equal(cache.encode_documents(texts(9)), [vector(text) for text in texts(9)])
    assert "disk is full" in caplog.text
    monkeypatch.undo()
    other = CachedEncoder(Counting(), folder)
    assert np.array_equal(other.encode_documents(["a"]), [vector("a")])
    assert (other.stats.hits, other.stats.entries) == (1, 1)


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(folder):
    encoder = Counting()
    cache = CachedEncoder(encoder, folder, max_bytes=1 << 20)
    cache.encode_documents(["kept", "gone"])
    for n in range(40):
        cache.encode_documents(texts(200, f"batch {n}"))
        cache.encode_documents(["kept"])
    assert encoder.asked.count("kept") == 1
    stats = cache.stats
    assert 0.7 * (1 << 20) < database(folder).stat().st_size <= 1 << 20
    assert 1000 < stats.entries < 8000
    encoder.asked.clear()
    cache.encode_documents([*texts(200, "batch 39"), "gone"])
    assert encoder.asked == ["gone"]


def test_a_smaller_bound_shrinks_the_file(folder):
    CachedEncoder(Counting(), folder).encode_documents(texts(12_000))
    assert database(folder).stat().st_size > 3 << 20
    cache = CachedEncoder(Counting(), folder, max_bytes=1 << 20)
    cache.encode_documents(["one more"])
    cache.close()
    assert database(folder).stat().st_size <= 1 << 20
    assert cache.encode_documents(["one more"]) is not None
    assert cache.stats.hits == 1


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100, 5000, -1])
@pytest.mark.parametrize("content", [b"\0", b"no database at all, but a text of somebody"], ids=["zeros", "text"])
def test_a_broken_file_is_set_aside_and_begun_anew(folder, size, content):
    with CacheOf(folder) as cache:
        cache.encode_documents(texts(300))
    file = database(folder)
    whole = file.stat().st_size
    length = whole if size < 0 else size
    file.write_bytes((content * length)[:length])
    encoder = Counting()
    with CacheOf(folder, encoder) as cache:
        for _ in range(2):
            assert np.array_equal(cache.encode_documents(texts(300)), [vector(text) for text in texts(300)])
        assert encoder.asked == texts(300)
        assert cache.stats.entries == 300
    if size not in (0, 1):  # which SQLite takes for a new file
        assert "vectors-0001.broken" in files(folder)
        assert database(folder).name == "vectors-0002.sqlite"


def test_another_programs_database_is_set_aside(folder):
    folder.mkdir()
    with sqlite3.connect(folder / "vectors-0001.sqlite") as other:
        other.execute("CREATE TABLE vectors (mine)")
        other.execute("INSERT INTO vectors VALUES (5)")
    other.close()
    with CacheOf(folder) as cache:
        cache.encode_documents(["a"])
        assert cache.stats.entries == 1
    kept = sqlite3.connect(folder / "vectors-0001.broken")
    assert kept.execute("SELECT mine FROM vectors").fetchall() == [(5,)]
    kept.close()


class CacheOf:
    """A cache that is closed at the end."""

    def __init__(self, folder, encoder=None):
        self.cache = CachedEncoder(encoder or Counting(), folder)

    def __enter__(self):
        return self.cache

    def __exit__(self, *_):
        self.cache.close()


@pytest.mark.slow
def test_damage_anywhere_never_gives_a_wrong_vector(folder):
    with CacheOf(folder) as cache:
        cache.encode_documents(texts(400))
    file = database(folder)
    whole = file.read_bytes()
    random = np.random.default_rng(3)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(int(random.integers(1, 40))):
            damaged[int(random.integers(0, len(damaged)))] ^= 1 << int(random.integers(0, 8))
        for old in folder.glob("vectors-*"):
            old.unlink()
        file.write_bytes(damaged)
        with CacheOf(folder) as cache:
            for _ in range(2):
                assert np.array_equal(cache.encode_documents(texts(401)), [vector(text) for text in texts(401)])


def test_a_damaged_vector_is_encoded_again(folder):
    with CacheOf(folder) as cache:
        cache.encode_documents(["a", "b"])
    connection = sqlite3.connect(database(folder))
    with connection:
        assert connection.execute("UPDATE vectors SET vector = zeroblob(256) WHERE id = 1").rowcount == 1
    connection.close()
    encoder = Counting()
    with CacheOf(folder, encoder) as cache:
        for _ in range(2):
            assert np.array_equal(cache.encode_documents(["a", "b"]), [vector("a"), vector("b")])
        assert encoder.asked == ["a"]
        assert cache.stats.entries == 2


def test_a_folder_that_is_removed_in_use_is_made_again(folder):
    import shutil

    with CacheOf(folder) as cache:
        cache.encode_documents(["a"])
        shutil.rmtree(folder)
        for n in range(3):
            assert np.array_equal(cache.encode_documents(["a", f"b{n}"]), [vector("a"), vector(f"b{n}")])


# -- threads and processes --------------------------------------------------------------------------------------------


def test_threads_share_a_cache(folder):
    cache = CachedEncoder(Counting(), folder)
    failures = []

    def work(start):
        try:
            for n in range(start, start + 30):
                wanted = texts(20, f"set {n % 40}")
                assert np.array_equal(cache.encode_documents(wanted), [vector(text) for text in wanted])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(10 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert cache.stats.entries == 800


WORKER = """
import sys
sys.path[:0] = [{tests!r}, {unit!r}]
from test_encode_cache import Counting, vector, texts
from nearfield.encode.cache import CachedEncoder
import numpy as np
cache = CachedEncoder(Counting(), {folder!r})
for n in range({rounds}):
    wanted = texts(50, f"set {{n % {sets}}}")
    assert np.array_equal(cache.encode_documents(wanted), [vector(text) for text in wanted])
    print(n, flush=True)
cache.close()
"""


def worker(folder, rounds, sets):
    here = Path(__file__).parent
    code = WORKER.format(tests=str(here.parent), unit=str(here), folder=str(folder), rounds=rounds, sets=sets)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_fill_it_at_once(folder):
    both = [worker(folder, 60, 60) for _ in range(2)]
    for one in both:
        _, errors = one.communicate(timeout=60)
        assert (one.returncode, errors) == (0, "")
    encoder = Counting()
    with CacheOf(folder, encoder) as cache:
        wanted = [text for n in range(60) for text in texts(50, f"set {n}")]
        assert np.array_equal(cache.encode_documents(wanted), [vector(text) for text in wanted])
        assert (encoder.asked, cache.stats.entries) == ([], 3000)


def test_a_killed_process_leaves_a_whole_cache(folder):
    done = 0
    for lines in (3, 9, 21):
        one = worker(folder, 10**6, 10**6)
        for _ in range(done + lines):
            one.stdout.readline()
        one.send_signal(signal.SIGKILL)
        rest, _ = one.communicate(timeout=60)
        last = done + lines + len(rest.splitlines()) - 1
        encoder = Counting()
        with CacheOf(folder, encoder) as cache:
            wanted = [text for n in range(last) for text in texts(50, f"set {n}")]
            assert np.array_equal(cache.encode_documents(wanted), [vector(text) for text in wanted])
            assert encoder.asked == []
        assert not list(folder.glob("*.broken"))


def test_a_forked_child_uses_it_too(folder):
    with CacheOf(folder) as cache:
        cache.encode_documents(["a"])

        def child():
            assert np.array_equal(cache.encode_documents(["a", "child"]), [vector("a"), vector("child")])

        assert fork(child) == 0
        asked = len(cache.uncached.asked)
        assert np.array_equal(cache.encode_documents(["a", "child"]), [vector("a"), vector("child")])
        assert len(cache.uncached.asked) == asked


def test_it_can_be_sent_to_another_process(folder):
    cache = pickle.loads(pickle.dumps(CachedEncoder(Counting(), folder, max_bytes=2 << 20)))
    cache.encode_documents(["a"])
    assert CachedEncoder(Counting(), folder).stats.entries == 1


def test_waiting_for_a_writer_ends(folder, monkeypatch):
    monkeypatch.setattr(cache_store, "PATIENCE", 0.05)
    with CacheOf(folder) as cache:
        cache.encode_documents(["a"])
    blocking = sqlite3.connect(database(folder), isolation_level=None)
    blocking.execute("BEGIN IMMEDIATE")
    encoder = Counting()
    with CacheOf(folder, encoder) as cache:
        began = time.monotonic()
        assert np.array_equal(cache.encode_documents(["a", "b"]), [vector("a"), vector("b")])
        assert time.monotonic() - began < 5
        assert encoder.asked == ["b"]
        blocking.execute("ROLLBACK")
        blocking.close()
        cache.encode_documents(["b"])
        cache.encode_documents(["b"])
        assert encoder.asked == ["b", "b"]
