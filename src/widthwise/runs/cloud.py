"""Blobs in an object store: S3 and what speaks like it, Google's, Azure's; through ``obstore``.

All of them can write an object only if its name is free, or only if it is the version that was
read, and then show it to everybody at once. Nothing else is taken for granted: an answer may get
lost, and a request that was answered by an error may have been carried out.

An object without a byte is none: a name is emptied where removing it might remove what another
has just written there.

Credentials come from the environment or from the machine's role. What ``obstore`` says is never
passed on, for the addresses in it may hold them.
"""

import contextlib
import itertools
import random
import re
import secrets
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from time import monotonic
from typing import Any, Self, TypeVar

from widthwise.errors import InputError
from widthwise.runs.address import SCHEMES, Address
from widthwise.runs.blobs import Blobs, UnreachableError

# obstore's own retries, of what is safe to send twice; then ours, of everything.
_RETRIES, _SECONDS_OF_RETRIES = 4, 15.0
_SECONDS_OF_TRYING = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
# Lists and landings are kept, as long as they stay as they are; shards and checkpoints are not.
_KEPT_BYTES = 8192
_AT_ONCE, _TOGETHER = 32, 1024
_WRITER = "writer"
# Scheme → what the environment must say.
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
# What obstore says → what is wrong, and whether that may pass.
_PROBLEMS: tuple[tuple[str, str, bool], ...] = (
    (r"status code: (408|409|425|429|5\d\d)", "it is busy or out of order", True),
    # What was read was replaced or removed before all of it had come.
    (r"NoSuchKey|BlobNotFound|status code: 41[26]", "others write to it all the time", True),
    (
        r"169\.254\.169\.254",  # asked for the credentials of the machine's role
        "no credentials are known; set {credentials} in the environment",
        False,
    ),
    (r"BadScheme", "its endpoint begins with http://; set AWS_ALLOW_HTTP=true", False),
    (r"status code: 40[13]", "access is denied; check {credentials} in the environment", False),
    (r"status code: 404", "there is no such {bucket}; make it first", False),
    (r"status code: 3", "the {bucket} is in another region; set it in the environment", False),
    (r"status code: 4", "it refuses the request", False),
    (r"", "it cannot be reached", True),
)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Found:
    """An object: its content; its description, as obstore gives it; who wrote it."""

    content: bytes
    meta: Any
    writer: str | None


@dataclass(frozen=True)
class _Memo:
    """What this process has seen of a place.

    Attributes:
        listed: name → description, when names were last listed.
        contents: name → version and content of small ones.
    """

    listed: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, tuple[Any, bytes]] = field(default_factory=dict)


_memos: dict[Address, _Memo] = {}


class _ChangedError(Exception):
    """Another wrote at the same moment."""


