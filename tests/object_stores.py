"""An S3 server on this machine, and a proxy before it that answers badly now and then."""

import contextlib
import http.client
import os
import random
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

BUCKET = "bucket"
# As a user has them; they must appear nowhere.
ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def one_at_a_time(app):
    """moto looks whether a name is free and then takes it; a real store does both at once."""
    turn = threading.Lock()

    def serve(environ, start_response):
        with turn:
            return [b"".join(app(environ, start_response))]

    return serve


@contextlib.contextmanager
def s3_server():
    """Serves S3 over HTTP on the loopback; gives its port."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    pytest.importorskip("moto", reason="moto[server] is not installed")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *args):
            pass

    app = one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request("PUT", f"/{BUCKET}")
    assert connection.getresponse().status == 200
    connection.close()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


class BadProxy:
    """Forwards requests; some of them it answers by 503, of some the connection is closed: before
    they are carried out, after, or in the middle of the answer.

    Attributes:
        port: of its own.
        done: what → how often.
    """

    FAULTS = ("busy", "closed before", "closed after", "cut")

    def __init__(self, upstream, *, share, seed):
        """
        Args:
            upstream: port of the server.
            share: of the requests that go wrong, in [0, 1].
            seed: of what goes wrong.
        """
        self.done = Counter()
        rng, turn = random.Random(seed), threading.Lock()
        done = self.done

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with turn:
                    fault = rng.choice(BadProxy.FAULTS) if rng.random() < share else "none"
                    done[fault] += 1
                if fault == "closed before":
                    self.close_now()
                    return
                if fault == "busy":
                    self.answer(503, {"Content-Type": "application/xml"}, _BUSY)
                    return
                connection = http.client.HTTPConnection("127.0.0.1", upstream)
                connection.request(self.command, self.path, body, dict(self.headers))
                response = connection.getresponse()
                content = response.read()
                headers = dict(response.getheaders())
                connection.close()
                if fault == "closed after":
                    self.close_now()
                elif fault == "cut":
                    self.answer(response.status, headers, content, cut=True)
                else:
                    self.answer(response.status, headers, content)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward  # noqa: N815

            def answer(self, status, headers, content, *, cut=False):
                self.send_response_only(status)
                length = len(content)
                if self.command == "HEAD":
                    length = headers.get("Content-Length", 0)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header(
                    "Content-Length", str(length if self.command == "HEAD" else len(content))
                )
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                if cut:
                    self.close_now()

            def close_now(self):
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # the client has gone

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def speaking_to(port):
    """This process, and those that it starts, speak to the S3 server at a port."""
    from widthwise.runs import cloud

    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ALLOW_HTTP", "true")
        cloud._client.cache_clear()
        yield
        cloud._client.cache_clear()
