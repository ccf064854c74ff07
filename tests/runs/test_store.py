"""Where runs land: each once; what is something else is set aside, and trained again."""

import errno
import hashlib
import io
import json
import os

import polars as pl
import pytest
from synthetic_runs import filled, group, land_quickly, rows_of, synthetic_run

from widthwise.errors import InputError
from widthwise.runs.compacted import Compacted, Shard
from widthwise.runs.sealed import BrokenSealError, seal, unseal
from widthwise.runs.store import Store

WHAT = {"largest": "rate"}


def place_of(store, landing):
    return store.path / "landed" / f"{landing.key}.json"


def content_of(store):
    """Everything but what was set aside."""
    return {
        path.relative_to(store.path): path.read_bytes()
        for path in store.path.rglob("*")
        if path.is_file() and "set-aside" not in path.parts
    }


class TestLanding:
    def test_the_first_wins(self, tmp_path):
        store, _ = filled(tmp_path / "store", [])
        first, second = (synthetic_run(1, group(4), salt=salt) for salt in (0, 1))
        assert first.key == second.key
        assert store.land(first)
        assert not store.land(second)
        assert place_of(store, first).read_bytes() == first.encode()

    def test_also_once_it_was_merged(self, tmp_path):
        store, _ = filled(tmp_path / "store", [])
        first, second = (synthetic_run(1, group(4), salt=salt) for salt in (0, 1))
        store.land(first)
        store.compact()
        assert not store.land(second)
        assert rows_of(store) == {first.key: first.row()}

    def test_a_slow_loser_that_did_not_see_the_merging_loses(self, tmp_path):
        store, _ = filled(tmp_path / "store", [])
        first, second = (synthetic_run(1, group(4), salt=salt) for salt in (0, 1))
        store.land(first)
        store.compact()
        place_of(store, second).write_bytes(second.encode())
        for _ in range(2):
            assert rows_of(store) == {first.key: first.row()}
            store.compact()
        assert not place_of(store, second).exists()

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


FOLDERS = ["landed", "compacted", "measured", "checkpoints", "claims", "holders"]
NAMES = {"landed": f"{'0' * 32}.json", "compacted": "000001.json", "claims": f"{'0' * 32}.json"}


class TestStrangers:
    @pytest.mark.parametrize("kind", ["directory", "link", "dangling", "loop", "pipe"])
    @pytest.mark.parametrize("folder", FOLDERS)
    def test_what_is_no_file_is_set_aside(self, tmp_path, folder, kind):
        store, landings = filled(tmp_path / "store", range(3))
        place = store.path / folder / NAMES.get(folder, "strange")
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
        place = store.path / folder if folder else store.path
        if place.exists():
            place.rename(tmp_path / "elsewhere" / "moved")
        place.symlink_to(
            {"link": tmp_path / "elsewhere", "loop": place}.get(kind, tmp_path / "absent")
        )

        def work():
            store.prepare()
            (store.path / "landed" / "strange").write_bytes(b"")
            store.verify()
            store.num_set_aside()

        with pytest.raises(InputError, match="must be a folder, got a link"):
            work()
        assert not (tmp_path / "absent").exists()
        assert len(list((tmp_path / "elsewhere").iterdir())) <= 1

    def test_a_list_number_that_a_folder_takes_does_not_stop_merging(self, tmp_path):
        store, _ = filled(tmp_path / "store", range(3))
        (store.path / "compacted" / "000001.json").mkdir()
        assert store.compact() == 3
        assert len(rows_of(store)) == 3

    @pytest.mark.parametrize("name", ["notes.txt", "1.json", f"{'G' * 32}.json", "-", "[*].json"])
    def test_files_of_other_names_are_set_aside(self, tmp_path, name):
        store, _ = filled(tmp_path / "store", range(3))
        for folder in ("landed", "measured"):
            (store.path / folder / name).write_bytes(b"{}")
        assert len(store.verify()) == 2
        assert len(rows_of(store)) == 3


