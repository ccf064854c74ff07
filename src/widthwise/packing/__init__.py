"""Many replicas as one: ordinary modules in, a :class:`Pack` that trains them together out."""

from widthwise.packing.base import Pack
from widthwise.packing.build import pack

__all__ = ["Pack", "pack"]
