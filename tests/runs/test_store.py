"""Where runs land: each once; what is something else is set aside, and trained again."""

import errno
import os

import pytest
from synthetic_runs import filled, rows_of

from widthwise.errors import InputError
from widthwise.runs.sealed import BrokenSealError, seal, unseal

WHAT = {"largest": "rate"}


def place_of(store, landing):
    return store.place / "landed" / f"{landing.key}.json"


def content_of(store):
    """Everything but what was set aside."""
    return {
        path.relative_to(store.place): path.read_bytes()
        for path in store.place.rglob("*")
        if path.is_file() and "set-aside" not in path.parts
    }


class TestLanding:
    @pytest.mark.parametrize("kind", ["directory", "link", "dangling", "loop", "pipe", "garbage"])
    def test_what_took_its_name_meanwhile_is_set_aside(self, tmp_path, kind):
        store, (landing,) = filled(tmp_path / "store", [1])
        place = place_of(store, landing)
        place.unlink()
        outside = put_something(place, kind, tmp_path)
        assert store.land(landing)
        assert rows_of(store) == {landing.key: landing.row()}
        assert store.num_set_aside() == 1
        assert outside is None or outside.read_bytes() == b"mine"

    def test_a_file_without_permission_is_no_damage(self, tmp_path, monkeypatch):
        store, (landing,) = filled(tmp_path / "store", [1])
        real = os.open

        def refuse(path, *others, **named):
            if str(path).endswith(f"{landing.key}.json"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *others, **named)

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(InputError, match="cannot be read: Permission denied; nothing was"):
            store.verify()
        monkeypatch.undo()
        assert store.verify() == []
        assert len(rows_of(store)) == 1


def put_something(place, kind, folder):
    """Something that is no file of a store, in its place; the file outside that it points to."""
    outside = folder / "outside"
    outside.write_bytes(b"mine")
    match kind:
        case "directory":
            place.mkdir()
            (place / "inside").write_bytes(b"mine")
            return place.parent.parent / "set-aside" / place.name / "inside"
        case "link":
            place.symlink_to(outside)
        case "dangling":
            place.symlink_to(folder / "absent")
        case "loop":
            place.symlink_to(place)
        case "pipe":
            os.mkfifo(place)
        case "garbage":
            place.write_bytes(b"garbage")
    return outside


FOLDERS = [
    "landed",
    "compacted",
    "measured",
    "checkpoints",
    "weights",
    "weights-so-far",
    "claims",
    "holders",
]
NAMES = {"landed": f"{'0' * 32}.json", "compacted": "000001.json", "claims": f"{'0' * 32}.json"}


class TestStrangers:
    @pytest.mark.parametrize("kind", ["directory", "link", "dangling", "loop", "pipe"])
    @pytest.mark.parametrize("folder", FOLDERS)
    def test_what_is_no_file_is_set_aside(self, tmp_path, folder, kind):
        store, landings = filled(tmp_path / "store", range(3))
        place = store.place / folder / NAMES.get(folder, "strange")
        outside = put_something(place, kind, tmp_path)
        assert len(rows_of(store)) == 3
        assert os.path.lexists(place)  # looking changes nothing
        assert [damage.place.name for damage in store.verify()] == [place.name]
        assert not os.path.lexists(place)
        assert outside.read_bytes() == b"mine"
        store.compact()
        store.sweep()
        assert rows_of(store) == {landing.key: landing.row() for landing in landings}

    @pytest.mark.parametrize("kind", ["link", "dangling", "loop"])
    @pytest.mark.parametrize("folder", ["", "set-aside", *FOLDERS])
    def test_a_folder_that_is_a_link_is_refused(self, tmp_path, folder, kind):
        store, _ = filled(tmp_path / "store", range(3))
        (tmp_path / "elsewhere").mkdir()
        place = store.place / folder if folder else store.place
        if place.exists():
            place.rename(tmp_path / "elsewhere" / "moved")
        place.symlink_to(
            {"link": tmp_path / "elsewhere", "loop": place}.get(kind, tmp_path / "absent")
        )

        def work():
            store.prepare()
            (store.place / "landed" / "strange").write_bytes(b"")
            store.verify()
            store.num_set_aside()

        with pytest.raises(InputError, match="must be a folder, got a link"):
            work()
        assert not (tmp_path / "absent").exists()
        assert len(list((tmp_path / "elsewhere").iterdir())) <= 1

    def test_a_list_number_that_a_folder_takes_does_not_stop_merging(self, tmp_path):
        store, _ = filled(tmp_path / "store", range(3))
        (store.place / "compacted" / "000001.json").mkdir()
        assert store.compact() == 3
        assert len(rows_of(store)) == 3


def shard_of(store):
    (path,) = (store.place / "compacted").glob("*.parquet")
    return path


def folder(store):
    path = shard_of(store)
    path.unlink()
    path.mkdir()


def link(store):
    path = shard_of(store)
    path.rename(store.place.parent / "moved.parquet")
    path.symlink_to(store.place.parent / "moved.parquet")


DAMAGE = [folder, link]


class TestShards:
    @pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
    def test_what_is_no_file_does_not_count_and_its_runs_land_again(self, tmp_path, damage):
        store, landings = filled(tmp_path / "store", range(5))
        store.compact()
        damage(store)
        before = content_of(store)
        store.table(), store.keys()
        assert content_of(store) == before
        assert store.verify()
        assert store.keys() == frozenset()
        for landing in landings:
            assert store.land(landing)
        assert rows_of(store) == {landing.key: landing.row() for landing in landings}
        assert store.verify() == []

    def test_a_file_outside_is_not_opened(self, tmp_path):
        store, _ = filled(tmp_path / "store", range(5))
        store.compact()
        path = store.place / "compacted" / "000001.json"
        fields = unseal(path.read_bytes())
        shard_of(store).rename(store.place / fields["file"])
        path.write_bytes(seal({**fields, "file": f"../{fields['file']}"}))
        assert rows_of(store) == {}
        assert [damage.place.name for damage in store.verify()] == ["000001.json"]


class TestMeasurements:
    @pytest.mark.parametrize("kind", ["directory", "link", "dangling", "loop", "pipe"])
    def test_what_is_no_file_is_set_aside(self, tmp_path, kind):
        store, _ = filled(tmp_path / "store", [])
        store.measured.keep(WHAT, 0.5)
        (place,) = (store.place / "measured").iterdir()
        place.unlink()
        put_something(place, kind, tmp_path)
        assert store.measured.find(WHAT) is None
        assert store.measured.keep(WHAT, 0.7) == 0.7
        assert store.measured.find(WHAT) == 0.7


class TestCheckpoints:
    KEYS = ("a" * 32, "b" * 32)

    @pytest.mark.parametrize("kind", ["directory", "link", "dangling", "loop", "pipe"])
    def test_what_is_no_file_is_refused_and_can_be_forgotten(self, tmp_path, kind):
        store, _ = filled(tmp_path / "store", [])
        store.checkpoints.write("pack", self.KEYS, b"state of it")
        (place,) = (store.place / "checkpoints").iterdir()
        place.unlink()
        put_something(place, kind, tmp_path)
        with pytest.raises(BrokenSealError, match="it is no file"):
            store.checkpoints.read("pack", self.KEYS)
        store.checkpoints.forget("pack")
        assert not os.path.lexists(place)
