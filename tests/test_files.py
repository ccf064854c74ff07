"""A file is whole or absent."""

import errno
import os
import time

import pytest

from widthwise.errors import InputError
from widthwise.files import (
    create_atomically,
    is_no_file,
    read_file,
    remove_leftovers,
    whole_path,
    write_atomically,
    written_atomically,
)


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


def test_a_directory_that_is_gone_has_a_remedy(tmp_path):
    with pytest.raises(InputError, match="its directory is gone; put it back"):
        write_atomically(tmp_path / "absent" / "a", b"")


def test_other_failures_are_told_as_they_are(tmp_path, monkeypatch):
    def broken(descriptor):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Too many open files"):
        write_atomically(tmp_path / "a", b"")


@pytest.mark.parametrize("write", [write_atomically, create_atomically])
def test_a_process_whose_clock_is_wrong_may_sweep_what_is_being_written(
    tmp_path, monkeypatch, write
):
    real, swept = os.fsync, []

    def sweep(descriptor):
        if not swept:
            remove_leftovers(tmp_path, older_than=time.time() + 1e6)
            swept.append(True)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sweep)
    write(tmp_path / "a", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"content"


class TestCreating:
    def test_only_if_the_name_is_free(self, tmp_path):
        assert create_atomically(tmp_path / "a", b"first")
        assert not create_atomically(tmp_path / "a", b"second")
        assert (tmp_path / "a").read_bytes() == b"first"

    @pytest.mark.parametrize("target", ["absent", "a", "outside"])
    def test_a_link_takes_the_name_and_is_not_followed(self, tmp_path, target):
        (tmp_path / "outside").write_bytes(b"mine")
        (tmp_path / "a").symlink_to(tmp_path / target)
        assert not create_atomically(tmp_path / "a", b"content")
        assert (tmp_path / "outside").read_bytes() == b"mine"
        assert not (tmp_path / "absent").exists()

    def without_links(self, monkeypatch):
        def refuse(*places, **options):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)

    def test_where_there_are_no_hard_links(self, tmp_path, monkeypatch):
        self.without_links(monkeypatch)
        self.test_only_if_the_name_is_free(tmp_path)

    def test_a_full_disk_leaves_no_part_there_either(self, tmp_path, monkeypatch):
        self.without_links(monkeypatch)
        real, synced = os.fsync, []

        def full(descriptor):
            synced.append(descriptor)
            if len(synced) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="the disk is full"):
            create_atomically(tmp_path / "a", b"content")
        assert list(tmp_path.iterdir()) == []


class TestReading:
    def test_nothing_but_files(self, tmp_path):
        (tmp_path / "file").write_bytes(b"content")
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "file")
        os.mkfifo(tmp_path / "pipe")
        assert read_file(tmp_path / "file") == b"content"
        assert read_file(tmp_path / "absent") is None
        for name in ("folder", "link", "pipe"):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - several kinds
                read_file(tmp_path / name)
            assert is_no_file(caught.value)


def test_a_place_that_is_none_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in (tmp_path / "loop" / "a", "~nobody-of-this-name/a", "nul\0"):
        with pytest.raises(InputError, match="must name a place"):
            whole_path(place)
    assert whole_path(tmp_path / "a" / ".." / "b") == tmp_path / "b"
