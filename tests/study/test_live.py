"""The live page: what it says, that it changes nothing, and who may read it."""

import os
import re
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from markupsafe import Markup
from tiny_studies import clouds, copied_study, fields, in_this_process, landed_files

from widthwise.errors import InputError
from widthwise.runs.leases import write_beat
from widthwise.study import Study
from widthwise.study.asked import read_asked
from widthwise.study.live import LiveStudy
from widthwise.study.serving import serve_page


@pytest.fixture(autouse=True)
def undrawn_figure(monkeypatch):
    """tests/report draws it."""
    monkeypatch.setattr("widthwise.report.live_page.accuracy_figure", lambda *rows: None)
    monkeypatch.setattr(
        "widthwise.report.live_page.drawn", lambda *figure: Markup("<svg aria-drawn></svg>")
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def study(kept, tmp_path, monkeypatch):
    """A copy of one that was trained once."""
    in_this_process(monkeypatch)
    spec = fields(title="Clouds <i>now</i>", grid={"learning_rate": [0.05, 0.1, 50.0]})
    return copied_study(kept, tmp_path, spec)


@pytest.fixture
def half_done(study):
    study.withdraw("widening_factor=2.0")
    return study


def missing_from(study):
    return sorted(set(read_asked(study.directory).keys) - set(study.results()["run_id"]))


def words(page):
    """The text of a page without its markup."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S).split())


def snapshot(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in [folder, *folder.rglob("*")]
    }


def hold(study, keys, holder="c" * 32):
    """Another machine trains these."""
    leases = study._store.leases
    write_beat(leases.holders, holder, 1, {"machine": "another", "pid": 1, "started": "0"})
    for key in keys:
        leases.claims.replace(f"{key}.json", f'{{"holder": "{holder}"}}'.encode())


def rows_of(page, table):
    """The cells of a table's body, row by row."""
    body = re.search(rf'<table id="{table}".*?<tbody>(.*?)</tbody>', page, re.S)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    return [
        [words(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)]
        for row in rows
    ]


class TestContent:
    def test_a_study_that_nobody_trains(self, half_done):
        ok, page = LiveStudy(half_done.directory).page(5.0)
        assert ok
        assert "6 of 12 landed ( 2 diverged)" in words(page)
        assert "Nobody is training. Go on with: widthwise run" in words(page)
        assert "left" not in words(page)
        assert rows_of(page, "progress") == [
            ["1", "6", "6", "2", "0", "0", "0"],
            ["2", "6", "0", "0", "0", "0", "6"],
        ]

    def test_what_is_in_flight_and_how_long_it_takes(self, half_done):
        hold(half_done, missing_from(half_done)[:2])
        _, page = LiveStudy(half_done.directory).page(5.0)
        assert re.search(r"2 runs in flight on 1 process, the first for 0:0\d\.", words(page))
        # No run of w = 2 has landed, and nothing else is missing.
        assert "About 0:00 left, besides w = 2, of which no run has landed yet." in words(page)
        assert rows_of(page, "progress")[1] == ["2", "6", "0", "0", "2", "0", "4"]

    def test_what_failed_and_why(self, half_done):
        missing = missing_from(half_done)
        for key in missing[:5]:
            half_done._store.failures.note(key, "a worker process died\n(killed by <SIGKILL>)")
        hold(half_done, missing[4:5])  # it is tried again
        _, page = LiveStudy(half_done.directory).page(5.0)
        assert rows_of(page, "progress")[1] == ["2", "6", "0", "0", "1", "4", "1"]
        assert re.search(
            r"Failed\. w = 2, ε = [\d.]+, B = 8, m = 0, seed \d; .* and 1 other: "
            r"a worker process died \(killed by &lt;SIGKILL&gt;\)",
            words(page),
        )
        assert half_done.status().runs_failed == 4

    def test_what_it_says_so_far(self, half_done):
        _, page = LiveStudy(half_done.directory).page(5.0)
        optimum = half_done.optima().get(1.0)
        rows = rows_of(page, "optima")
        if optimum is None:
            assert rows[0][1] == f"not located yet: {half_done.summary().problems[1.0]}"
        else:
            assert f"{optimum.noise_scale:.3g}" in rows[0][1]
        assert f"So far, from 6 of 12 runs: {half_done.summary().law_problem}" in words(page)
        assert "<svg aria-drawn" in page

    def test_the_last_that_landed(self, half_done):
        for age, path in enumerate(landed_files(half_done.directory)):
            os.utime(path, (1e9 + age, 1e9 + age))
        _, page = LiveStudy(half_done.directory).page(5.0)
        newest_first = [path.stem for path in reversed(landed_files(half_done.directory))]
        table = {row["run_id"]: row for row in half_done.results().iter_rows(named=True)}
        seeds = [str(table[key]["seed"]) for key in newest_first]
        assert [row[6] for row in rows_of(page, "last")] == seeds
        accuracies = [
            "diverged"
            if table[key]["status"] == "diverged"
            else f"{100 * table[key]['test_accuracy']:.2f}"
            for key in newest_first
        ]
        assert [row[7] for row in rows_of(page, "last")] == accuracies

    def test_all_there(self, study):
        _, page = LiveStudy(study.directory).page(5.0)
        assert "12 of 12 landed" in words(page)
        assert "All runs have landed. Read what they say with: widthwise report" in words(page)
        assert len(rows_of(page, "last")) == 10

    def test_merged_runs_count_and_have_no_times(self, study):
        study.collect_garbage()
        _, page = LiveStudy(study.directory).page(5.0)
        assert "12 of 12 landed" in words(page)
        assert "All were merged into shards, which keep no times." in words(page)

    def test_before_anything_was_laid_out(self, tmp_path):
        Study.create(tmp_path, fields(), data=clouds())
        (tmp_path / "asked.json").unlink()
        _, page = LiveStudy(tmp_path).page(5.0)
        assert "Its runs have not been laid out yet." in words(page)
        assert "No run has landed yet." in words(page)

    def test_what_lands_meanwhile_shows(self, half_done):
        live = LiveStudy(half_done.directory)
        live.page(5.0)
        half_done.run(1, progress=False)
        _, page = live.page(5.0)
        assert "12 of 12 landed ( 4 diverged)" in words(page)

    def test_analysis_takes_a_tenth_of_a_core_at_most(self, half_done):
        clock = iter(range(0, 10_000, 10))  # each look at it takes 10 s
        live = LiveStudy(half_done.directory, now=lambda: next(clock))
        assert live.content().findings.num_runs == 6  # from 0 s to 10 s
        half_done.run(1, progress=False)
        for _ in range(9):  # it is asked at 20 s, 30 s, ... 100 s: too early
            content = live.content()
            assert (content.total.landed, content.findings.num_runs) == (12, 6)
        assert live.content().findings.num_runs == 12

    def test_titles_are_text(self, half_done):
        _, page = LiveStudy(half_done.directory).page(5.0)
        assert "Clouds &lt;i&gt;now&lt;/i&gt;" in page
        assert "<i>now" not in page

    def test_damage_is_said(self, half_done):
        landed_files(half_done.directory)[0].write_bytes(b"{}")
        _, page = LiveStudy(half_done.directory).page(5.0)
        assert "1 file of its store is damaged and not counted" in words(page)

    def test_a_folder_that_goes_away_and_comes_back(self, half_done, tmp_path):
        live = LiveStudy(half_done.directory)
        half_done.directory.rename(tmp_path / "away")
        ok, page = live.page(5.0)
        assert not ok
        assert "is not a study" in words(page)
        assert '<meta http-equiv="refresh" content="5">' in page
        (tmp_path / "away").rename(half_done.directory)
        assert live.page(5.0)[0]

    def test_refreshing_can_be_stopped(self, half_done):
        live = LiveStudy(half_done.directory)
        assert '<meta http-equiv="refresh" content="5">' in live.page(5.0)[1]
        assert 'http-equiv="refresh"' not in live.page(None)[1]

    def test_nothing_is_changed(self, half_done):
        hold(half_done, missing_from(half_done)[:2])
        landed_files(half_done.directory)[0].write_bytes(b"{}")
        before = snapshot(half_done.directory)
        live = LiveStudy(half_done.directory)
        live.page(5.0)
        live.page(5.0)
        assert snapshot(half_done.directory) == before

    def test_nothing_is_asked_of_anybody_else(self, half_done):
        _, page = LiveStudy(half_done.directory).page(5.0)
        assert "<script" not in page
        addresses = re.findall(r'(?:src|href|action)="([^"]*)"', page)
        assert {a.partition(",")[0].partition(";")[0] for a in addresses} == {
            "data:",
            "?refresh=off",
        }

    def test_what_is_no_study(self, tmp_path):
        with pytest.raises(InputError, match="is not a study"):
            LiveStudy(tmp_path)


@contextmanager
def served(page, port=0):
    server = serve_page(page, port, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asked(address, method="GET", **headers):
    request = urllib.request.Request(address, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read().decode()


@pytest.fixture(scope="module")
def address():
    """Of a page that says whether it refreshes itself."""
    with served(lambda refreshes: (True, f"ḡ {refreshes}")) as where:
        yield where


class TestServer:
    def test_the_page(self, address):
        code, headers, text = asked(address)
        assert (code, text) == (200, "ḡ True")
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Python" not in headers["Server"]
        assert asked(f"{address}?refresh=off")[2] == "ḡ False"

    def test_head_has_no_text(self, address):
        code, headers, text = asked(address, "HEAD")
        assert (code, text) == (200, "")
        assert headers["Content-Length"] == str(len("ḡ True".encode()))

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "ODD"])
    def test_it_can_only_be_read(self, address, method):
        code, headers, _ = asked(address, method)
        assert (code, headers["Allow"]) == (405, "GET, HEAD")

    @pytest.mark.parametrize("path", ["favicon.ico", "../study.json", "store/landed", "%2e%2e/"])
    def test_there_is_one_page(self, address, path):
        assert asked(address + path)[0] == 404

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example:80", "localhost:80@evil", "", "[::1]:80"]
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_other_names_are_refused(self, address, host, method):
        code, _, text = asked(address, method, Host=host)
        assert code == 403
        assert "ḡ" not in text

    @pytest.mark.parametrize("host", ["localhost:9999", "LOCALHOST", "127.0.0.1"])
    def test_names_of_this_machine_are_not(self, address, host):
        assert asked(address, Host=host)[0] == 200

    def test_no_other_machine_reaches_it(self):
        with serve_page(lambda refreshes: (True, ""), 0, 0) as server:
            assert server.server_address[0] == "127.0.0.1"

    def test_trouble_is_a_code_of_its_own(self):
        with served(lambda refreshes: (False, "trouble")) as where:
            assert asked(where)[::2] == (503, "trouble")

    def test_a_port_that_is_taken(self, address):
        taken = int(address.rpartition(":")[2].strip("/"))
        with pytest.raises(InputError, match=rf"port must be free and yours to use, got {taken}"):
            serve_page(lambda refreshes: (True, ""), taken, 0)
        with serve_page(lambda refreshes: (True, ""), None, taken) as server:
            assert server.server_port != taken  # the usual one was only a wish
