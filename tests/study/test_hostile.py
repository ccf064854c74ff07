"""Studies whose files were edited, damaged or replaced, and file systems that fail: one line, and
then the right results."""

import copy
import errno
import io
import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import polars as pl
import pytest
import torch
from alone import trained_alone
from planted_rates import rates
from polars.testing import assert_frame_equal
from tiny_studies import (
    clouds,
    comparable,
    fields,
    finished_study,
    in_this_process,
    landed_files,
)

from widthwise import cli
from widthwise.errors import FitError, InputError, StudyError
from widthwise.runs import leases
from widthwise.runs.analyses import find_stability
from widthwise.runs.sealed import seal
from widthwise.runs.store import Store
from widthwise.study import Study, pack_call, rates_file, turns
from widthwise.study.status import study_status
from widthwise.training import PackTrainer

pytestmark = pytest.mark.slow

# What a user may be told: one line and an exit code.
TOLD = (InputError, StudyError, FitError)
GRID = {"learning_rate": 0.05, "widening_factor": [1, 2], "seeds": 2}
SEARCH_GRID = {
    "widening_factor": [1, 2],
    "normalized_noise_scale": {"from": 0.0025, "to": 0.08, "num": 5},
    "max_stable_learning_rate": 0.4,
}
STRANGE = [None, True, -1, 0, 7, 10**400, 0.5, float("nan"), "", "x", "../..", "\0", [], [1], {}]
STRANGE += [{"a": 1}, [[None]], ["x"] * 3, ...]


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Keys of the runs that were trained, in this process."""
    monkeypatch.setattr(turns, "_SECONDS_BETWEEN_LOOKS", 0.05)
    return in_this_process(monkeypatch)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A finished study, which tests copy."""
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        return finished_study(tmp_path_factory.mktemp("example") / "study", fields(grid=GRID))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study that searches."""
    spec = {
        **fields(grid=[SEARCH_GRID], training={"physical_time": 0.5, "evaluations": 8}),
        "search": {"precision": 1.0, "max_seeds": 3, "runs_at_once": 8, "max_runs": 24},
    }
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        return finished_study(tmp_path_factory.mktemp("searched") / "study", spec)


def copied(study, directory):
    shutil.copytree(study.directory, directory)
    return directory


def assert_complete(study, example):
    """It has what an undisturbed one has, to the bit."""
    found, right = comparable(study.results()), comparable(example.results())
    assert_frame_equal(found.drop("spec_hash"), right.drop("spec_hash"), check_exact=True)


def go_on(directory):
    study = Study.open(directory)
    study.run(1, progress=False)
    return study


def begin(directory):
    return Study.create(directory, fields(grid=GRID), data=clouds())


def leaves(value, path=()):
    """Paths of all that lies in nested tables and lists; of long lists the first entries."""
    inside = value.items() if isinstance(value, dict) else ()
    inside = list(enumerate(value))[:2] if isinstance(value, list) else inside
    for key, child in inside:
        yield (*path, key)
        yield from leaves(child, (*path, key))


def changed(value, path, new):
    whole = copy.deepcopy(value)
    node = whole
    for key in path[:-1]:
        node = node[key]
    if new is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = new
    return whole


def look(directory):
    """All that queries show but the page; whether they had something to show."""
    refused = 0
    for query in (study_status, _results, _search_end):
        with suppress(*TOLD):
            query(directory)
            continue
        refused += 1
    return not refused


def _results(directory):
    return Study.open(directory).results()


def _search_end(directory):
    return Study.open(directory).search_end()


class TestEditedFiles:
    """Every entry, replaced by values of other kinds; with a checksum that was made again, and
    without."""

    @pytest.mark.parametrize("name", ["study.json", "asked.json"])
    def test_are_refused_or_shown(self, example, tmp_path, name):
        directory = copied(example, tmp_path / "s")
        path = directory / name
        written = path.read_bytes()
        whole = json.loads(written)
        del whole["sha256"]
        rng, taken, refused = random.Random(1), 0, 0
        for place in leaves(whole):
            for strange in rng.sample(STRANGE, 3):
                edited = changed(whole, place, strange)
                path.write_bytes(seal(edited))
                if look(directory):
                    taken += 1
                else:
                    refused += 1
                if edited != whole:
                    path.write_text(json.dumps({**edited, "sha256": json.loads(written)["sha256"]}))
                    with pytest.raises(InputError):
                        Study.open(directory).results()
        assert refused > taken > 0
        path.write_bytes(written)
        assert look(directory)

    @pytest.mark.parametrize("content", [b"", b"[" * 10**5, b"{}", b"null", b'"\xff"', b"PAR1"])
    @pytest.mark.parametrize("name", ["study.json", "asked.json", "stable-rates.json"])
    def test_that_are_something_else(self, example, tmp_path, name, content, monkeypatch, capsys):
        directory = copied(example, tmp_path / "s")
        (directory / name).write_bytes(content)
        assert command(monkeypatch, "report", directory) == 2
        output, said = capsys.readouterr()
        assert (output, said.count("\n")) == ("", 1)
        assert said.startswith("widthwise: ")

    def test_of_format_2_without_a_specification(self, tmp_path):
        (tmp_path / "study.json").write_text('{"format": "widthwise-study-2"}')
        assert not look(tmp_path)


def command(monkeypatch, *words):
    """Exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["widthwise", *map(str, words)])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    return end.value.code or 0