class Cloud(Blobs):
    """Blobs under one address.

    Args:
        place: the address.

    Raises:
        InputError: if obstore is not installed, or the environment lacks what it needs.
    """

    def __init__(self, place: Address) -> None:
        self.place: Address = place
        self._client = _client(place.scheme, place.bucket)
        self._memo = _memos.setdefault(place, _Memo())

    def make(self) -> None:
        """Nothing: an object store has no folders, and writes that broke off leave nothing."""

    def names(self) -> list[str]:
        listed = {self._name(meta): meta for meta in self._listing()["objects"] if meta["size"] > 0}
        memo = self._memo
        memo.listed.clear()
        memo.listed.update(listed)
        for name in list(memo.contents):
            if name not in listed:
                memo.contents.pop(name, None)
        return sorted(listed)

    def strangers(self) -> list[str]:
        """Names that have more names below them."""
        prefix = f"{self.place.path}/"
        return sorted(path.removeprefix(prefix) for path in self._listing()["common_prefixes"])

    def read(self, name: str) -> bytes | None:
        found = self._get(name)
        return None if found is None or not found.content else found.content

    def read_each(self, names: Sequence[str]) -> Iterator[tuple[str, bytes | OSError | None]]:
        if not names:
            return
        with ThreadPoolExecutor(min(_AT_ONCE, len(names))) as pool:
            for first in range(0, len(names), _TOGETHER):
                some = names[first : first + _TOGETHER]
                yield from zip(some, pool.map(self._read_listed, some), strict=True)

    def create(self, name: str, content: bytes, *, durable: bool = True) -> bool:
        import obstore

        # Of two writers each must know which it was, also if the answer got lost.
        writer = secrets.token_hex(16)

        def attempt() -> bool:
            try:
                self._put(name, content, "create", writer)
            except obstore.exceptions.AlreadyExistsError:
                found = self._get_once(name)
                if found is None:
                    raise _ChangedError from None
                if found.writer == writer:
                    return True
                if found.content:
                    return False
                try:
                    self._put(name, content, _version(found.meta), writer)
                except obstore.exceptions.PreconditionError:
                    raise _ChangedError from None
            return True

        return self._persist(attempt)

    def replace(self, name: str, content: bytes, *, durable: bool = True) -> None:
        self._persist(lambda: self._put(name, content, "overwrite"))

    def remove(self, name: str) -> None:
        self.remove_each([name])

    def remove_each(self, names: Sequence[str]) -> None:
        paths = [self._path(name) for name in names]

        def attempt() -> None:
            import obstore

            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._client, paths[0] if len(paths) == 1 else paths)

        if paths:
            self._persist(attempt)

    def age(self, name: str) -> float:
        """Seconds since an object was written, by the store's clock and this machine's."""
        meta = self._meta(name)
        return float("inf") if meta is None else time.time() - meta["last_modified"].timestamp()

    def mark(self, name: str) -> Hashable | None:
        """As names were last listed."""
        meta = self._meta(name)
        return None if meta is None or not meta["size"] else (meta["e_tag"], meta["version"])

    def move(self, name: str, target: Self) -> Address | None:
        found = self._get(name)
        if found is not None and found.content:
            place = _put_under_free_name(target, name, found.content)
            if self._empty(name, found):
                return place
            target.remove(place.name)  # meanwhile it became something else
            return None
        inside = self._below(name)
        for path in inside:
            content = self.read(path)
            if content is not None:
                _put_under_free_name(target, path, content)
            self.remove(path)
        return target.place / name if inside else None

    def _empty(self, name: str, found: _Found) -> bool:
        """Take the content of a name, if it is still this; whether it was."""
        import obstore

        def attempt() -> bool:
            try:
                self._put(name, b"", _version(found.meta))
            except obstore.exceptions.PreconditionError:
                now = self._get_once(name)
                return now is None or not now.content  # the answer before may have got lost
            except FileNotFoundError:
                return True
            return True

        return self._persist(attempt)

    def _get(self, name: str) -> _Found | None:
        return self._persist(lambda: self._get_once(name))

    def _get_once(self, name: str) -> _Found | None:
        import obstore

        try:
            got = obstore.get(self._client, self._path(name))
            return _Found(bytes(got.bytes()), got.meta, got.attributes.get(_WRITER))
        except FileNotFoundError:
            return None

    def _put(self, name: str, content: bytes, mode: Any, writer: str | None = None) -> None:
        import obstore

        attributes = None if writer is None else {_WRITER: writer}
        # In one part: only then is it whole or absent, and conditional.
        obstore.put(
            self._client,
            self._path(name),
            content,
            mode=mode,
            attributes=attributes,
            use_multipart=False,
        )
        self._memo.listed.pop(name, None)

    def _read_listed(self, name: str) -> bytes | None:
        """Content of an object, as it is now or as it was when it was last listed."""
        meta, kept = self._memo.listed.get(name), self._memo.contents.get(name)
        if meta is not None and kept is not None and kept[0] == _version(meta):
            return kept[1]
        found = self._get(name)
        if found is None or not found.content:
            return None
        if len(found.content) <= _KEPT_BYTES:
            self._memo.contents[name] = _version(found.meta), found.content
        return found.content

    def _meta(self, name: str) -> Any:
        """Description of an object, as it was when names were last listed; None if it is gone."""

        def attempt() -> Any:
            import obstore

            try:
                return obstore.head(self._client, self._path(name))
            except FileNotFoundError:
                return None

        return self._memo.listed.get(name) or self._persist(attempt)

    def _listing(self) -> Any:
        def attempt() -> Any:
            import obstore

            return obstore.list_with_delimiter(self._client, self.place.path)

        return self._persist(attempt)

    def _below(self, name: str) -> list[str]:
        """Names that begin with this one and a slash."""

        def attempt() -> list[str]:
            import obstore

            chunks = obstore.list(self._client, self._path(name))
            return [self._name(meta) for chunk in chunks for meta in chunk]

        return self._persist(attempt)

    def _path(self, name: str) -> str:
        return f"{self.place.path}/{name}"

    def _name(self, meta: Any) -> str:
        return str(meta["path"]).removeprefix(f"{self.place.path}/")

    def _persist(self, attempt: Callable[[], _Result]) -> _Result:
        """What comes of an attempt, which may be made more than once.

        Raises:
            InputError: if the store refuses it.
            UnreachableError: if it did not succeed for long.
        """
        from obstore.exceptions import BaseError

        until = monotonic() + _SECONDS_OF_TRYING
        for number in itertools.count():
            try:
                return attempt()
            except _ChangedError:
                problem, may_pass = "others write to it all the time", True
            except (BaseError, OSError) as error:
                problem, may_pass = _diagnosis(str(error), self.place)
            # Outside of the handlers, so that what obstore said is nowhere in the error.
            if not may_pass:
                raise InputError(f"the store {self.place} cannot be used: {problem}")
            if monotonic() > until:
                raise UnreachableError(
                    f"the store {self.place} does not answer: {problem}. What has landed is "
                    "intact; run the same command again"
                )
            time.sleep(random.uniform(0.0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**number)))
        raise AssertionError("there is always another attempt")


