"""Each rule of the atomic writers, against the operating system itself."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from satclip_index.errors import OutputError
from satclip_index.storage.atomic import atomic_file, atomic_path

from ..conftest import ROOT

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@contextmanager
def by_path(path):
    """Write as a library that opens a path itself."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        yield file


@pytest.fixture(params=[atomic_file, by_path])
def writer(request):
    return request.param


def write(writer, path, content=b"new"):
    with writer(path) as file:
        file.write(content)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_written_and_nothing_is_left_beside_it(tmp_path, writer):
    write(writer, tmp_path / "a.csv")
    write(writer, tmp_path / "a.csv", b"newer")
    assert (tmp_path / "a.csv").read_bytes() == b"newer"
    assert names(tmp_path) == ["a.csv"]


def test_the_old_file_is_complete_until_the_block_ends(tmp_path, writer):
    (tmp_path / "a").write_bytes(b"old")
    with writer(tmp_path / "a") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "a").read_bytes() == b"old"
        (hidden,) = set(names(tmp_path)) - {"a"}
        assert hidden.startswith(".a.")
        assert hidden.endswith(".partial")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, OSError])
def test_any_exception_leaves_the_old_content_and_no_temporary_file(tmp_path, writer, error):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OutputError if error is OSError else error), writer(tmp_path / "a") as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_users_own_partial_file_is_not_touched(tmp_path, writer):
    (tmp_path / "a.partial").write_bytes(b"mine")
    write(writer, tmp_path / "a")
    assert (tmp_path / "a.partial").read_bytes() == b"mine"


@pytest.mark.parametrize("relative", [True, False])
def test_symbolic_links_are_followed_and_stay(tmp_path, writer, relative):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a"
    target.write_bytes(b"old")
    (tmp_path / "second").symlink_to("real/a" if relative else target)
    (tmp_path / "first").symlink_to("second")
    write(writer, tmp_path / "first")
    assert target.read_bytes() == b"new"
    assert (tmp_path / "first").is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert names(tmp_path / "real") == ["a"]