class TestStableRates:
    def test_that_were_edited_are_refused_or_shown(self, example, tmp_path):
        path = tmp_path / "stable-rates.json"
        identity = rates_file.identity_of(example.spec, None, None)
        kept = {rate.widening_factor: (rate, 1.0) for rate in rates(0.5, widths=(1.0, 2.0))}
        rates_file.write_rates(path, identity, kept)
        whole = json.loads(path.read_text())
        results, optima = example.results(), example.optima()
        rng, taken, refused = random.Random(3), 0, 0
        for place in leaves(whole["widths"]):
            for strange in rng.sample(STRANGE, 8):
                edited = {**whole, "widths": changed(whole["widths"], place, strange)}
                path.write_text(json.dumps(edited))
                try:
                    found = rates_file.kept_rates(example.spec, path)
                except InputError:
                    refused += 1
                else:
                    taken += 1
                    with suppress(InputError):  # they were measured differently
                        find_stability(results, optima, () if found is None else found.rates)
        assert refused > taken > 0


class TestRounds:
    def path(self, directory, number=0):
        return sorted(directory.glob("rounds/*/*.json"))[number]

    def test_that_were_edited_are_refused_or_made_again(self, searched, tmp_path):
        directory = copied(searched, tmp_path / "s")
        path = self.path(directory)
        written = path.read_bytes()
        whole = json.loads(written)
        del whole["sha256"]
        rng = random.Random(2)
        for place in leaves(whole):
            for strange in rng.sample(STRANGE, 3):
                path.write_bytes(seal(changed(whole, place, strange)))
                look(directory)
        for strange in ({"width": 99, "scale_index": 0, "seeds": [0]}, {"width": -1}, 3):
            path.write_bytes(seal({"runs": [strange]}))
            with suppress(InputError):
                assert len(Study.open(directory).schedule.packs) <= 100

    @pytest.mark.parametrize("kind", ["garbage", "directory", "link", "dangling", "loop", "pipe"])
    def test_that_are_damaged_are_made_again(self, searched, tmp_path, kind):
        directory = copied(searched, tmp_path / "s")
        path = self.path(directory)
        put_something(path, kind, tmp_path)
        study = go_on(directory)
        assert_complete(study, searched)
        assert study.search_end() == searched.search_end()

    def test_a_folder_of_them_that_is_a_link_is_refused(self, searched, tmp_path):
        directory = copied(searched, tmp_path / "s")
        (directory / "rounds").rename(tmp_path / "outside")
        (directory / "rounds").symlink_to(tmp_path / "outside")
        with pytest.raises(InputError, match="must be a folder, got a link"):
            Study.open(directory).search_end()
        with pytest.raises(InputError, match="must be a folder, got a link"):
            go_on(directory)


