"""A file is whole or absent."""

import errno
import os

import pytest

from widthwise.errors import InputError
from widthwise.files import write_atomically, written_atomically


def test_content_replaces_what_was_there(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_the_umask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_nothing_is_seen_until_all_is_there(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with written_atomically(path) as file:
        file.write(b"ne")
        file.flush()
        assert path.read_bytes() == b"old"
        file.write(b"w")
    assert path.read_bytes() == b"new"


def broken(path):
    with written_atomically(path) as file:
        file.write(b"half")
        raise RuntimeError("broken off")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="broken off"):
        broken(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_has_a_remedy(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="the disk is full; free some space"):
        write_atomically(tmp_path / "a", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_said(tmp_path):
    with pytest.raises(InputError, match="its directory is gone"):
        write_atomically(tmp_path / "absent" / "a", b"")


def test_other_failures_are_told_as_they_are(tmp_path, monkeypatch):
    def busy(descriptor):
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr("os.fsync", busy)
    with pytest.raises(OSError, match="busy"):
        write_atomically(tmp_path / "a", b"")
