"""The folders of the BM25 index: never changed once named, replaced at once, and damage in them is noticed."""

import json
import os
import shutil
import zlib

import numpy as np
import pytest

from nearfield.errors import CorruptCollection, NearfieldError
from nearfield.lexical import folders as folders_module
from nearfield.lexical.bm25 import BM25, Allowed, Held
from nearfield.lexical.folders import IndexFolders, told_damage
from nearfield.lexical.marker import NONE, Marker, read_marker, write_marker
from nearfield.lexical.tail import Selection, Tail

EVERY = Allowed(10**9, lambda: np.empty(0, np.int64), lambda keys: np.ones(len(keys), np.bool_))
TEXTS = [f"red fox number{i} and {'hen ' * (i % 5)}" for i in range(50)]


def add(folders, texts, base=NONE):
    end = base.next_key + len(texts)
    marker = folders.extend(base, enumerate(texts, start=base.next_key), lambda: Marker(generation=end, next_key=end))
    folders.swap(marker)
    return marker


def found(index, query="red"):
    held = Held(index.marker.documents, lambda keys: np.ones(len(keys), np.bool_))
    searcher = BM25(Selection(Tail(), np.empty(0, np.int64)), index, held)
    keys, scores, _ = searcher.search(query, 1000, EVERY)
    return dict(zip(keys.tolist(), scores.tolist(), strict=True))


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".lock"}


@pytest.fixture
def folders(tmp_path):
    made = IndexFolders(tmp_path / "lexical")
    add(made, TEXTS)
    return made


def test_an_update_leaves_the_folder_before_it_as_it_was(folders, tmp_path):
    before = folders.marker()
    shutil.copytree(folders.root / before.folder, tmp_path / "copy")
    after = folders.extend(before, [(51, "red cat")], lambda: Marker(generation=99, next_key=52))
    assert content(folders.root / before.folder) == content(tmp_path / "copy")
    assert (folders.marker(), after.folder, after.documents) == (before, "000002", 51)
    folders.swap(after)
    assert sorted(path.name for path in folders.root.iterdir()) == ["000002", "marker.json"]
    assert folders.open(after).keys().tolist() == list(range(1, 52))
    # What stays is the same file, not a copy.
    kept = before.files.keys() & after.files.keys() - {"meta.json", ".managed.json"}
    assert kept
    assert all(before.files[name] == after.files[name] for name in kept)


def test_without_links_files_are_copied(folders, monkeypatch):
    def refused(source, target):
        raise OSError("no links here")

    monkeypatch.setattr(folders_module.os, "link", refused)
    after = add(folders, ["red cat"], folders.marker())
    assert IndexFolders(folders.root).open(after).keys().tolist() == list(range(1, 52))


def test_the_marker_says_size_and_checksum_of_each_file(folders):
    marker = add(folders, ["red cat"] * 20, folders.marker())
    files = content(folders.root / marker.folder)
    assert marker.files == {name: (len(data), zlib.crc32(data)) for name, data in files.items()}
    assert list(folders.damage(marker)) == []
    assert read_marker(folders.marker_file) == marker


def test_an_update_that_fails_leaves_no_trace(folders):
    def failing():
        yield 51, "red cat"
        raise OSError(28, "No space left on device")

    before = folders.marker()
    with pytest.raises(OSError, match="No space"):
        folders.extend(before, failing(), lambda: Marker(next_key=52))
    assert sorted(path.name for path in folders.root.iterdir()) == [before.folder, "marker.json"]
    assert found(folders.open(before)).keys() == set(range(1, 51))


def test_what_a_killed_update_leaves_is_passed_over_and_removed(folders):
    before = folders.marker()
    folders.extend(before, [(51, "red cat")], lambda: Marker(next_key=52))  # killed before the marker was replaced
    (folders.root / "marker.new").write_text("{")
    again = IndexFolders(folders.root)
    assert found(again.open(again.marker())).keys() == set(range(1, 51))
    after = add(again, ["blue cat"], again.marker())
    assert after.folder == "000003"
    assert sorted(path.name for path in folders.root.iterdir()) == ["000003", "marker.json"]
    assert found(again.open(after), "cat").keys() == {51}


def test_an_index_that_is_open_stays_so_when_its_folder_is_removed(folders):
    index = folders.open(folders.marker())
    before = found(index)
    add(folders, ["red cat"], folders.marker())
    assert not index.folder.exists()
    assert found(index) == before
    assert len(before) == 50


def test_who_loses_the_race_to_open_a_folder_is_told_so(folders):
    reader = IndexFolders(folders.root)
    old = reader.marker()
    new = add(folders, ["red cat"], old)
    assert reader.open(old) is None
    assert reader.marker() == new
    assert found(reader.open(reader.marker())).keys() == set(range(1, 52))


def test_a_folder_that_is_missing_is_no_index(folders):
    shutil.rmtree(folders.root / folders.marker().folder)
    assert IndexFolders(folders.root).marker() == NONE
    shutil.rmtree(folders.root)
    assert IndexFolders(folders.root).marker() == NONE