def put_something(place, kind, folder):
    """Something else in the place of a file."""
    outside = folder / "outside"
    outside.write_bytes(place.read_bytes() if place.is_file() else b"mine")
    place.unlink(missing_ok=True)
    match kind:
        case "garbage":
            place.write_bytes(b"garbage")
        case "directory":
            place.mkdir()
            (place / "inside").touch()
        case "pipe":
            os.mkfifo(place)
        case _:
            goals = {"link": outside, "dangling": folder / "absent", "loop": place}
            place.symlink_to(goals[kind])


KINDS = ["garbage", "directory", "link", "dangling", "loop", "pipe"]


class TestStores:
    @pytest.mark.parametrize("kind", KINDS)
    def test_full_of_something_else(self, example, tmp_path, kind, trained):
        """In the place of a landing, and beside everything."""
        directory = copied(example, tmp_path / "s")
        store = directory / "store"
        put_something(landed_files(directory)[0], kind, tmp_path)
        keys = [path.stem for path in landed_files(directory)]
        for folder in ("landed", "compacted", "measured", "checkpoints", "claims", "holders"):
            for name in (f"{keys[0][::-1]}.json", "000001.json", "odd"):
                if not os.path.lexists(store / folder / name):
                    put_something(store / folder / name, kind, tmp_path)
        assert study_status(directory).runs_landed == 3
        assert_complete(go_on(directory), example)
        assert len(trained) == 1
        assert study_status(directory).damaged > 0

    def test_a_directory_that_takes_the_name_while_it_runs(self, tmp_path, example, monkeypatch):
        study = begin(tmp_path / "s")
        land = Store.land

        def take_the_name(store, landing):
            with suppress(FileExistsError):
                (store.place / "landed" / f"{landing.key}.json").mkdir()
            return land(store, landing)

        monkeypatch.setattr(Store, "land", take_the_name)
        study.run(1, progress=False)
        assert_complete(study, example)

    def test_a_claim_of_another_machine_delays_for_its_silence_only(
        self, tmp_path, example, monkeypatch
    ):
        monkeypatch.setattr(leases, "_SECONDS_OF_SILENCE", 0.3)
        study = begin(tmp_path / "s")
        store = Store(study.directory / "store")
        store.prepare()
        process = {"machine": "another", "pid": 1, "started": "0"}
        holder = store.place / "holders" / f"{'d' * 32}.json"
        holder.write_text(json.dumps({"number": 1, "process": process}))
        for pack in study.schedule.packs:
            for key in pack.keys:
                claim = json.dumps({"holder": "d" * 32})
                (store.place / "claims" / f"{key}.json").write_text(claim)
        assert study.status().runs_in_flight == 4
        study.run(1, progress=False)
        assert_complete(study, example)
        assert list((store.place / "claims").iterdir()) == []


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class StoppedError(Exception):
    pass


