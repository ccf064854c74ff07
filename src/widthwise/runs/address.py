"""Places in object stores, as they are written: ``s3://bucket/prefix``. They hold no secrets."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from widthwise.errors import InputError

# Scheme → what stores call the first part.
SCHEMES = {"s3": "bucket", "gs": "bucket", "az": "container"}
_BEGINNINGS = ", ".join(f"{scheme}://" for scheme in SCHEMES)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
# What no object store, and no program that shows a name, writes in another way.
_PART = re.compile(r"(?!\.\.?$)[A-Za-z0-9._=+-]+")


@dataclass(frozen=True)
class Address:
    """A place in an object store.

    Attributes:
        scheme: of :data:`SCHEMES`.
        bucket: that it is in.
        parts: of its path there.

    >>> str(Address.parse("s3://bucket/studies/") / "store")
    's3://bucket/studies/store'
    """

    scheme: str
    bucket: str
    parts: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """As a user writes it.

        Raises:
            InputError: if it is none, or holds a user, a password or a query. What may be a secret
                is left out of the message.
        """
        scheme, _, rest = text.partition("://")
        bucket, *parts = rest.removesuffix("/").split("/")
        if (
            scheme not in SCHEMES
            or not _BUCKET.fullmatch(bucket)
            or not all(map(_PART.fullmatch, parts))
        ):
            shown = text if re.fullmatch(r"\w+://[^:@?#]*", text) else f"{scheme}://…"
            raise InputError(
                f"store must be a folder, or an address that begins with {_BEGINNINGS}, has a "
                "bucket and parts of letters, digits and . _ = + - only, and no credentials, which "
                f"belong in the environment; got {shown!r}",
                fields=("store",),
            )
        return cls(scheme, bucket, tuple(parts))

    @property
    def name(self) -> str:
        """Its last part."""
        return self.parts[-1] if self.parts else self.bucket

    @property
    def path(self) -> str:
        """In the bucket, without a slash at either end."""
        return "/".join(self.parts)

    def __truediv__(self, name: str) -> "Address":
        return Address(self.scheme, self.bucket, (*self.parts, name))

    def __str__(self) -> str:
        return f"{self.scheme}://{'/'.join((self.bucket, *self.parts))}"


def is_address(text: str) -> bool:
    """Whether it is written as an address, of whatever scheme, and not as a path.

    >>> is_address("s3://bucket"), is_address("shared/store")
    (True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def place_of(text: str | Path) -> Path | Address:
    """Where a store lies, as it is written.

    Raises:
        InputError: if it is an address that cannot be one.
    """
    if isinstance(text, str) and is_address(text):
        return Address.parse(text)
    return Path(text)
