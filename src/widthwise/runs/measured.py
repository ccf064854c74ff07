"""What a question needed to have measured: numbers under their descriptions, kept once, frozen."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

from widthwise.runs.blobs import Blobs, Damage, problem_of
from widthwise.runs.key import canonical, sha256
from widthwise.runs.sealed import BrokenSealError, seal, unseal

_JSON = ".json"


class Measured:
    """The measurements of one store.

    Args:
        blobs: a place of its own.
        aside: where what is no measurement is moved.
    """

    def __init__(self, blobs: Blobs, aside: Blobs) -> None:
        self.blobs, self._aside = blobs, aside

    def find(self, what: Mapping[str, Any]) -> float | None:
        """The number that was measured under this description; None if there is none.

        Args:
            what: plain values that say what was measured.
        """
        with contextlib.suppress(BrokenSealError, OSError):
            return self._read(_named(what))
        return None

    def keep(self, what: Mapping[str, Any], value: float) -> float:
        """Keep what was measured, unless another was faster; what is kept from then on.

        Raises:
            InputError: if the store cannot be written.
        """
        name = _named(what)
        while not self.blobs.create(name, seal({"what": dict(what), "value": value})):
            try:
                if (kept := self._read(name)) is not None:
                    return kept
            except (BrokenSealError, OSError) as error:
                self.blobs.require_readable(name)
                self.blobs.put_aside(name, problem_of(error), self._aside)
        return value

    def verify(self) -> list[Damage]:
        """Set aside what is not what its name promises.

        Raises:
            InputError: if it cannot be moved, or the system does not let it be read.
        """
        found = []
        for name in self.blobs.names():
            try:
                self._read(name)
            except (BrokenSealError, OSError) as error:
                self.blobs.require_readable(name)
                found += self.blobs.put_aside(name, problem_of(error), self._aside)
        return found

    def _read(self, name: str) -> float | None:
        content = self.blobs.read(name)
        if content is None:
            return None
        fields = unseal(content)
        if set(fields) != {"what", "value"} or _named(fields["what"]) != name:
            raise BrokenSealError("it is another measurement than its name promises")
        value = fields["value"]
        if type(value) not in (float, int) or not 0 < value < math.inf:
            raise BrokenSealError(f"what was measured must be a positive number, got {value!r}")
        return float(value)


def _named(what: Mapping[str, Any]) -> str:
    return sha256(canonical(what))[:32] + _JSON