class TestCheckpoints:
    """With the right checksum and the right runs, and something else inside."""

    @pytest.mark.parametrize(
        "kind",
        [
            "bomb",
            "bare bomb",
            "garbage",
            "nothing",
            "other width",
            "no trainer",
            "words",
            "shapes",
            *KINDS[1:],
        ],
    )
    def test_are_not_used(self, tmp_path, example, monkeypatch, kind, capsys):
        monkeypatch.setattr(pack_call, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        study = begin(tmp_path / "s")
        advance = PackTrainer.advance

        def cut_short(trainer, on_progress=None):
            if trainer.step >= 12 and trainer.job.widening_factor == stopped:
                raise StoppedError
            advance(trainer, on_progress)

        store = Store(study.directory / "store")
        store.prepare()
        first, second = study.schedule.packs
        states = {}
        monkeypatch.setattr(PackTrainer, "advance", cut_short)
        for pack in (first, second):
            stopped = pack.job.widening_factor
            with pytest.raises(StoppedError):
                pack_call.PackCall(study.directory, store.place, pack)(lambda event: None)
            states[pack.name] = store.checkpoints.read(pack.name, pack.keys)
        monkeypatch.setattr(PackTrainer, "advance", advance)
        sound = torch.load(io.BytesIO(states[first.name]), weights_only=True)
        victim = tmp_path / "exploded"

        def saved(content):
            buffer = io.BytesIO()
            torch.save(content, buffer)
            return buffer.getvalue()

        contents = {
            "bomb": lambda: saved({**sound, "more": Bomb(victim)}),
            "bare bomb": lambda: pickle.dumps(Bomb(victim)),
            "garbage": lambda: b"garbage",
            "nothing": lambda: b"",
            "other width": lambda: states[second.name],
            "no trainer": lambda: saved({"seconds": 1.0}),
            "words": lambda: saved({**sound, "seconds": "long"}),
            "shapes": lambda: saved({**sound, "trainer": {**sound["trainer"], "alive": [5, 6, 7]}}),
        }
        if kind in contents:
            store.checkpoints.write(first.name, first.keys, contents[kind]())
        else:
            put_something(store.place / "checkpoints" / f"{first.name}.checkpoint", kind, tmp_path)
        study.run(1, progress=False)
        assert not victim.exists()
        assert first.name in capsys.readouterr().err
        assert_complete(study, example)
        assert list((store.place / "checkpoints").iterdir()) == []


LONG = "long" * 50


class TestNames:
    @pytest.mark.parametrize(
        "name", ["[a-z]*", "two words", "two\nlines", LONG, "-o", "%s{0}", "ḡ ε", "*", "a'\"b"]
    )
    def test_of_folders(self, tmp_path, example, name, monkeypatch, capsys):
        study = begin(tmp_path / name)
        study.run(1, progress=False)
        assert_complete(study, example)
        assert study.status().runs_landed == 4
        (tmp_path / "deeper").mkdir()
        study.directory.rename(tmp_path / "deeper" / name)
        landed_files(tmp_path / "deeper" / name)[0].unlink()
        assert_complete(go_on(tmp_path / "deeper" / name), example)
        assert command(monkeypatch, "status", tmp_path / "deeper" / name) == 0
        assert "4 of 4" in capsys.readouterr().out

    def test_a_name_that_is_too_long_is_said(self, tmp_path):
        with pytest.raises((InputError, OSError), match=r"(?i)name.*too long"):
            begin(tmp_path / ("x" * 300))

    def test_links_in_a_circle(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        for words in (("status",), ("report",), ("run",)):
            assert command(monkeypatch, *words, tmp_path / "loop") in (1, 2)
            assert capsys.readouterr().err.count("\n") == 1


class TestClocks:
    @pytest.mark.parametrize("seconds", [-1e8, 1e8])
    def test_set_back_or_forward(self, example, tmp_path, monkeypatch, seconds):
        directory = copied(example, tmp_path / "s")
        landed_files(directory)[0].unlink()
        now = time.time()
        for path in (directory, *directory.rglob("*")):
            os.utime(path, (now + seconds, now + seconds))
        monkeypatch.setattr(time, "time", lambda: now - seconds)
        assert_complete(go_on(directory), example)
        store = Store(directory / "store")
        store.compact()
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        store.prepare()
        store.sweep()
        assert_complete(go_on(directory), example)


class TestFailingDisks:
    @trained_alone
    @pytest.mark.parametrize(
        ("operation", "code"),
        [
            *((operation, errno.ENOSPC) for operation in ("link", "fsync", "mkstemp", "replace")),
            *(("link", code) for code in (errno.EDQUOT, errno.EROFS, errno.EIO)),
        ],
    )
    def test_at_any_moment(self, tmp_path, example, monkeypatch, operation, code):
        import tempfile

        module = tempfile if operation == "mkstemp" else os
        real, count, limit = getattr(module, operation), itertools.count(), [0]

        def fail(*args, **kwargs):
            if next(count) >= limit[0]:
                raise OSError(code, os.strerror(code), str(tmp_path))
            return real(*args, **kwargs)

        monkeypatch.setattr(module, operation, fail)
        landed, told = 0, []
        for moment in (0, 1, 2, 5, 9, 14, 10**9):
            count, limit[0] = itertools.count(), moment
            try:
                begin(tmp_path / "s").run(1, progress=False)
            except TOLD as error:
                told.append(str(error))
            now = set(landed_files(tmp_path / "s"))
            assert len(now) >= landed
            landed = len(now)
        assert 1 <= len(told) <= 6
        assert "\n" not in "".join(told)
        assert_complete(Study.open(tmp_path / "s"), example)

    def test_while_reading(self, example, tmp_path, monkeypatch):
        """What cannot be read now is not taken for damaged."""
        directory = copied(example, tmp_path / "s")
        victim, real = landed_files(directory)[0], os.open

        def refuse(path, *args, **kwargs):
            if str(path) == str(victim):
                raise OSError(errno.EIO, "Input/output error", str(path))
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(InputError, match="Input/output error; nothing was changed"):
            go_on(directory)
        assert study_status(directory).runs_landed == 3
        monkeypatch.undo()
        assert victim.exists()
        assert study_status(directory).runs_landed == 4


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of its own with these options; again with others."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("file systems may not be mounted here")
        return place

    yield mount
    with suppress(OSError):
        subprocess.run(["umount", str(place)], capture_output=True, check=False)


class TestSmallDisks:
    @pytest.mark.parametrize(
        "options", ["size=20k", "size=40k", "nr_inodes=14", "nr_inodes=17", "size=1m,ro"]
    )
    def test_nothing_is_lost(self, small_disk, tmp_path, example, options):
        place = small_disk(options)
        with pytest.raises(InputError, match=r"the disk is full|read-only"):
            begin(place / "s").run(1, progress=False)
        roomy = "remount,rw,size=10m,nr_inodes=10000"
        subprocess.run(["mount", "-o", roomy, str(place)], check=True)
        before = {path: path.read_bytes() for path in landed_files(place / "s")}
        study = begin(place / "s")
        study.run(1, progress=False)
        assert_complete(study, example)
        assert all(path.read_bytes() == content for path, content in before.items())

    def test_queries_need_no_room(self, small_disk, example, monkeypatch, capsys):
        place = small_disk("size=10m")
        directory = copied(example, place / "s")
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        assert look(directory)
        assert_complete(Study.open(directory), example)
        for words in (("report",), ("gc",)):
            assert command(monkeypatch, *words, directory) == 2
            said = capsys.readouterr().err
            assert "read-only" in said
            assert said.count("\n") == 1


class TestPlacesThatVanish:
    @trained_alone
    @pytest.mark.parametrize("what", ["s", "s/store", "s/store/landed", "s/store/checkpoints"])
    @pytest.mark.parametrize("happens", ["renamed", "removed"])
    def test_while_it_runs(self, tmp_path, example, monkeypatch, what, happens):
        study = begin(tmp_path / "s")
        monkeypatch.setattr(pack_call, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        land, calls = Store.land, itertools.count()

        def vanish(store, landing):
            if next(calls) == 1:
                (tmp_path / what).rename(tmp_path / "away")
            return land(store, landing)

        monkeypatch.setattr(Store, "land", vanish)
        with suppress(*TOLD) if what == "s/store/checkpoints" else pytest.raises(TOLD) as caught:
            study.run(1, progress=False)
        monkeypatch.setattr(Store, "land", land)
        if what != "s/store/checkpoints":
            assert "\n" not in str(caught.value)
        if happens == "removed":
            shutil.rmtree(tmp_path / "away")
        else:
            shutil.rmtree(tmp_path / what, ignore_errors=True)
            (tmp_path / "away").rename(tmp_path / what)
            assert len(landed_files(tmp_path / "s")) >= 1
        again = begin(tmp_path / "s")
        again.run(1, progress=False)
        assert_complete(again, example)


def test_the_check_of_results_can_fail(example, tmp_path):
    directory = copied(example, tmp_path / "s")
    landed_files(directory)[0].unlink()
    with pytest.raises(AssertionError):
        assert_complete(Study.open(directory), example)
    assert isinstance(Study.open(directory).results(), pl.DataFrame)
