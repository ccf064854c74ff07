"""How a worker process starts: a script that needs nothing but the standard library.

The worker ends when its parent does, from the first moment on. It imports modules from where the
parent did.
"""

import contextlib
import os
import select
import signal
import sys
import threading

_MILLISECONDS_BETWEEN_LOOKS = 250
_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with(parent: int, descriptor: int) -> None:
    """Wait until the parent is gone or has closed its end of the pipe, then end this process.

    A pack in the middle of a long step would not notice for minutes.
    """
    looker = select.poll()
    looker.register(descriptor, 0)  # closing is always reported, data are not
    while os.getppid() == parent and not looker.poll(_MILLISECONDS_BETWEEN_LOOKS):
        pass
    os._exit(1)


def set_death_signal(number: int) -> None:
    """On Linux: have the system send this signal when the parent ends; 0 sends none.

    A thread cannot look while a large library is being loaded, which takes seconds. For the time of
    starting only: the signal comes when the thread that started this process ends, which later need
    not mean that its process does.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def where_from(error: BaseException) -> str:
    """An error in one line, with the place in a file from which it comes."""
    import traceback

    words = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    files = [frame for frame in frames if not frame.filename.startswith("<frozen ")]
    if not files or isinstance(error, SyntaxError):  # which names its own place
        return words
    return f"{words} ({files[-1].filename}, line {files[-1].lineno})"


def main(module: str, descriptor: int, parent: int) -> None:
    """Import a module as the parent would, and call its ``main`` with the connection."""
    threading.Thread(target=die_with, args=(parent, descriptor), daemon=True).start()
    set_death_signal(signal.SIGKILL)  # unset by whoever has loaded everything
    if os.getppid() != parent:
        os._exit(1)
    os.set_inheritable(descriptor, False)  # or its own children would keep the pipe open
    del sys.argv[1:]  # a script that is imported for its networks may look at them

    import importlib
    import pickle
    from importlib.machinery import ModuleSpec, PathFinder
    from multiprocessing.connection import Connection

    connection = Connection(descriptor)
    try:
        path, places = pickle.loads(connection.recv_bytes())
    except (EOFError, OSError):
        return  # the parent is gone
    own_path = list(sys.path)

    class AsInParent:
        """Top-level modules are found where the parent found them, those of the standard library
        that it did not need in the standard library, whatever lies first on its path now."""

        @staticmethod
        def find_spec(name: str, parts: object, target: object = None) -> ModuleSpec | None:
            if parts is not None:
                return None
            if name in places:
                return PathFinder.find_spec(name, [places[name]])
            return PathFinder.find_spec(name, own_path) if name in sys.stdlib_module_names else None

    # Before what searches the path.
    index = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0
    sys.meta_path.insert(index, AsInParent)
    sys.path[:] = path
    try:
        run = importlib.import_module(module).main
    except BaseException as error:
        with contextlib.suppress(OSError):
            connection.send(f"a worker process could not start: {where_from(error)}")
        sys.exit(1)
    run(connection)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