class TestReading:
    def test_changes_nothing(self, tmp_path):
        store, landings = filled(tmp_path / "store", range(5))
        store.compact()
        land_quickly(store, [synthetic_run(n, group(4)) for n in (5, 6)])
        place_of(store, landings[0]).write_bytes(b"garbage")
        (store.path / "compacted" / "000007.json").write_bytes(b"garbage")
        before = content_of(store)
        table, damage = store.table()
        store.keys(), store.leases.held(), store.measured.find(WHAT)
        assert len(table) == 7
        assert len(damage) == 2
        assert content_of(store) == before

    def test_a_store_that_is_not_there_is_empty_and_stays_away(self, tmp_path):
        store = Store(tmp_path / "store")
        assert store.table()[0].is_empty()
        assert store.keys() == frozenset()
        assert store.leases.held() == {}
        assert store.measured.find(WHAT) is None
        assert store.num_set_aside() == 0
        assert list(tmp_path.iterdir()) == []

    def test_takes_the_runs_and_columns_that_are_asked_for(self, tmp_path):
        store, landings = filled(tmp_path / "store", range(5))
        table, _ = store.table([landings[2].key, "absent"], columns=["status"])
        assert table.rows(named=True) == [{"key": landings[2].key, "status": "ok"}]


def listed(store, name="000001.json"):
    return unseal((store.path / "compacted" / name).read_bytes())


def list_again(store, fields, name="000001.json"):
    (store.path / "compacted" / name).write_bytes(seal(fields))