def test_a_link_to_nothing_gets_its_target(tmp_path, writer):
    (tmp_path / "link").symlink_to("target")
    write(writer, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_mode_of_an_existing_file_is_kept(tmp_path, writer, mode):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(mode)
    with writer(tmp_path / "a") as file:
        (hidden,) = set(names(tmp_path)) - {"a"}
        assert not (tmp_path / hidden).stat().st_mode & 0o077  # private while it is written
        file.write(b"new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_open_would_give_it(tmp_path, writer, umask):
    before = os.umask(umask)
    try:
        write(writer, tmp_path / "a")
        (tmp_path / "b").write_bytes(b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_library_that_replaces_the_temporary_file_does_not_change_the_mode(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o644)
    with atomic_path(tmp_path / "a") as partial:
        partial.unlink()
        partial.touch(0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_of_an_existing_file_are_kept(tmp_path, writer):
    (tmp_path / "a").write_bytes(b"old")
    os.chown(tmp_path / "a", 12345, 23456)
    (tmp_path / "a").chmod(0o4750)
    write(writer, tmp_path / "a")
    now = (tmp_path / "a").stat()
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (12345, 23456, 0o4750)


def test_a_group_that_cannot_be_kept_loses_its_permissions(tmp_path, writer, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o664)

    def refuse(*_):
        raise PermissionError

    def another(self, **_):
        seen = list(stat_of(self))
        return os.stat_result([*seen[:4], seen[4] + (self.name != "a"), *seen[5:]])

    stat_of = os.stat
    monkeypatch.setattr(Path, "stat", another)
    monkeypatch.setattr(os, "chown", refuse)
    write(writer, tmp_path / "a")
    monkeypatch.undo()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o604


def read_fifo(path, received):
    with path.open("rb") as file:
        received.append(file.read())


def test_a_fifo_is_written_to_and_stays_one(tmp_path, writer):
    fifo, received = tmp_path / "fifo", []
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to("fifo")
    for path in (fifo, tmp_path / "link"):
        reader = threading.Thread(target=read_fifo, args=(fifo, received))
        reader.start()
        write(writer, path)
        reader.join()
    assert received == [b"new", b"new"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert names(tmp_path) == ["fifo", "link"]


def test_a_device_is_written_to_and_stays_one(tmp_path, writer):
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.write_bytes(b"")
    except PermissionError:
        pytest.skip("no permission to make a device")
    write(writer, device)
    assert stat.S_ISCHR(device.stat().st_mode)
    assert names(tmp_path) == ["null"]


def test_a_full_device_is_one_line(tmp_path, writer):
    device = tmp_path / "full"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        device.open("rb").close()
    except PermissionError:
        pytest.skip("no permission to make a device")
    with pytest.raises(OutputError, match=r"full could not be written: No space left on device\.$"):
        write(writer, device)


def test_a_socket_is_one_line_and_stays(tmp_path, writer, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a path of a socket is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(OutputError, match="socket could not be written"):
            write(writer, Path("socket"))
    assert names(tmp_path) == ["socket"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("api", ["atomic_file(path) as file", "atomic_path(path) as name, name.open('ab') as file"])
def test_open_descriptors_are_written_to_where_they_are(tmp_path, name, api):
    (tmp_path / "link").symlink_to("/dev/stdout")
    path = tmp_path / name  # joining an absolute path gives that
    work = (
        "import sys; from pathlib import Path; from satclip_index.storage.atomic import *; path = Path(sys.argv[1])\n"
        f"with {api}: file.write(b'new')"
    )
    command = [sys.executable, "-c", work, str(path)]
    piped = subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=True)
    assert piped.stdout == b"new"
    out = tmp_path / "out"
    with out.open("wb") as file:
        file.write(b"before ")
        file.flush()
        inode = out.stat().st_ino
        subprocess.run(command, stdout=file, env=ENVIRONMENT, check=True)
    assert out.stat().st_ino == inode
    assert out.read_bytes() == b"before new"
    assert names(tmp_path) == ["link", "out"]


LONG = "x" * 250
CASES = [
    ("folder", "folder could not be written: it is a folder"),
    ("no/folder/a", "there is no folder "),
    ("file/a", "Not a directory|there is no folder"),
    ("x" * 300, "File name too long"),
    ("a\0b", "null character"),
    ("loop", "Too many levels of symbolic links"),
]


@pytest.mark.parametrize(("name", "said"), CASES)
def test_a_path_that_cannot_be_a_file_is_one_line(tmp_path, writer, name, said):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    with pytest.raises(OutputError, match=said) as caught:
        write(writer, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert names(tmp_path) == before


@pytest.mark.parametrize("name", [LONG, "\N{MOUNTAIN}" * 63, "-o", " ", "a\nb"])
def test_any_name_that_a_file_can_have_can_be_written(tmp_path, writer, name):
    write(writer, tmp_path / name)
    assert names(tmp_path) == [name]


READ_ONLY = """
import os, sys
from pathlib import Path
from satclip_index.errors import OutputError
from satclip_index.storage.atomic import atomic_file
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for name in ("closed/a", "open/read-only", "closed/writable"):
    try:
        with atomic_file(Path(name)) as file:
            file.write(b"new")
    except OutputError as error:
        print(error)
"""


def test_a_file_or_folder_without_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o755)
    for folder, mode in (("closed", 0o555), ("open", 0o777)):
        (tmp_path / folder).mkdir()
        for name, of_file in (("read-only", 0o444), ("writable", 0o666)):
            (tmp_path / folder / name).write_bytes(b"old")
            (tmp_path / folder / name).chmod(of_file)
        (tmp_path / folder).chmod(mode)
    # The folder is entered while it is still allowed: those above it may be closed to others.
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    closed, read_only, writable = done.stdout.splitlines()
    assert closed == "closed/a could not be written: no permission to create files in closed."
    assert read_only == "open/read-only could not be written: the file is read-only."
    assert "no permission to create files in" in writable
    assert (tmp_path / "open" / "read-only").read_bytes() == b"old"
    assert (tmp_path / "closed" / "writable").read_bytes() == b"old"


MANY = """
import sys
from pathlib import Path
from satclip_index.storage.atomic import atomic_file
path, letter = Path(sys.argv[1]), sys.argv[2].encode()
for _ in range(60):
    with atomic_file(path) as file:
        for _ in range(64):
            file.write(letter * 1000)
"""


def test_two_processes_never_publish_half_a_file(tmp_path):
    path = tmp_path / "a"
    write(atomic_file, path, b"0" * 64000)
    processes = [subprocess.Popen([sys.executable, "-c", MANY, path, letter], env=ENVIRONMENT) for letter in "12"]
    seen = set()
    while any(process.poll() is None for process in processes):
        content = path.read_bytes()
        assert len(content) == 64000
        assert len(set(content)) == 1
        seen |= set(content)
    assert [process.wait() for process in processes] == [0, 0]
    assert len(seen) > 1
    assert names(tmp_path) == ["a"]


KILLED = """
import sys, time
from pathlib import Path
from satclip_index.storage.atomic import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("number", "left"), [(signal.SIGKILL, 1), (signal.SIGINT, 0)])
def test_a_process_that_is_killed_leaves_the_old_file(tmp_path, number, left):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler)\n{KILLED}", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(number)
    assert process.returncode != 0
    assert path.read_bytes() == b"old"
    strays = [name for name in names(tmp_path) if name != "a"]
    assert len(strays) == left
    assert all(name.startswith(".a.") and name.endswith(".partial") for name in strays)
    write(atomic_file, path)
    assert path.read_bytes() == b"new"


def test_a_closed_pipe_is_left_to_the_caller(tmp_path, writer):
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        write(writer, Path(f"/dev/fd/{writing}"))
    os.close(writing)
