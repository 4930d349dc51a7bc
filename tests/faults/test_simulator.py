"""The judge's own instruments: an unsafe writer is caught, a safe one is not, and no system call goes unseen."""

from __future__ import annotations

import textwrap

import pytest
from crash import watch
from crash.disk import Disk, File, Luck, lay_out, picture
from crash.watch import Kind

OLD, NEW = b"old " * 400, b"new " * 500

SAFE = """
    with open(folder + "/value.tmp", "wb") as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())
    os.replace(folder + "/value.tmp", folder + "/value")
    sync(folder)
"""
WRITERS = {
    "safe": SAFE,
    "file not synced": SAFE.replace("os.fsync(file.fileno())", "pass"),
    "folder not synced": SAFE.replace("sync(folder)", ""),
    "written in place": """
    with open(folder + "/value", "r+b") as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())
    """,
}
BEGIN = f"""
import ctypes, os
from crash.watch import mark, watched
OLD, NEW = {OLD!r}, {NEW!r}
folder = {{folder!r}}

def sync(name):
    descriptor = os.open(name, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
"""


EVERY_WAY = """
    import mmap, shutil
    libc = ctypes.CDLL(None)
    os.mkdir(folder + "/a")
    with open(folder + "/a/b", "wb") as file:
        file.write(b"0123456789" * 200)
        file.seek(5)
        file.write(b"five")
        file.flush()
        os.pwrite(file.fileno(), b"pwrite", 700)
        os.writev(file.fileno(), [b"one", b"", b"two"])
        os.pwritev(file.fileno(), [b"three", b"four"], 1900)
        os.posix_fallocate(file.fileno(), 0, 3000)
        os.ftruncate(file.fileno(), 2900)
    with open(folder + "/a/b", "ab") as file:
        file.write(b"appended")
    shutil.copyfile(folder + "/a/b", folder + "/a/c")
    os.link(folder + "/a/c", folder + "/d")
    # As some libraries call: around libc's functions.
    number = {"x86_64": 264, "aarch64": 38}[os.uname().machine]
    assert libc.syscall(number, -100, (folder + "/a/c").encode(), -100, (folder + "/a/e").encode()) == 0
    os.open(folder + "/gone", os.O_CREAT)
    os.unlink(folder + "/gone")
    at = os.open(folder, os.O_RDONLY)
    os.mkdir("f", dir_fd=at)
    os.rmdir("f", dir_fd=at)
    os.rename("d", "g", src_dir_fd=at, dst_dir_fd=at)
    open(folder + "/a/b", "r+b").close()
    open(folder + "/a/e2", "wb").write(b"x")
    open(folder + "/a/e2", "wb").close()
    with open(folder + "/a/b", "r+b") as file, mmap.mmap(file.fileno(), 100) as mapped:
        assert mapped[5:9] == b"five"
"""


@pytest.fixture
def run(watching, disk):
    """Runs a script on disk/machine and returns the log."""
    (disk / "machine").mkdir()

    def run(script):
        code = BEGIN.format(folder=str(disk / "machine")) + textwrap.dedent(script)
        done = watch.run(["-c", code], disk / "machine", disk / "log")
        assert done.returncode == 0, done.stderr
        return list(watch.read_log(disk / "log"))

    return run


def wrong_states(records, root):
    """Return for each point of a log whether the disk may then hold neither the old value nor the new, or lost it."""
    machine, written, wrong = Disk(root), -1, []
    for record in records:
        machine.take(record)
        written += record.kind is Kind.MARK
        if written >= 0:
            allowed = ([OLD, NEW], [NEW])[written]
            wrong += [machine.crash(Luck((len(wrong), i))).get("value") not in allowed for i in range(40)]
    return wrong


@pytest.mark.parametrize("writer", WRITERS)
def test_an_unsafe_writer_is_caught(run, disk, writer):
    first = textwrap.dedent(SAFE).replace("NEW", "OLD")
    records = run(first + 'mark("old")\n' + textwrap.dedent(WRITERS[writer]) + 'mark("new")\n')
    wrong = wrong_states(records, disk / "machine")
    assert len(wrong) >= 80
    assert any(wrong) == (writer != "safe")


def test_every_way_to_change_a_file_is_seen(run, disk):
    records = run(EVERY_WAY)
    machine = Disk(disk / "machine")
    machine.follow(records)
    seen = machine.crash(Luck(None))
    assert seen == picture(disk / "machine")
    assert list(seen) == ["a", "a/b", "a/e", "a/e2", "g"]
    assert seen["a/b"].endswith(b"appended")
    assert machine.mapped == {str(disk / "machine" / "a" / "b")}
    lay_out(seen, disk / "again")
    assert picture(disk / "again") == seen


def test_a_full_disk_and_a_failing_one(run, disk):
    run("""
        import errno

        def failure(work, *arguments):
            try:
                work(*arguments)
            except OSError as error:
                return error.errno

        file = os.open(folder + "/a", os.O_CREAT | os.O_RDWR)
        os.write(file, bytes(100))
        watched().watch_room(ctypes.c_long(50))
        assert os.pwrite(file, bytes(100), 0) == 100  # takes no more room
        assert os.write(file, bytes(80)) == 50
        assert failure(os.write, file, b"x") == errno.ENOSPC
        assert failure(os.mkdir, folder + "/b") == errno.ENOSPC
        assert failure(os.open, folder + "/c", os.O_CREAT) == errno.ENOSPC
        watched().watch_room(ctypes.c_long(-1))
        assert os.write(file, b"x") == 1
        watched().watch_failing_syncs(ctypes.c_long(1))
        assert failure(os.fsync, file) == errno.EIO
        assert failure(os.fsync, file) is None
    """)
    assert (disk / "machine" / "a").stat().st_size == 151


def test_what_is_synced_stays_and_the_rest_may_be_torn():
    file = File()
    file.change(0, b"a" * 1200)
    file.sync()
    file.change(100, b"b" * 1000)
    found = {file.after_crash(Luck(seed)) for seed in range(300)}
    sectors = {content[:100] + content[1100:] for content in found}
    assert sectors == {b"a" * 200}
    # Three sectors are touched, and every mixture of old and new ones occurs.
    edges = [(100, 512), (512, 1024), (1024, 1100)]
    mixtures = {tuple(content[start:end] == b"b" * (end - start) for start, end in edges) for content in found}
    assert len(mixtures) == 8
    assert all(set(content[start:end]) in ({ord("a")}, {ord("b")}) for content in found for start, end in edges)
    assert file.after_crash(Luck(None)) == b"a" * 100 + b"b" * 1000 + b"a" * 100
