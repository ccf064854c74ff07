"""Pages for a browser on this machine: read-only, for no other address, and no other site."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from widthwise.errors import InputError

ADDRESS = "127.0.0.1"
# A page of another site whose name is made to lead here still asks by that name.
_NAMES = frozenset({ADDRESS, "localhost"})
_SECONDS_OF_SILENCE = 10.0
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Whether it refreshes itself → whether all is well, and its text.
Page = Callable[[bool], tuple[bool, str]]


def serve_page(page: Page, port: int | None, usual_port: int) -> ThreadingHTTPServer:
    """A server of one page, which answers from `serve_forever` on.

    Args:
        page: given whether it refreshes itself, whether all is well, and its text.
        port: to listen at, 0 for any that is free; None takes the usual one if that is free.
        usual_port: that one.

    Raises:
        InputError: if it cannot listen there.
    """
    handler = _handler(page)
    if port is None:
        try:
            return ThreadingHTTPServer((ADDRESS, usual_port), handler)
        except OSError:
            port = 0
    try:
        return ThreadingHTTPServer((ADDRESS, port), handler)
    except OSError as error:
        raise InputError(
            f"port must be free and yours to use, got {port} ({error.strerror}); name another, or "
            "0 for any that is free",
            fields=("port",),
        ) from None


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS_OF_SILENCE
        server_version, sys_version = "widthwise", ""

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            if not _asks_for_us(self.headers.get_all("Host", [])):
                self._answer(403, "this page is for this machine: ask for http://127.0.0.1")
            elif place.path != "/":
                self._answer(404, "there is one page here: /")
            else:
                refreshes = parse_qs(place.query).get("refresh") != ["off"]
                with one_at_a_time:
                    is_well, text = page(refreshes)
                self._answer(200 if is_well else 503, text)

        def __getattr__(self, name: str) -> Any:
            """The rest of what may be asked for: HEAD is GET without its text."""
            if name.startswith("do_"):
                return self.do_GET if name == "do_HEAD" else self._refuse
            raise AttributeError(name)

        def _refuse(self) -> None:
            self._answer(405, "this page can be read, and nothing else")

        def _answer(self, code: int, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            if code == 405:
                self.send_header("Allow", "GET, HEAD")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name there
            pass

    return Handler


def _asks_for_us(hosts: list[str]) -> bool:
    """Whether a request names this machine, at whatever port: a tunnel may have another.

    >>> _asks_for_us(["localhost:8642"]), _asks_for_us(["evil.example:8642"]), _asks_for_us([])
    (True, False, False)
    """
    if len(hosts) != 1:
        return False
    name, colon, port = hosts[0].partition(":")
    return name.lower() in _NAMES and (not colon or port.isdecimal())