def test_a_folder_of_the_layout_before_counts_as_no_index_and_is_removed(tmp_path):
    root = tmp_path / "lexical"
    root.mkdir()
    marker = {"generation": 3, "next_key": 9, "purged": 0, "session": "x", "analysis": 1}
    (root / "marker.json").write_text(json.dumps(marker))
    (root / "meta.json").write_text("{}")
    (root / ".managed.json").write_text("[]")
    folders = IndexFolders(root)
    assert folders.marker() == NONE
    add(folders, TEXTS)
    assert sorted(path.name for path in root.iterdir()) == ["000001", "marker.json"]


def test_another_version_of_the_analysis_counts_as_no_index(folders):
    marker = folders.marker()
    write_marker(folders.marker_file, Marker(folder=marker.folder, analysis=10**6, files=marker.files))
    assert IndexFolders(folders.root).marker() == NONE


# -- damage ------------------------------------------------------------------------------------------------------------


def rewrite(file, data):
    file.unlink()  # and not in place: somebody may have it mapped
    file.write_bytes(data)


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << place % 8
    rewrite(file, data)


def places(file):
    size = file.stat().st_size
    return sorted({0, size // 3, size // 2, size - 9, size - 1} & set(range(size)))


def spoilers(file):
    for place in places(file):
        yield f"bit {place}", lambda place=place: flip(file, place)
        yield f"cut at {place}", lambda place=place: rewrite(file, file.read_bytes()[:place])
    yield "longer", lambda: rewrite(file, file.read_bytes() + b"x")
    yield "missing", file.unlink
    yield "zeros", lambda: rewrite(file, bytes(file.stat().st_size))


def test_any_damage_to_any_file_is_an_error_that_names_the_file(folders, tmp_path):
    marker = folders.marker()
    assert len(marker.files) >= 7
    whole = tmp_path / "whole"
    shutil.copytree(folders.root, whole)
    for name in marker.files:
        file = folders.root / marker.folder / name
        for what, spoil in spoilers(file):
            spoil()
            again = IndexFolders(folders.root)
            with pytest.raises(CorruptCollection, match="nearfield repair") as error:
                again.open(again.marker())
            assert str(file) in str(error.value), what
            assert [damaged for damaged, _ in again.damage(marker)] == [name], what
            with pytest.raises(CorruptCollection):  # nor may an update carry it on
                again.extend(marker, [], lambda: Marker(next_key=99))
            file.unlink(missing_ok=True)
            shutil.copyfile(whole / marker.folder / name, file)
    assert IndexFolders(folders.root).open(marker).keys().tolist() == list(range(1, 51))


def test_any_damage_to_the_marker_is_noticed(folders):
    file = folders.marker_file
    whole = file.read_bytes()
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            try:
                # Another way to write the same, such as a space for another, is no damage.
                assert read_marker(file) == folders.marker()
            except CorruptCollection as error:
                assert str(file) in str(error)


def test_what_tantivy_finds_damaged_is_an_error_too(folders, monkeypatch, tmp_path, capfd):
    """Checksums come first; without them, tantivy's own errors and panics must not pass as something else."""
    monkeypatch.setattr(IndexFolders, "check", lambda self, marker: None)
    marker = folders.marker()
    whole = tmp_path / "whole"
    shutil.copytree(folders.root, whole)
    raised = 0
    for name in marker.files:
        file = folders.root / marker.folder / name
        for place in places(file):
            rewrite(file, file.read_bytes()[:place])
            again = IndexFolders(folders.root)
            try:
                found(again.open(again.marker()), "red fox")
            except CorruptCollection:
                raised += 1
            file.unlink()
            shutil.copyfile(whole / marker.folder / name, file)
    assert raised >= 20


def test_a_panic_of_tantivy_is_damage(tmp_path):
    class PanicException(BaseException):  # as pyo3's, which is no Exception and can't be imported
        pass

    with pytest.raises(CorruptCollection, match=r"index out of bounds.*nearfield repair"), told_damage(tmp_path):
        raise PanicException("index out of bounds")
    with pytest.raises(KeyboardInterrupt), told_damage(tmp_path):
        raise KeyboardInterrupt


def test_an_index_with_another_number_of_documents_is_damaged(folders):
    marker = folders.marker()
    claim = Marker(folder=marker.folder, next_key=60, documents=59, files=marker.files)
    write_marker(folders.marker_file, claim)
    again = IndexFolders(folders.root)
    with pytest.raises(CorruptCollection, match="holds 50 documents, and 59 were written"):
        again.open(again.marker())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_no_damage(folders):
    marker = folders.marker()
    folder = folders.root / marker.folder
    for lock in folder.glob("*.lock"):
        lock.unlink()
    folder.chmod(0o500)
    try:
        with pytest.raises(NearfieldError, match="the right to read and write it") as error:
            IndexFolders(folders.root).open(marker)
        assert not isinstance(error.value, CorruptCollection)
    finally:
        folder.chmod(0o700)
