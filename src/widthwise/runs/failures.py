"""Runs that were tried and given up, for who looks at a study from outside; they decide nothing."""

import contextlib
import json
from collections.abc import Container

from widthwise.runs.blobs import Blobs
from widthwise.runs.key import is_key

_JSON = ".json"


class Failures:
    """Why runs were given up, by key; whoever tries them again forgets that first."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs

    def note(self, key: str, problem: str) -> None:
        """Say why a run was given up.

        Raises:
            InputError: if the store cannot be written.
        """
        content = json.dumps({"problem": problem}).encode()
        self.blobs.replace(key + _JSON, content, durable=False)

    def noted(self) -> dict[str, str]:
        """Key of a run → why it was given up, also of those that have landed since."""
        found = {}
        names = [name for name in self.blobs.names() if is_key(name.removesuffix(_JSON))]
        for name, content in self.blobs.read_each(names):
            if isinstance(content, bytes):
                found[name.removesuffix(_JSON)] = _problem_in(content)
        return found

    def forget(self, keys: Container[str]) -> int:
        """These are tried again, or have landed; how many were noted.

        Raises:
            InputError: if the place is none.
        """
        named = [name for name in self.blobs.names() if name.removesuffix(_JSON) in keys]
        self.blobs.remove_each(named)
        return len(named)


def _problem_in(content: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(content)["problem"])
    return "for an unknown reason"
