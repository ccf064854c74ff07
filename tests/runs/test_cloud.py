"""Object stores that answer badly, and what is said of them. Those marked need an S3 server."""

import signal
import sys
import threading
import traceback

import pytest
from object_stores import ACCESS_KEY, BUCKET, SECRET_KEY, BadProxy, speaking_to
from polars.testing import assert_frame_equal
from synthetic_runs import filled, group, land_quickly, rows_of, synthetic_run
from tiny_studies import clouds, comparable, fields, finished_study

from widthwise import cli
from widthwise.errors import InputError
from widthwise.runs import cloud
from widthwise.runs.address import Address
from widthwise.runs.blobs import UnreachableError
from widthwise.runs.store import Store, part_of
from widthwise.study import Study

NOWHERE = Address("s3", "nowhere")


@pytest.fixture
def proxied(s3_port, s3_place):
    """An address behind a proxy that fails every fifth request."""
    proxy = BadProxy(s3_port, share=0.2, seed=1)
    with speaking_to(proxy.port):
        yield s3_place, proxy.done
    proxy.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(cloud, "_SECONDS_OF_TRYING", 0.3)
    monkeypatch.setattr(cloud, "_SECONDS_OF_RETRIES", 0.3)
    cloud._client.cache_clear()


@pytest.mark.cluster
class TestBadAnswers:
    def test_whoever_created_a_blob_knows_it_also_if_the_answer_got_lost(self, proxied):
        place, done = proxied
        blobs = part_of(place, "landed")
        names = [f"{number:03d}" for number in range(40)]
        assert all(blobs.create(name, name.encode()) for name in names)
        assert not any(blobs.create(name, b"other") for name in names)
        assert blobs.names() == names
        assert dict(blobs.read_each(names)) == {name: name.encode() for name in names}
        aside = part_of(place, "set-aside")
        for name in names[:12]:
            assert blobs.move(name, aside).name == name
        for name in names[12:24]:
            blobs.replace(name, b"replaced")
            blobs.remove(name)
        assert blobs.names() == names[24:]
        assert aside.names() == names[:12]
        assert min(done[fault] for fault in BadProxy.FAULTS) > 5

    def test_of_sixteen_workers_one_lands_each_run(self, proxied):
        place, done = proxied
        filled(place, [])
        wins, runs = {}, range(10)

        def work(salt):
            store = Store(place)
            for number in runs:
                landing = synthetic_run((number + salt) % len(runs), group(4), salt=salt)
                with store.leases.hold([landing.key]):
                    if store.land(landing):
                        wins.setdefault(landing.key, []).append(landing.row())

        workers = [threading.Thread(target=work, args=(salt,)) for salt in range(16)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [len(rows) for rows in wins.values()] == [1] * len(runs)
        store = Store(place)
        assert rows_of(store) == {key: row for key, (row,) in wins.items()}
        assert store.verify() == []
        assert store.leases.held() == {}
        assert min(done[fault] for fault in BadProxy.FAULTS) > 10

    def test_a_study_ends_with_the_results_of_a_folder(self, proxied, tmp_path):
        """To the bit, trained by two processes."""
        place, done = proxied
        expected = finished_study(tmp_path / "folder")
        study = Study.create(tmp_path / "bucket", fields(), data=clouds(), store=str(place))
        before = done["none"]
        assert study.run(2, progress=False)
        assert_frame_equal(comparable(study.results()), comparable(expected.results()))
        assert len(expected.results()) == 8
        assert done["none"] > before
        assert sum(done[fault] for fault in BadProxy.FAULTS) > 10
        again = Study.open(tmp_path / "bucket")
        assert again.status().runs_landed == 8
        assert again.verify() == []
        assert not (tmp_path / "bucket" / "store").exists()

    def test_one_that_never_answers_is_given_up_and_says_so(self, s3_port, s3_place, impatient):
        proxy = BadProxy(s3_port, share=1.0, seed=1)
        with speaking_to(proxy.port):
            store = Store(s3_place)
            for look in (store.keys, store.table, store.verify, store.leases.held):
                with pytest.raises(UnreachableError, match="What has landed is intact"):
                    look()
            with pytest.raises(
                UnreachableError, match=f"the store {s3_place}/(landed|compacted) does not answer"
            ):
                store.land(synthetic_run(1))
        proxy.close()


@pytest.mark.cluster
class TestNames:
    def test_what_was_written_meanwhile_is_not_moved_away(self, s3_place, monkeypatch):
        """Another has set the damaged landing aside, and landed the run again."""
        store, (landing,) = filled(s3_place, [1])
        blobs, put = part_of(s3_place, "landed"), cloud._put_under_free_name
        blobs.replace(f"{landing.key}.json", b"garbage")

        def put_late(target, name, content):
            place = put(target, name, content)
            blobs.replace(name, landing.encode())
            return place

        monkeypatch.setattr(cloud, "_put_under_free_name", put_late)
        store.verify()
        assert rows_of(store) == {landing.key: landing.row()}
        assert store.num_set_aside() == 0

    def test_that_have_more_below_them_are_set_aside(self, s3_place):
        store, landings = filled(s3_place, range(3))
        for part in ("landed", "compacted", "claims"):
            part_of(s3_place, part).replace(f"{'0' * 32}.json/inside/1", b"mine")
        part_of(s3_place, "compacted").replace("000001.json/1", b"mine")
        assert len(rows_of(store)) == 3
        assert len(store.verify()) == 4
        assert store.verify() == []
        assert store.compact() == 3
        assert rows_of(store) == {landing.key: landing.row() for landing in landings}
        assert part_of(s3_place, "set-aside").read("000001.json/1") == b"mine"


@pytest.mark.cluster
def test_what_has_been_read_is_not_asked_for_again(s3_port, s3_place):
    """However many shards there are, a landing takes two requests, and three if it comes late."""
    store, _ = filled(s3_place, [])
    for number in range(12):
        land_quickly(store, [synthetic_run(number, group(4))])
        store.compact()
    proxy = BadProxy(s3_port, share=0.0, seed=0)
    with speaking_to(proxy.port):
        store = Store(s3_place)
        assert len(store.keys()) == 12
        for look, most in (
            (lambda: store.keys(), 2),
            (lambda: store.land(synthetic_run(20, group(4))), 2),
            (lambda: store.land(synthetic_run(3, group(4))), 3),
        ):
            before = proxy.done["none"]
            look()
            assert proxy.done["none"] - before <= most
    proxy.close()


def everything_said(error):
    """By it and by all that it came from."""
    return "".join(traceback.format_exception(error)) + repr(
        [error, error.__cause__, error.__context__]
    )


SPEC = """
title = "In a bucket"
store = "STORE"
data = { name = "npz", path = "DATA", preprocessing = "none" }
training = { steps = 24, evaluations = 8 }
packing = { size = 16 }
family = { base_width = 4 }
grid = { widening_factor = [1, 2], learning_rate = 0.1, batch_size = 8, seeds = 2 }
"""


@pytest.fixture
def spec(tmp_path):
    """A specification whose store is yet to be named."""
    clouds().save(tmp_path / "clouds.npz")
    path = tmp_path / "spec.toml"
    path.write_text(SPEC.replace("DATA", "clouds.npz"))
    return path


@pytest.fixture
def widthwise(monkeypatch, capfd):
    """The command: its exit code, and what it and its workers print."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["widthwise", *map(str, words)])
        cloud._client.cache_clear()
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as end:
            cli.main()
        signal.signal(signal.SIGTERM, before)
        return end.value.code or 0, *capfd.readouterr()

    yield run
    cloud._client.cache_clear()


@pytest.mark.cluster
class TestCredentials:
    SECRETS = (ACCESS_KEY, SECRET_KEY, "hush-user", "hush-word")
    USER = "http://hush-user:hush-word@127.0.0.1"

    def assert_hidden(self, text):
        assert [secret for secret in self.SECRETS if secret in text] == []

    def test_are_nowhere_when_all_goes_well(
        self, s3_port, s3_place, spec, tmp_path, widthwise, monkeypatch
    ):
        spec.write_text(spec.read_text().replace("STORE", str(s3_place)))
        directory = tmp_path / "study"
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"{self.USER}:{s3_port}")
        for words in (
            ("run", spec, "-o", directory, "--workers", 1),
            *((name, directory) for name in ("work", "verify", "gc", "status")),
        ):
            code, out, err = widthwise(*words)
            assert code == 0, err
            self.assert_hidden(out + err)
        assert "4 of 4" in out
        assert f'"store": "{s3_place}"' in (directory / "study.json").read_text()
        for path in directory.rglob("*"):
            if path.is_file():
                self.assert_hidden(path.read_bytes().decode(errors="replace"))
        for part in ("landed", "compacted", "claims", "holders", "measured", "checkpoints"):
            blobs = part_of(s3_place, part)
            for _, content in blobs.read_each(blobs.names()):
                self.assert_hidden(content.decode(errors="replace"))

    @pytest.mark.parametrize(
        ("port", "store", "code", "problem"),
        [
            (None, f"s3://{BUCKET}/a?token=hush-word", 2, "store must be a folder, or an address"),
            (None, f"s3://hush-user:hush-word@{BUCKET}/a", 2, "store must be a folder, or an"),
            (None, "s3://nowhere/a", 2, "there is no such bucket; make it first (404"),
            (1, f"s3://{BUCKET}/a", 1, "it cannot be reached. What has landed is intact"),
        ],
    )
    @pytest.mark.parametrize("by_option", [False, True])
    def test_are_in_no_message(
        self,
        s3_port,
        s3_place,
        spec,
        tmp_path,
        widthwise,
        monkeypatch,
        impatient,
        port,
        store,
        code,
        problem,
        by_option,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"{self.USER}:{port or s3_port}")
        option = ["--store", store] if by_option else []
        text = spec.read_text()
        spec.write_text(text.replace("STORE", "elsewhere" if by_option else store))
        found, out, err = widthwise("run", spec, "-o", tmp_path / "study", *option)
        assert found == code
        assert problem in err
        assert len(err.strip().splitlines()) == 1
        self.assert_hidden(out + err)

    def test_are_in_no_exception(self, s3_port, s3_place, impatient, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"{self.USER}:{s3_port}")
        cloud._client.cache_clear()
        with pytest.raises(InputError, match="no such bucket") as refused:
            Store(NOWHERE / "a").keys()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"{self.USER}:1")
        cloud._client.cache_clear()
        with pytest.raises(UnreachableError, match="cannot be reached") as unreachable:
            Store(s3_place).keys()
        for caught in (refused, unreachable):
            self.assert_hidden(everything_said(caught.value))

    def test_that_check_finds_what_obstore_says(self, s3_port, monkeypatch):
        import obstore

        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"{self.USER}:{s3_port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        client = obstore.store.from_url(str(NOWHERE))
        with pytest.raises(Exception, match="status code: 404") as caught:
            obstore.list_with_delimiter(client, "a")
        with pytest.raises(AssertionError):
            self.assert_hidden(everything_said(caught.value))


class TestWithoutObstore:
    def test_the_remedy_is_said_in_one_line(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
        monkeypatch.setitem(sys.modules, "obstore", None)
        cloud._client.cache_clear()
        with pytest.raises(InputError, match=r"not installed; pip install 'widthwise\[cloud\]'"):
            Store(NOWHERE)

    def test_the_command_ends_with_it(self, spec, tmp_path, widthwise, monkeypatch):
        monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
        monkeypatch.setitem(sys.modules, "obstore", None)
        directory = tmp_path / "study"
        code, out, err = widthwise("run", spec, "-o", directory, "--store", "s3://bucket/a")
        assert (code, out) == (2, "")
        assert err == (
            "widthwise: a store at s3://bucket needs obstore, which is not installed; "
            "pip install 'widthwise[cloud]'\n"
        )
        assert not directory.exists()


@pytest.mark.parametrize(
    ("said", "problem", "may_pass"),
    [
        ("PUT http://u:p@h/b - Server returned non-2xx status code: 503 Service Unavailable: "
         "<Code>SlowDown</Code>", "it is busy or out of order (503 SlowDown)", True),
        ("status code: 500 Internal", "it is busy or out of order (500)", True),
        ("status code: 409 Conflict", "it is busy or out of order (409)", True),
        ("status code: 403 Forbidden: <Code>RequestTimeTooSkewed</Code>",
         "access is denied; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION in the "
         "environment (403 RequestTimeTooSkewed)", False),
        ("http://169.254.169.254/latest/api/token - status code: 403",
         "no credentials are known; set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION in "
         "the environment (403)", False),
        ("status code: 404 Not Found: <Code>NoSuchBucket</Code>",
         "there is no such bucket; make it first (404 NoSuchBucket)", False),
        ("status code: 301", "the bucket is in another region; set it in the environment (301)",
         False),
        ("source: BadScheme", "its endpoint begins with http://; set AWS_ALLOW_HTTP=true", False),
        ("status code: 400 <Code>Bad</Code><Code>Hush</Code>", "it refuses the request (400 Bad)",
         False),
        ("HTTP error: error sending request to http://u:p@h", "it cannot be reached", True),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_from_what_obstore_says(said, problem, may_pass):
    assert cloud._diagnosis(said, NOWHERE) == (problem, may_pass)
