"""``widthwise watch``: a live page of a running study."""

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

_USUAL_PORT = 8642
_SECONDS_BETWEEN_LOOKS = 5.0


def watch(
    directory: Annotated[Path, typer.Argument(help="Directory of a study.")],
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help=f"To listen at; 0 is any that is free. Default: {_USUAL_PORT} if it is free.",
            show_default=False,
        ),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
) -> None:
    """Show a live page of a study while it runs: progress, time left, what it says so far.

    Only this machine can see it. It changes nothing, in the study's folder neither. Ctrl-C ends it.
    """
    from widthwise.study.live import LiveStudy
    from widthwise.study.serving import ADDRESS, serve_page

    live = LiveStudy(directory)

    def page(refreshes: bool) -> tuple[bool, str]:
        return live.page(_SECONDS_BETWEEN_LOOKS if refreshes else None)

    with serve_page(page, port, _USUAL_PORT) as server:
        address = f"http://{ADDRESS}:{server.server_port}/"
        print(f"{address}\nCtrl-C ends this page; the study goes on", flush=True)
        if not no_open and _has_screen():
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # the way to end it
            print(file=sys.stderr)


def _has_screen() -> bool:
    """Elsewhere a browser would take the terminal."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