def _put_under_free_name(target: Cloud, name: str, content: bytes) -> Address:
    for number in itertools.count():
        free = f"{name}.{number}" if number else name
        if target.create(free, content):
            return target.place / free
    raise AssertionError("there is always another number")


def _version(meta: Any) -> dict[str, str]:
    """What tells this content of an object from every other."""
    return {name: meta[name] for name in ("e_tag", "version") if meta[name] is not None}


def _diagnosis(said: str, place: Address) -> tuple[str, bool]:
    """What is wrong, and whether that may pass.

    Args:
        said: by obstore; nothing of it is repeated but the number and the name of an error.
    """
    number = re.search(r"status code: (\d{3})\b", said)
    name = re.search(r"<Code>(\w{1,40})</Code>", said)
    named = " ".join(found[1] for found in (number, name) if found is not None)
    problem, may_pass = next(
        (words, again) for pattern, words, again in _PROBLEMS if re.search(pattern, said)
    )
    problem = problem.format(bucket=SCHEMES[place.scheme], credentials=_CREDENTIALS[place.scheme])
    return (f"{problem} ({named})" if named else problem), may_pass


@lru_cache
def _client(scheme: str, bucket: str) -> Any:
    place = Address(scheme, bucket)
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise InputError(
            f"a store at {place} needs obstore, which is not installed; "
            "pip install 'widthwise[cloud]'"
        ) from None
    retries: Any = {
        "max_retries": _RETRIES,
        "retry_timeout": timedelta(seconds=_SECONDS_OF_RETRIES),
        "backoff": {
            "init_backoff": timedelta(seconds=_FIRST_PAUSE),
            "max_backoff": timedelta(seconds=_LONGEST_PAUSE),
            "base": 2,
        },
    }
    try:
        return from_url(str(place), retry_config=retries)
    except (BaseError, ValueError, OSError):
        pass
    raise InputError(
        f"the store {place} cannot be used: the environment must say {_CREDENTIALS[scheme]}"
    )
