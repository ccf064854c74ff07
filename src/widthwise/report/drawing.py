"""Matplotlib, whatever somebody set for it."""

import importlib
import os
import sys
from contextlib import suppress

from widthwise.errors import InputError, said_by


def load_matplotlib() -> None:
    """Import it, for all who draw. A backend in the environment that it does not know is left out:
    a report needs none.

    Raises:
        InputError: if it cannot be imported with somebody's matplotlibrc.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ValueError as error:  # text that is no UTF-8 is one, too
        raise InputError(
            f"Matplotlib must be importable, but it raised {said_by(error)}; mend or remove the "
            "file matplotlibrc, of this directory or of Matplotlib's settings"
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:  # as Matplotlib itself does
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
