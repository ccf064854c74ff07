"""Who is training what: claims save work, and never stand in its way for ever."""

import json
import os
import subprocess
import sys
import threading
from time import monotonic, sleep

import pytest
from synthetic_runs import filled, land_quickly

from widthwise.runs import leases
from widthwise.runs.address import Address
from widthwise.runs.store import Store

KEYS = ["a" * 32, "b" * 32]
HOLDER = "c" * 32
MINUTE = 60.0


@pytest.fixture
def store(place):
    return filled(place, [])[0]


@pytest.fixture
def in_folder(tmp_path):
    return filled(tmp_path / "store", [])[0]


@pytest.fixture
def clock(monkeypatch):
    """The clock of whoever looks; a list of its one value."""
    now = [1000.0]
    monkeypatch.setattr(leases, "monotonic", lambda: now[0])
    monkeypatch.setattr(leases, "_seen", {})
    monkeypatch.setattr(leases, "_refusals", {})
    return now


def beat(store, number=1, *, machine="another", pid=1, started="0", holder=HOLDER):
    process = {"machine": machine, "pid": pid, "started": started}
    leases.write_beat(store.leases.holders, holder, number, process)


def claim(store, key, content=None):
    name = f"{key}.json"
    content = json.dumps({"holder": HOLDER}).encode() if content is None else content
    store.leases.claims.replace(name, content)
    return name


def can_take(store, keys=KEYS):
    with store.leases.hold(keys) as mine:
        return mine


class TestHolding:
    def test_is_seen_by_others_and_ends(self, store):
        with store.leases.hold(KEYS) as mine:
            assert mine
            assert set(store.leases.held()) == set(KEYS)
        assert store.leases.held() == {}

    def test_all_or_nothing(self, store, clock):
        beat(store)
        claim(store, KEYS[1])
        assert not can_take(store)
        assert set(store.leases.held()) == {KEYS[1]}

    def test_ends_when_the_work_fails(self, store):
        def fail():
            with store.leases.hold(KEYS):
                raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"):
            fail()
        assert store.leases.held() == {}

    def test_what_another_took_over_is_left_to_it(self, store, clock):
        with store.leases.hold(KEYS):
            beat(store)
            name = claim(store, KEYS[0])  # this process was silent for long
        assert store.leases.claims.names() == [name]
        assert set(store.leases.held()) == {KEYS[0]}


class TestBeating:
    def test_lasts_as_long_as_anything_is_held(self, in_folder, monkeypatch):
        """A process that has done with a store writes to it no more."""
        monkeypatch.setattr(leases, "_SECONDS_BETWEEN_BEATS", 0.01)
        holders, names = in_folder.leases.holders, []
        for _ in range(2):
            with in_folder.leases.hold(KEYS[:1]), in_folder.leases.hold(KEYS[1:]):
                (name,) = holders.names()
                until(lambda name=name: json.loads(holders.read(name))["number"] > 3)
                assert set(in_folder.leases.held()) == set(KEYS)
            until(lambda: holders.names() == [])
            assert holders.place not in leases._beating
            names.append(name)
        assert len(set(names)) == 2

    def test_a_store_that_does_not_answer_silences_no_other(self, in_folder, tmp_path, monkeypatch):
        monkeypatch.setattr(leases, "_SECONDS_BETWEEN_BEATS", 0.01)
        (other,), write, asked, answers = (
            filled(tmp_path / "other", [])[:1],
            leases.write_beat,
            threading.Event(),
            threading.Event(),
        )

        def slowly(holders, *beat):
            if holders.place == other.leases.holders.place:
                asked.set()
                assert answers.wait(30.0)
            write(holders, *beat)

        monkeypatch.setattr(leases, "write_beat", slowly)
        with in_folder.leases.hold(KEYS):
            waiting = threading.Thread(target=can_take, args=(other,))
            waiting.start()
            assert asked.wait(30.0)
            holders = in_folder.leases.holders
            (name,) = holders.names()
            before = json.loads(holders.read(name))["number"]
            until(lambda: json.loads(holders.read(name))["number"] > before + 3)
            answers.set()
            waiting.join()

    def test_a_child_that_is_forked_meanwhile_can_hold(self, in_folder):
        with leases._listing:
            leases._after_fork()
            assert can_take(in_folder)


def until(is_so, seconds=30.0):
    """Wait for it."""
    last = monotonic() + seconds
    while not is_so():
        assert monotonic() < last
        sleep(0.005)


class TestCrowds:
    def test_many_refusals_in_a_row_are_one_for_two_seconds(self, store, clock):
        beat(store)
        for key in KEYS:
            claim(store, key)
        for _ in range(7):
            assert not can_take(store)
            assert not store.leases.is_crowded()
        assert not can_take(store)
        assert store.leases.is_crowded()
        clock[0] += 1.9
        assert store.leases.is_crowded()
        clock[0] += 0.2
        assert not store.leases.is_crowded()
        assert not can_take(store)  # the count begins anew
        assert not store.leases.is_crowded()

    def test_what_was_taken_between_ends_the_row(self, store, clock):
        beat(store)
        claim(store, KEYS[0])
        for _ in range(3):
            for _ in range(7):
                assert not can_take(store)
            assert can_take(store, [KEYS[1]])
            assert not store.leases.is_crowded()

    def test_claims_are_known_without_a_look_at_each(self, store):
        claim(store, KEYS[0])
        assert store.leases.claimed() == {KEYS[0]}
        assert store.leases.held() == {}  # its holder has left no trace


