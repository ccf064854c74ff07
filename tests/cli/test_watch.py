"""`widthwise watch`: its address, its browser, and how it ends."""

import os
import signal
import sys
import threading
import urllib.request
import webbrowser

import pytest
from tiny_studies import clouds, fields

from widthwise import cli
from widthwise.study import Study


@pytest.fixture
def watch(tmp_path, monkeypatch, capsys):
    """Exit code and output, Ctrl-C being pressed once the page was read; and that page."""
    Study.create(tmp_path / "study", fields(title="Clouds"), data=clouds())
    before = signal.getsignal(signal.SIGTERM)
    pages = []

    def read_and_interrupt(address):
        with urllib.request.urlopen(address, timeout=60.0) as answer:
            pages.append((address, answer.read().decode()))
        os.kill(os.getpid(), signal.SIGINT)

    def opened(address):
        threading.Thread(target=read_and_interrupt, args=(address,), daemon=True).start()

    monkeypatch.setattr(webbrowser, "open", opened)
    monkeypatch.setenv("DISPLAY", ":0")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["widthwise", "watch", str(tmp_path / "study"), *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().out, pages

    yield run
    signal.signal(signal.SIGTERM, before)


def test_the_page_is_opened_and_ctrl_c_ends_it(watch):
    code, said, [(address, page)] = watch("--port", "0")
    assert code == 0
    assert address.startswith("http://127.0.0.1:")
    assert said == f"{address}\nCtrl-C ends this page; the study goes on\n"
    assert "<h1>Clouds</h1>" in page
    assert '<meta http-equiv="refresh" content="5">' in page


@pytest.mark.parametrize("words", [("--no-open",), ()])
def test_no_browser_is_opened_where_none_is_wanted_or_can_be(watch, monkeypatch, words):
    monkeypatch.setattr(sys, "platform", "linux")
    if not words:
        monkeypatch.delenv("DISPLAY")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    def interrupted(server):
        raise KeyboardInterrupt

    monkeypatch.setattr("socketserver.BaseServer.serve_forever", interrupted)
    code, said, pages = watch("--port", "0", *words)
    assert (code, pages) == (0, [])
    assert said.startswith("http://127.0.0.1:")