def write_shard(store, rows, name="000001.json"):
    """A shard, named and listed as it should be, of whatever it may hold."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    content = buffer.getvalue()
    file = hashlib.sha256(content).hexdigest()[:32] + ".parquet"
    (store.path / "compacted" / file).write_bytes(content)
    fields = {"format": "widthwise-shard-1", "file": file, "runs": len(rows), "instead_of": None}
    list_again(store, fields, name)


def shard_of(store):
    (path,) = (store.path / "compacted").glob("*.parquet")
    return path


def cut(store):
    shard_of(store).write_bytes(shard_of(store).read_bytes()[:-50])


def empty(store):
    shard_of(store).write_bytes(b"")


def missing(store):
    shard_of(store).unlink()


def folder(store):
    path = shard_of(store)
    path.unlink()
    path.mkdir()


def link(store):
    path = shard_of(store)
    path.rename(store.path.parent / "moved.parquet")
    path.symlink_to(store.path.parent / "moved.parquet")


def garbage_list(store):
    (store.path / "compacted" / "000001.json").write_bytes(b"garbage")


def other_names(store):
    """A file outside, which does exist."""
    shard_of(store).rename(store.path / shard_of(store).name)
    list_again(store, {**listed(store), "file": f"../{listed(store)['file']}"})


def wrong_number(store):
    list_again(store, {**listed(store), "runs": 4})


def instead_of_itself(store):
    list_again(store, {**listed(store), "instead_of": 1})


def instead_of_a_list(store):
    list_again(store, {**listed(store), "instead_of": [1]})


def more_fields(store):
    list_again(store, {**listed(store), "more": 1})


def fewer_fields(store):
    fields = listed(store)
    del fields["runs"]
    list_again(store, fields)


def other_columns(store):
    write_shard(store, pl.read_parquet(shard_of(store)).drop("status"))


def other_types(store):
    write_shard(store, pl.read_parquet(shard_of(store)).with_columns(pl.col("seed").cast(pl.Int8)))


def doubled_rows(store):
    rows = pl.read_parquet(shard_of(store))
    write_shard(store, pl.concat([rows, rows]))


def relabelled(store):
    rows = pl.read_parquet(shard_of(store))
    write_shard(store, rows.with_columns(pl.col("key").reverse()))


def other_group(store):
    rows = pl.read_parquet(shard_of(store))
    write_shard(store, rows.with_columns(pl.lit("{}").alias("group")))


def no_parquet(store):
    content = b"PAR1 and no more PAR1"
    file = hashlib.sha256(content).hexdigest()[:32] + ".parquet"
    (store.path / "compacted" / file).write_bytes(content)
    list_again(store, {**listed(store), "file": file})


DAMAGE = [
    cut,
    empty,
    missing,
    folder,
    link,
    garbage_list,
    other_names,
    wrong_number,
    instead_of_itself,
    instead_of_a_list,
    more_fields,
    fewer_fields,
    other_columns,
    other_types,
    doubled_rows,
    relabelled,
    other_group,
    no_parquet,
]


class TestShards:
    @pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
    def test_damaged_ones_do_not_count_and_their_runs_land_again(self, tmp_path, damage):
        store, landings = filled(tmp_path / "store", range(5))
        store.compact()
        damage(store)
        before = content_of(store)
        store.table(), store.keys()
        assert content_of(store) == before
        assert store.verify()
        assert store.keys() == frozenset()
        assert rows_of(store) == {}
        assert store.verify() == []
        for landing in landings:
            assert store.land(landing)
        store.compact()
        store.sweep()
        assert rows_of(store) == {landing.key: landing.row() for landing in landings}
        assert store.verify() == []

    def test_sound_ones_stay(self, tmp_path):
        store, _ = filled(tmp_path / "store", range(5))
        store.compact()
        before = content_of(store)
        assert store.verify() == []
        assert content_of(store) == before

    def test_one_that_is_listed_twice_counts_once(self, tmp_path):
        store, landings = filled(tmp_path / "store", range(5))
        store.compact()
        list_again(store, listed(store), "000002.json")
        assert len(rows_of(store)) == 5
        assert store.verify() == []
        assert store.withdraw([landings[0].key]) == 2
        assert len(rows_of(store)) == 4
        assert store.verify() == []

    @pytest.mark.parametrize("interrupted", [False, True])
    def test_what_a_damaged_one_replaced_does_not_come_back(self, tmp_path, interrupted):
        store, landings = filled(tmp_path / "store", range(5))
        store.compact()
        (old,) = store.path.glob("compacted/*.parquet")
        content = old.read_bytes()
        assert store.withdraw([landings[0].key]) == 1
        (new,) = (path for path in store.path.glob("compacted/*.parquet") if path != old)
        if interrupted:  # before the old file was moved away
            old.write_bytes(content)
        new.write_bytes(new.read_bytes()[:-1])
        assert len(store.verify()) == 1
        assert store.table()[1] == store.verify() == []
        assert rows_of(store) == {}
        assert store.keys() == frozenset()
        assert all(store.land(landing) for landing in landings)
        assert store.compact() == 5
        assert rows_of(store) == {landing.key: landing.row() for landing in landings}

    def test_one_that_no_list_names_does_not_count(self, tmp_path):
        store, landings = filled(tmp_path / "store", range(5))
        store.compact()
        (store.path / "compacted" / "000001.json").unlink()
        assert rows_of(store) == {}
        for landing in landings:
            assert store.land(landing)
        store.sweep()  # its runs are in no other shard: it may be about to be listed
        assert len(list((store.path / "compacted").iterdir())) == 1
        store.compact()
        land_quickly(store, [synthetic_run(9, group(4))])
        store.compact()
        store.sweep()
        assert len(rows_of(store)) == 6
        assert store.verify() == []

    def test_one_left_over_is_swept_once_its_runs_are_in_others(self, tmp_path):
        store, landings = filled(tmp_path / "store", range(5))
        rows, _ = store.table([landing.key for landing in landings[:2]])
        store.compact()
        Compacted(store._compacted.folder).add(rows, after=1)
        (store.path / "compacted" / "000002.json").unlink()
        assert store.sweep() == 1
        assert len(rows_of(store)) == 5

    def test_a_damaged_file_of_the_same_name_is_replaced_on_merging(self, tmp_path):
        store, _ = filled(tmp_path / "store", range(5))
        rows, _ = store.table()
        store._compacted.add(rows, after=0)
        (store.path / "compacted" / "000001.json").unlink()
        shard_of(store).write_bytes(b"garbage")
        store.compact()
        assert len(rows_of(store)) == 5
        assert store.verify() == []

    def test_names_of_lists_are_numbers_written_in_one_way(self, tmp_path):
        store, _ = filled(tmp_path / "store", range(5))
        store.compact()
        odd = ["1.json", "0000001.json", "٠٠٠٠٠٢.json", "-00001.json", f"{'9' * 200}.json"]
        for name in odd:
            list_again(store, listed(store), name)
        assert store._compacted.last() == 1
        assert {damage.place.name for damage in store.table()[1]} == set(odd)
        assert len(store.verify()) == len(odd)
        assert len(rows_of(store)) == 5

    def test_a_path_in_a_list_is_never_opened(self, tmp_path):
        store, _ = filled(tmp_path / "store", [])
        with pytest.raises(BrokenSealError, match="not there"):
            store._compacted.read(Shard(number=1, file="0" * 32 + ".parquet", runs=1))
        fields = {"format": "widthwise-shard-1", "file": "/dev/zero", "runs": 1}
        list_again(store, {**fields, "instead_of": None})
        assert store._compacted.shards() == ([], {"000001.json": "it is no list of runs"})


class TestWithdrawing:
    def test_runs_are_trained_again_and_kept_aside(self, tmp_path):
        store, landings = filled(tmp_path / "store", range(4))
        store.compact()
        land_quickly(store, [synthetic_run(n, group(4)) for n in (4, 5)])
        again = [synthetic_run(n, group(4), salt=1) for n in (0, 4)]
        assert store.withdraw([landing.key for landing in again]) == 2
        assert len(rows_of(store)) == 4
        for landing in again:
            assert store.land(landing)
        store.compact()
        rows = rows_of(store)
        assert len(rows) == 6
        assert all(rows[landing.key] == landing.row() for landing in (*again, *landings[1:]))
        assert store.verify() == []


class TestMeasurements:
    def test_the_first_is_frozen(self, tmp_path):
        store, _ = filled(tmp_path / "store", [])
        assert store.measured.keep(WHAT, 0.5) == 0.5
        assert store.measured.keep(WHAT, 0.7) == 0.5
        assert store.measured.find(WHAT) == 0.5

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{}",
            b"[" * 100_000,
            seal({"what": WHAT, "value": "0.5"}),
            seal({"what": WHAT, "value": -1.0}),
            seal({"what": WHAT, "value": True}),
            seal({"what": WHAT, "value": None}),
            seal({"what": WHAT, "value": float("nan")}),
            seal({"what": WHAT, "value": float("inf")}),
            seal({"what": {"other": 1}, "value": 0.5}),
            seal({"what": [], "value": 0.5}),
            seal({"value": 0.5}),
            json.dumps({"what": WHAT, "value": 0.5}).encode(),
        ],
    )
    def test_anything_else_is_set_aside(self, tmp_path, content):
        store, _ = filled(tmp_path / "store", [])
        store.measured.keep(WHAT, 0.5)
        (place,) = (store.path / "measured").iterdir()
        place.write_bytes(content)
        assert store.measured.find(WHAT) is None
        assert store.measured.keep(WHAT, 0.7) == 0.7
        place.write_bytes(content)
        assert len(store.verify()) == 1
        assert not place.exists()

    @pytest.mark.parametrize("kind", ["directory", "link", "dangling", "loop", "pipe"])
    def test_what_is_no_file_is_set_aside(self, tmp_path, kind):
        store, _ = filled(tmp_path / "store", [])
        store.measured.keep(WHAT, 0.5)
        (place,) = (store.path / "measured").iterdir()
        place.unlink()
        put_something(place, kind, tmp_path)
        assert store.measured.find(WHAT) is None
        assert store.measured.keep(WHAT, 0.7) == 0.7
        assert store.measured.find(WHAT) == 0.7


class TestCheckpoints:
    KEYS = ("a" * 32, "b" * 32)

    def written(self, tmp_path):
        store, _ = filled(tmp_path / "store", [])
        store.checkpoints.write("pack", self.KEYS, b"state\nof it")
        (place,) = (store.path / "checkpoints").iterdir()
        return store, place

    def test_are_read_by_the_same_runs_in_the_same_order(self, tmp_path):
        store, _ = self.written(tmp_path)
        assert store.checkpoints.read("pack", self.KEYS) == b"state\nof it"
        assert store.checkpoints.read("other", self.KEYS) is None
        for others in (self.KEYS[:1], self.KEYS[::-1], ()):
            with pytest.raises(BrokenSealError, match="other runs"):
                store.checkpoints.read("pack", others)

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"garbage", b"[" * 100_000, None])
    def test_damaged_ones_are_refused_and_swept_or_replaced(self, tmp_path, content):
        store, place = self.written(tmp_path)
        place.write_bytes(place.read_bytes()[:-1] if content is None else content)
        with pytest.raises(BrokenSealError, match="checksum"):
            store.checkpoints.read("pack", self.KEYS)
        store.sweep()
        store.checkpoints.write("pack", self.KEYS, b"anew")
        assert store.checkpoints.read("pack", self.KEYS) == b"anew"
        store.checkpoints.forget("pack")
        assert not place.exists()

    @pytest.mark.parametrize("kind", ["directory", "link", "dangling", "loop", "pipe"])
    def test_what_is_no_file_is_refused_and_can_be_forgotten(self, tmp_path, kind):
        store, place = self.written(tmp_path)
        place.unlink()
        put_something(place, kind, tmp_path)
        with pytest.raises(BrokenSealError, match="it is no file"):
            store.checkpoints.read("pack", self.KEYS)
        store.checkpoints.forget("pack")
        assert not os.path.lexists(place)

    def test_one_of_runs_that_have_landed_is_swept(self, tmp_path):
        store, landings = filled(tmp_path / "store", range(2))
        store.checkpoints.write("done", [landing.key for landing in landings], b"")
        store.checkpoints.write("half", [landings[0].key, "c" * 32], b"")
        (store.path / "checkpoints" / "odd").write_bytes(b"\n[[]]\n")
        store.sweep()
        left = sorted(path.name for path in (store.path / "checkpoints").iterdir())
        assert left == ["half.checkpoint", "odd"]