class TestSilence:
    def test_a_minute_of_it_frees_the_claim(self, store, clock):
        beat(store)
        claim(store, KEYS[0])
        assert not can_take(store)
        clock[0] += MINUTE - 1
        assert not can_take(store)
        clock[0] += 2
        assert can_take(store)

    def test_a_beat_begins_it_anew(self, store, clock):
        claim(store, KEYS[0])
        for number in range(1, 10):
            beat(store, number)
            assert not can_take(store)
            clock[0] += MINUTE - 1
        assert not can_take(store)

    @pytest.mark.parametrize("seconds", [-1e8, 1e8])
    def test_times_of_files_and_the_clock_of_the_day_do_not_count(
        self, in_folder, clock, monkeypatch, seconds
    ):
        store = in_folder
        beat(store)
        claim(store, KEYS[0])
        for path in (*store.place.glob("claims/*"), *store.place.glob("holders/*")):
            os.utime(path, (path.stat().st_mtime + seconds,) * 2)
        monkeypatch.setattr("time.time", lambda: 1.6e9 - seconds)
        assert not can_take(store)
        assert store.leases.held()[KEYS[0]] >= 0
        clock[0] += MINUTE + 1
        assert can_take(store)

    def test_it_is_swept(self, store, clock):
        beat(store)
        claim(store, KEYS[0])
        assert store.sweep() == 0
        clock[0] += MINUTE + 1
        assert store.sweep() == 2


class TestProcesses:
    def test_a_dead_one_of_this_machine_holds_nothing_at_once(self, in_folder):
        store = in_folder
        code = (
            "import sys, os; from pathlib import Path; from widthwise.runs.store import Store\n"
            "store = Store(Path(sys.argv[1]))\n"
            "hold = store.leases.hold(sys.argv[2:]); assert hold.__enter__()\n"
            "print('holds', flush=True); sys.stdin.read(1); os._exit(9)"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(store.place), *KEYS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout.readline() == b"holds\n"
        assert not can_take(store)
        assert set(store.leases.held()) == set(KEYS)
        child.communicate(b"x")
        assert store.leases.held() == {}
        assert can_take(store)

    def test_another_one_of_the_same_number_is_told_apart(self, store):
        beat(store, machine=leases._machine(), pid=os.getpid(), started="0")
        claim(store, KEYS[0])
        assert can_take(store)

    def test_of_another_machine_is_alive_until_it_was_silent(self, store, clock):
        beat(store, pid=2**22 + 1)  # there is no such process here
        claim(store, KEYS[0])
        assert not can_take(store)

    def test_one_that_left_no_trace_holds_nothing(self, store):
        claim(store, KEYS[0])
        assert store.leases.held() == {}
        assert can_take(store)


GARBAGE = [
    b"",
    b"garbage",
    b"[]",
    b"[" * 100_000,
    b"null",
    b'{"holder": 3}',
    b'{"holder": "../../outside"}',
    b'{"holder": "\\u0000"}',
    b'{"holder": "' + b"x" * 5000 + b'"}',
]
BEATS = [
    b"",
    b"[]",
    b"[" * 100_000,
    b'{"number": 1}',
    b'{"number": 1, "process": 3}',
    b'{"number": Infinity, "process": {"machine": "m", "pid": 1, "started": "0"}}',
    b'{"number": 1, "process": {"machine": "m", "pid": -Infinity, "started": "0"}}',
    b'{"number": "x", "process": {"machine": "m", "pid": 1, "started": "0"}}',
]


class TestGarbage:
    @pytest.mark.parametrize("content", GARBAGE)
    def test_in_a_claim_does_not_hold(self, store, content):
        claim(store, KEYS[0], content)
        assert store.leases.held() == {}
        assert can_take(store)

    @pytest.mark.parametrize("content", BEATS)
    def test_in_a_holder_does_not_hold(self, store, content):
        claim(store, KEYS[0])
        store.leases.holders.replace(f"{HOLDER}.json", content)
        assert store.leases.held() == {}
        assert can_take(store)
        # An object without a byte is none.
        assert store.sweep() == (0 if content == b"" and isinstance(store.place, Address) else 1)

    @pytest.mark.parametrize("kind", ["directory", "link", "dangling", "loop", "pipe"])
    @pytest.mark.parametrize("folder", ["claims", "holders"])
    def test_that_is_no_file_does_not_hold(self, in_folder, tmp_path, folder, kind):
        store = in_folder
        claim(store, KEYS[0])
        place = store.place / folder / f"{KEYS[0] if folder == 'claims' else HOLDER}.json"
        place.unlink(missing_ok=True)
        outside = tmp_path / "outside"
        outside.write_text(json.dumps({"holder": HOLDER, "number": 1}))
        before = outside.read_bytes()
        if kind == "directory":
            place.mkdir()
            (place / "inside").touch()
        elif kind == "pipe":
            os.mkfifo(place)
        else:
            goals = {"link": outside, "dangling": tmp_path / "absent", "loop": place}
            place.symlink_to(goals[kind])
        assert store.leases.held() == {}
        assert can_take(store)
        store.verify()
        store.sweep()
        assert outside.read_bytes() == before
        assert list((store.place / folder).iterdir()) == [
            path for path in (store.place / folder).iterdir() if path.name != place.name
        ]

    def test_a_claim_on_what_has_landed_is_swept(self, store):
        from synthetic_runs import synthetic_run

        landing = synthetic_run(1)
        land_quickly(store, [landing])
        claim(store, landing.key)
        assert store.sweep() == 1

    def test_a_store_that_is_gone_is_said_in_one_line(self, tmp_path):
        store = Store(tmp_path / "absent")
        with pytest.raises(ValueError, match="its directory is gone"):
            can_take(store)
