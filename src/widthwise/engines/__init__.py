"""Many replicas as one: ordinary modules in, a :class:`Pack` that trains them together out."""

from widthwise.engines.base import EngineChoice, Pack, TrainsChunks
from widthwise.engines.build import pack

__all__ = ["EngineChoice", "Pack", "TrainsChunks", "pack"]
