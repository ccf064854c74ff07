"""What every kind of store must do: a folder, one in memory, and one in an object store."""

import hashlib
import io
import json
import threading

import polars as pl
import pytest
from synthetic_runs import filled, group, land_quickly, rows_of, synthetic_run

from widthwise.runs import leases
from widthwise.runs import store as stores
from widthwise.runs.address import Address
from widthwise.runs.compacted import Compacted, Shard
from widthwise.runs.sealed import BrokenSealError, seal, unseal
from widthwise.runs.store import Store, part_of

WHAT = {"largest": "rate"}
OTHER = "f" * 32  # a holder elsewhere
PARTS = ["landed", "compacted", "measured", "checkpoints", "claims", "holders", "withdrawn"]


def landed(store, landing):
    return part_of(store.place, "landed").read(f"{landing.key}.json")


def compacted(store):
    return part_of(store.place, "compacted")


def is_s3(store):
    return isinstance(store.place, Address)


def content_of(store):
    """Everything but what was set aside."""
    parts = {part: part_of(store.place, part) for part in PARTS}
    return {(p, name): parts[p].read(name) for p in PARTS for name in parts[p].names()}


@pytest.fixture
def blobs(place):
    found = part_of(place, "landed")
    found.make()
    return found


class TestBlobs:
    def test_are_created_once_and_replaced_at_will(self, blobs):
        assert blobs.create("a", b"first")
        assert not blobs.create("a", b"second")
        assert blobs.read("a") == b"first"
        blobs.replace("a", b"third")
        assert blobs.read("a") == b"third"
        blobs.replace("b", b"new")
        assert blobs.names() == ["a", "b"]

    def test_a_name_is_free_again_once_it_is_removed(self, blobs):
        for content in (b"first", b"second"):
            assert blobs.create("a", content)
            assert blobs.read("a") == content
            for _ in range(2):
                blobs.remove("a")
            assert (blobs.read("a"), blobs.names()) == (None, [])

    def test_a_name_is_free_again_once_it_is_moved(self, place, blobs):
        aside = part_of(place, "set-aside")
        places = []
        for content in (b"first", b"second", b"third"):
            assert blobs.create("a", content)
            assert not blobs.create("a", b"other")
            places.append(blobs.move("a", aside))
            assert (blobs.read("a"), blobs.names(), blobs.strangers()) == (None, [], [])
            assert blobs.move("a", aside) is None
        assert [found.name for found in places] == ["a", "a.1", "a.2"]
        assert [aside.read(found.name) for found in places] == [b"first", b"second", b"third"]
        assert aside.place / "a.2" == places[-1]

    def test_each_is_read_as_it_is(self, blobs):
        for number in range(40):
            blobs.create(f"{number:02d}", b"content of %d" % number)
        names = blobs.names()
        expected = [(name, b"content of %d" % int(name)) for name in names]
        for _ in range(2):
            assert list(blobs.read_each(names)) == expected
        blobs.replace("07", b"other")
        blobs.remove("08")
        expected[7:9] = [("07", b"other")]
        assert list(blobs.read_each(blobs.names())) == expected
        assert dict(blobs.read_each(["08", "09"])) == {"08": None, "09": b"content of 9"}

    def test_marks_change_with_the_content(self, blobs):
        assert blobs.mark("a") is None
        marks = []
        for content in (b"first", b"a second"):
            blobs.replace("a", content)
            blobs.names()
            marks.append(blobs.mark("a"))
            assert blobs.mark("a") == marks[-1]
        assert None not in marks
        assert marks[0] != marks[1]

    def test_age_is_that_of_the_content(self, blobs):
        assert blobs.age("a") == float("inf")
        blobs.create("a", b"content")
        assert -5.0 < blobs.age("a") < 60.0

    def test_of_sixteen_that_create_at_once_one_does(self, blobs):
        """A store that replaces on creation fails here, and below."""
        assert create_at_once(blobs.create, 20) == [1] * 20

    def test_that_check_finds_a_store_that_replaces(self, blobs):
        all_have_looked = threading.Barrier(16)

        def replace(name, content):
            is_free = blobs.read(name) is None
            all_have_looked.wait()
            blobs.replace(name, content)
            return is_free

        assert create_at_once(replace, 3) == [16] * 3


def create_at_once(create, num_names):
    """How many of sixteen threads, all with the same names, are told that they created each; all
    of them must find what the one wrote."""
    wins, start = [[] for _ in range(num_names)], threading.Barrier(16)

    def work(salt):
        start.wait()
        for number in range(num_names):
            if create(f"{number:02d}", b"by %d" % salt):
                wins[number].append(salt)

    threads = [threading.Thread(target=work, args=(salt,)) for salt in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [len(salts) for salts in wins]


class TestLanding:
    def test_the_first_wins(self, place):
        store, _ = filled(place, [])
        first, second = (synthetic_run(1, group(4), salt=salt) for salt in (0, 1))
        assert first.key == second.key
        assert store.land(first)
        assert not store.land(second)
        assert landed(store, first) == first.encode()

    def test_also_once_it_was_merged(self, place):
        store, _ = filled(place, [])
        first, second = (synthetic_run(1, group(4), salt=salt) for salt in (0, 1))
        store.land(first)
        store.compact()
        assert not store.land(second)
        assert rows_of(store) == {first.key: first.row()}

    def test_a_slow_loser_that_did_not_see_the_merging_loses(self, place):
        store, _ = filled(place, [])
        first, second = (synthetic_run(1, group(4), salt=salt) for salt in (0, 1))
        store.land(first)
        store.compact()
        land_quickly(store, [second])
        for _ in range(2):
            assert rows_of(store) == {first.key: first.row()}
            store.compact()
        assert landed(store, second) is None

    @pytest.mark.parametrize("content", [b"", b"garbage", b"{}"])
    def test_what_took_its_name_meanwhile_is_set_aside(self, place, content):
        store, (landing,) = filled(place, [1])
        part_of(place, "landed").replace(f"{landing.key}.json", content)
        assert store.land(landing)
        assert rows_of(store) == {landing.key: landing.row()}
        assert store.num_set_aside() == (0 if content == b"" and is_s3(store) else 1)

    def test_one_that_was_merged_at_the_last_moment_has_come_first(self, place, monkeypatch):
        store, _ = filled(place, [])
        first, second = (synthetic_run(1, group(4), salt=salt) for salt in (0, 1))
        store.land(first)
        blobs = type(part_of(place, "landed"))
        create = blobs.create

        def create_late(own, name, content, **options):
            monkeypatch.undo()
            assert Store(place).compact() == 1
            return create(own, name, content, **options)

        monkeypatch.setattr(blobs, "create", create_late)
        assert not store.land(second)
        assert rows_of(store) == {first.key: first.row()}
        assert landed(store, second) is None

    def test_of_sixteen_workers_the_first_to_land_a_run_wins(self, place):
        """All have results of their own for the same runs, and merge now and then."""
        store, _ = filled(place, [])
        wins, runs = {}, range(12)

        def work(salt):
            own = Store(place)
            for number in runs:
                landing = synthetic_run((number + salt) % len(runs), group(4), salt=salt)
                if own.land(landing):
                    wins.setdefault(landing.key, []).append(landing.row())
            if salt % 8 == 0:
                own.compact()

        workers = [threading.Thread(target=work, args=(salt,)) for salt in range(16)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [len(rows) for rows in wins.values()] == [1] * len(runs)
        assert rows_of(store) == {key: row for key, (row,) in wins.items()}
        store.compact()
        assert rows_of(store) == {key: row for key, (row,) in wins.items()}
        assert store.verify() == []

    @pytest.mark.parametrize("name", ["notes.txt", "1.json", f"{'G' * 32}.json", "-", "[*].json"])
    def test_files_of_other_names_are_set_aside(self, place, name):
        store, _ = filled(place, range(3))
        for part in ("landed", "measured"):
            part_of(place, part).replace(name, b"{}")
        assert len(store.verify()) == 2
        assert len(rows_of(store)) == 3


class TestMemoryOfLandings:
    def test_lasts_for_a_minute(self, place, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr(leases, "monotonic", lambda: now[0])
        store, landings = filled(place, range(2))
        keys = [landing.key for landing in landings]
        assert not store.had_landed(keys)  # nobody has looked
        store.keys()
        other = Store(place)
        assert other.had_landed(keys)
        assert not other.had_landed([*keys, "0" * 32])
        now[0] += 61.0
        assert not other.had_landed(keys)

    def test_a_question_about_few_runs_is_a_look_too(self, place):
        store, landings = filled(place, range(4))
        keys = [landing.key for landing in landings]
        store.compact()
        other = synthetic_run(4)
        store.land(other)
        assert store.missing([*keys[:2], other.key, "0" * 32]) == {"0" * 32}
        assert store.missing([]) == set()
        assert Store(place).had_landed([*keys, other.key])  # all of them, not only those asked for

    def test_ends_where_runs_are_withdrawn(self, place):
        store, landings = filled(place, range(2))
        keys = [landing.key for landing in landings]
        store.keys()
        assert store.had_landed(keys)
        store.withdraw(keys[:1])
        assert not store.had_landed(keys)


class TestLandingBesideManyShards:
    def test_looks_into_none_of_them(self, place, monkeypatch):
        store, landings = filled(place, range(4))
        for number in range(4, 8):  # four shards
            store.compact()
            store.land(synthetic_run(number))
        asked = []
        keys = Compacted.keys
        monkeypatch.setattr(Compacted, "keys", lambda own, s: asked.append(s) or keys(own, s))
        assert store.land(synthetic_run(10))
        assert asked == []
        assert not store.land(landings[0])  # it is in the first
        assert len(asked) == 4

    def test_one_that_came_meanwhile_is_looked_into(self, place):
        store, _ = filled(place, range(2))
        store.compact()
        assert store.land(synthetic_run(2))
        other = Store(place)
        late = synthetic_run(3)
        assert other.land(late)
        other.compact()
        assert not store.land(late)

    def test_one_that_was_damaged_meanwhile_does_not_count(self, place):
        store, landings = filled(place, range(2))
        store.compact()
        assert store.land(synthetic_run(2))  # all was sound
        cut(store)
        assert store.land(landings[0])
        assert store.keys() == {landings[0].key, synthetic_run(2).key}


class TestMergingByOne:
    @pytest.fixture(autouse=True)
    def few_are_many(self, monkeypatch):
        monkeypatch.setattr(stores, "COMPACT_ABOVE", 3)
        monkeypatch.setattr(leases, "_seen", {})

    def test_many_files_are_merged_and_few_are_not(self, place):
        store, _ = filled(place, range(3))
        store.compact_if_many()
        assert shards_of(store) == 0
        store.land(synthetic_run(3))
        store.compact_if_many()
        assert shards_of(store) == 1
        assert store.leases.claimed() == frozenset()  # whoever merged has let go

    def test_not_by_two_at_once_but_again_once_one_is_lost(self, place, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr(leases, "monotonic", lambda: now[0])
        store, landings = filled(place, range(4))
        let_other_merge(store)
        store.compact_if_many()
        assert shards_of(store) == 0
        now[0] += 61.0
        store.compact_if_many()
        assert shards_of(store) == 1
        assert store.keys() == {landing.key for landing in landings}

    def test_what_lands_meanwhile_is_left_to_the_next(self, place, monkeypatch):
        """Where others land all the time, merging must end, and not in shards of a few runs."""
        store, _ = filled(place, range(4))
        add, numbers = Compacted.add, iter(range(4, 40))

        def add_while_others_land(own, rows, **options):
            store.land(synthetic_run(next(numbers)))
            return add(own, rows, **options)

        monkeypatch.setattr(Compacted, "add", add_while_others_land)
        assert store.compact() == 4
        assert shards_of(store) == 1
        assert len(store.keys()) == 5

    def test_standing_back_is_no_refusal_of_runs(self, place):
        store, _ = filled(place, range(4))
        let_other_merge(store)
        for _ in range(20):
            store.compact_if_many()
        assert not store.leases.is_crowded()


def let_other_merge(store):
    process = {"machine": "another", "pid": 1, "started": "0"}
    leases.write_beat(store.leases.holders, OTHER, 1, process)
    claim = json.dumps({"holder": OTHER}).encode()
    assert store.leases.claims.create(f"{stores._MERGING}.json", claim)


def shards_of(store):
    return len(compacted(store).names()) // 2  # a list and a file each


class TestReading:
    def test_changes_nothing(self, place):
        store, landings = filled(place, range(5))
        store.compact()
        land_quickly(store, [synthetic_run(n, group(4)) for n in (5, 6)])
        part_of(place, "landed").replace(f"{landings[0].key}.json", b"garbage")
        compacted(store).replace("000007.json", b"garbage")
        before = content_of(store)
        table, damage = store.table()
        store.keys(), store.leases.held(), store.measured.find(WHAT)
        assert len(table) == 7
        assert len(damage) == 2
        assert content_of(store) == before

    def test_a_store_that_is_not_there_is_empty_and_stays_away(self, place):
        store = Store(place)
        assert store.table()[0].is_empty()
        assert store.keys() == frozenset()
        assert store.leases.held() == {}
        assert store.measured.find(WHAT) is None
        assert store.num_set_aside() == 0
        assert content_of(store) == {}

    def test_takes_the_runs_and_columns_that_are_asked_for(self, place):
        store, landings = filled(place, range(5))
        table, _ = store.table([landings[2].key, "absent"], columns=["status"])
        assert table.rows(named=True) == [{"key": landings[2].key, "status": "ok"}]


def listed(store, name="000001.json"):
    return unseal(compacted(store).read(name))


def list_again(store, fields, name="000001.json"):
    compacted(store).replace(name, seal(fields))


def write_shard(store, rows, name="000001.json"):
    """A shard, named and listed as it should be, of whatever it may hold."""
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    content = buffer.getvalue()
    file = hashlib.sha256(content).hexdigest()[:32] + ".parquet"
    compacted(store).replace(file, content)
    fields = {"format": "widthwise-shard-1", "file": file, "runs": len(rows), "instead_of": None}
    list_again(store, fields, name)


def shard_of(store):
    (name,) = (name for name in compacted(store).names() if name.endswith(".parquet"))
    return name


def rows_in_shard(store):
    return pl.read_parquet(io.BytesIO(compacted(store).read(shard_of(store))))


def cut(store):
    name = shard_of(store)
    compacted(store).replace(name, compacted(store).read(name)[:-50])


def empty(store):
    compacted(store).replace(shard_of(store), b"")


def missing(store):
    compacted(store).remove(shard_of(store))


def garbage_list(store):
    compacted(store).replace("000001.json", b"garbage")


def other_names(store):
    list_again(store, {**listed(store), "file": f"../landed/{listed(store)['file']}"})


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
    write_shard(store, rows_in_shard(store).drop("status"))


def other_types(store):
    write_shard(store, rows_in_shard(store).with_columns(pl.col("seed").cast(pl.Int8)))


def doubled_rows(store):
    rows = rows_in_shard(store)
    write_shard(store, pl.concat([rows, rows]))


def relabelled(store):
    rows = rows_in_shard(store)
    write_shard(store, rows.with_columns(pl.col("key").reverse()))


def other_group(store):
    rows = rows_in_shard(store)
    write_shard(store, rows.with_columns(pl.lit("{}").alias("group")))


def no_parquet(store):
    content = b"PAR1 and no more PAR1"
    file = hashlib.sha256(content).hexdigest()[:32] + ".parquet"
    compacted(store).replace(file, content)
    list_again(store, {**listed(store), "file": file})


DAMAGE = [
    cut,
    empty,
    missing,
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
    def test_damaged_ones_do_not_count_and_their_runs_land_again(self, place, damage):
        store, landings = filled(place, range(5))
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

    def test_sound_ones_stay(self, place):
        store, _ = filled(place, range(5))
        store.compact()
        before = content_of(store)
        assert store.verify() == []
        assert content_of(store) == before

    def test_one_that_is_listed_twice_counts_once(self, place):
        store, landings = filled(place, range(5))
        store.compact()
        list_again(store, listed(store), "000002.json")
        assert len(rows_of(store)) == 5
        assert store.verify() == []
        assert store.withdraw([landings[0].key]) == 2
        assert len(rows_of(store)) == 4
        assert store.verify() == []

    @pytest.mark.parametrize("interrupted", [False, True])
    def test_what_a_damaged_one_replaced_does_not_come_back(self, place, interrupted):
        store, landings = filled(place, range(5))
        store.compact()
        blobs, old = compacted(store), shard_of(store)
        content = blobs.read(old)
        assert store.withdraw([landings[0].key]) == 1
        new = listed(store, "000002.json")["file"]
        assert new != old
        if interrupted:  # before the old file was moved away
            blobs.replace(old, content)
        blobs.replace(new, blobs.read(new)[:-1])
        assert len(store.verify()) == 1
        assert store.table()[1] == store.verify() == []
        assert rows_of(store) == {}
        assert store.keys() == frozenset()
        assert all(store.land(landing) for landing in landings)
        assert store.compact() == 5
        assert rows_of(store) == {landing.key: landing.row() for landing in landings}

    def test_one_that_no_list_names_does_not_count(self, place):
        store, landings = filled(place, range(5))
        store.compact()
        compacted(store).remove("000001.json")
        assert rows_of(store) == {}
        for landing in landings:
            assert store.land(landing)
        store.sweep()  # its runs are in no other shard: it may be about to be listed
        assert len(compacted(store).names()) == 1
        store.compact()
        land_quickly(store, [synthetic_run(9, group(4))])
        store.compact()
        store.sweep()
        assert len(rows_of(store)) == 6
        assert store.verify() == []

    def test_one_left_over_is_swept_once_its_runs_are_in_others(self, place):
        store, landings = filled(place, range(5))
        rows, _ = store.table([landing.key for landing in landings[:2]])
        store.compact()
        Compacted(store._compacted.blobs).add(rows, after=1)
        compacted(store).remove("000002.json")
        assert store.sweep() == 1
        assert len(rows_of(store)) == 5

    def test_a_damaged_file_of_the_same_name_is_replaced_on_merging(self, place):
        store, _ = filled(place, range(5))
        rows, _ = store.table()
        store._compacted.add(rows, after=0)
        compacted(store).remove("000001.json")
        compacted(store).replace(shard_of(store), b"garbage")
        store.compact()
        assert len(rows_of(store)) == 5
        assert store.verify() == []

    def test_names_of_lists_are_numbers_written_in_one_way(self, place):
        store, _ = filled(place, range(5))
        store.compact()
        odd = ["1.json", "0000001.json", "٠٠٠٠٠٢.json", "-00001.json", f"{'9' * 200}.json"]
        for name in odd:
            list_again(store, listed(store), name)
        assert store._compacted.last() == 1
        assert {damage.place.name for damage in store.table()[1]} == set(odd)
        assert len(store.verify()) == len(odd)
        assert len(rows_of(store)) == 5

    def test_a_path_in_a_list_is_never_opened(self, place):
        store, _ = filled(place, [])
        with pytest.raises(BrokenSealError, match="not there"):
            store._compacted.read(Shard(number=1, file="0" * 32 + ".parquet", runs=1))
        fields = {"format": "widthwise-shard-1", "file": "/dev/zero", "runs": 1}
        list_again(store, {**fields, "instead_of": None})
        assert store._compacted.shards() == ([], {"000001.json": "it is no list of runs"})


class TestWithdrawing:
    def test_runs_are_trained_again_and_kept_aside(self, place):
        store, landings = filled(place, range(4))
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
    def test_the_first_is_frozen(self, place):
        store, _ = filled(place, [])
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
    def test_anything_else_is_set_aside(self, place, content):
        store, _ = filled(place, [])
        store.measured.keep(WHAT, 0.5)
        (name,) = store.measured.blobs.names()
        store.measured.blobs.replace(name, content)
        assert store.measured.find(WHAT) is None
        assert store.measured.keep(WHAT, 0.7) == 0.7
        store.measured.blobs.replace(name, content)
        # An object without a byte is none.
        assert len(store.verify()) == (0 if content == b"" and is_s3(store) else 1)
        assert store.measured.blobs.names() == []


class TestCheckpoints:
    KEYS = ("a" * 32, "b" * 32)

    def written(self, place):
        store, _ = filled(place, [])
        store.checkpoints.write("pack", self.KEYS, b"state\nof it")
        (name,) = store.checkpoints.blobs.names()
        return store, name

    def test_are_read_by_the_same_runs_in_the_same_order(self, place):
        store, _ = self.written(place)
        assert store.checkpoints.read("pack", self.KEYS) == b"state\nof it"
        assert store.checkpoints.read("other", self.KEYS) is None
        for others in (self.KEYS[:1], self.KEYS[::-1], ()):
            with pytest.raises(BrokenSealError, match="other runs"):
                store.checkpoints.read("pack", others)

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"garbage", b"[" * 100_000, None])
    def test_damaged_ones_are_refused_and_swept_or_replaced(self, place, content):
        store, name = self.written(place)
        blobs = store.checkpoints.blobs
        blobs.replace(name, blobs.read(name)[:-1] if content is None else content)
        if content == b"" and is_s3(store):
            assert store.checkpoints.read("pack", self.KEYS) is None
        else:
            with pytest.raises(BrokenSealError, match="checksum"):
                store.checkpoints.read("pack", self.KEYS)
        store.sweep()
        store.checkpoints.write("pack", self.KEYS, b"anew")
        assert store.checkpoints.read("pack", self.KEYS) == b"anew"
        store.checkpoints.forget("pack")
        assert blobs.names() == []

    def test_one_of_runs_that_have_landed_is_swept(self, place):
        store, landings = filled(place, range(2))
        store.checkpoints.write("done", [landing.key for landing in landings], b"")
        store.checkpoints.write("half", [landings[0].key, "c" * 32], b"")
        store.checkpoints.blobs.replace("odd", b"\n[[]]\n")
        store.sweep()
        assert store.checkpoints.blobs.names() == ["half.checkpoint", "odd"]
