"""Trained weights, each bound to the run that has them, as what was measured of it shows.

A run may be trained twice, here and there, and differ in its last bits. So a file is named by the
run's key and by the digest of what was measured while these weights were trained: the weights of
the run that landed are those with the same digest, whoever wrote them and when.
"""

import hashlib
import json
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from widthwise.runs.blobs import Blobs, Damage, problem_of
from widthwise.runs.key import canonical, is_key
from widthwise.runs.sealed import BrokenSealError

if TYPE_CHECKING:
    from torch import Tensor

_SUFFIX = ".safetensors"
_FORMAT = "widthwise-weights-1"
# Before the name of a parameter: its momentum buffer.
_MOMENTUM = "momentum_buffer/"
# The entry of the file's metadata that is ours.
_OURS = "widthwise"
_DIGITS = 16
_LARGEST_HEADER = 10**8


@dataclass(frozen=True)
class TrainedWeights:
    """A trained network, without its code.

    Attributes:
        tensors: parameters and buffers under the module's own names.
        velocities: momentum buffers of ``torch.optim.SGD`` under the names of their parameters;
            empty without momentum.
    """

    tensors: Mapping[str, "Tensor"]
    velocities: Mapping[str, "Tensor"]

    def encode(self, key: str, measured: str) -> bytes:
        """A file of safetensors, with a checksum.

        Args:
            key: of the run.
            measured: digest of what was measured of it.
        """
        from safetensors.torch import save

        tensors = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in {
                **self.tensors,
                **{_MOMENTUM + name: velocity for name, velocity in self.velocities.items()},
            }.items()
        }
        ours = {"format": _FORMAT, "key": key, "measured": measured}
        unsealed = _File.of(save(tensors, metadata={_OURS: canonical(ours)}))
        sealed = {**ours, "sha256": unsealed.digest()}
        return save(tensors, metadata={_OURS: canonical(sealed)})


def decode_weights(content: bytes, key: str, measured: str) -> TrainedWeights:
    """The weights in these bytes.

    Raises:
        BrokenSealError: if they are not those that the key and the digest promise, whole.
    """
    _require_whole(content, key, measured)
    from safetensors.torch import load

    tensors, velocities = {}, {}
    for name, tensor in load(content).items():
        if name.startswith(_MOMENTUM):
            velocities[name.removeprefix(_MOMENTUM)] = tensor
        else:
            tensors[name] = tensor
    return TrainedWeights(tensors, velocities)


class Weights:
    """The weights of one store.

    Args:
        kept: a place of their own.
        so_far: a place for those of whom it is not known yet whether they are to be kept.
        aside: where what is none is moved.
    """

    def __init__(self, kept: Blobs, so_far: Blobs, aside: Blobs) -> None:
        self.kept, self.so_far, self._aside = kept, so_far, aside

    def keys(self) -> frozenset[str]:
        """Of the runs whose weights are kept, at their names' word."""
        return frozenset(key for key, _, _ in _named(self.kept))

    def keep(
        self, weights: TrainedWeights, key: str, measured: str, *, for_now: bool = False
    ) -> None:
        """Keep the weights of a run.

        Args:
            weights: its.
            key: its.
            measured: digest of what was measured of it.
            for_now: until it is known whether they are to be kept.

        Raises:
            InputError: if the store cannot be written.
        """
        blobs = self.so_far if for_now else self.kept
        self._create(blobs, key, measured, weights.encode(key, measured))

    def find(self, key: str, measured: str) -> tuple[TrainedWeights, bool] | None:
        """The weights of a run, and whether they are those of the training that landed; if not,
        they come from another training of the same run. None if there are none.

        Args:
            key: of the run.
            measured: digest of what was measured of the run that landed.

        Raises:
            BrokenSealError: if they are damaged.
        """
        names = [(blobs, *rest) for blobs in (self.kept, self.so_far) for rest in _named(blobs)]
        own = [named for named in names if named[1] == key]
        for blobs, _, digest, name in sorted(own, key=lambda named: named[2] != measured):
            try:
                content = blobs.read(name)
            except OSError as error:
                raise BrokenSealError(problem_of(error)) from None
            if content is not None:
                return decode_weights(content, key, digest), digest == measured
        return None

    def settle(self, keep: Collection[str]) -> None:
        """Keep for good what was kept for now of these runs.

        Raises:
            InputError: if the store cannot be written.
        """
        for key, measured, name in list(_named(self.so_far)):
            if key in keep:
                content = self.so_far.read(name)
                if content is not None:
                    self._create(self.kept, key, measured, content)
                    self.so_far.remove(name)

    def drop(self, keys: Collection[str]) -> int:
        """Remove what was kept for now of these runs; how many files that were."""
        names = [name for key, _, name in _named(self.so_far) if key in keys]
        self.so_far.remove_each(names)
        return len(names)

    def withdraw(self, keys: Collection[str], target: Blobs) -> None:
        """Move the weights of these runs, which are trained again, to another place.

        Raises:
            InputError: if the store cannot be written.
        """
        for blobs in (self.kept, self.so_far):
            for name in [name for key, _, name in _named(blobs) if key in keys]:
                blobs.move(name, target)

    def verify(self) -> list[Damage]:
        """Set aside what is not what its name promises.

        Raises:
            InputError: if it cannot be moved, or the system does not let it be read.
        """
        found = []
        for blobs in (self.kept, self.so_far):
            named = {name: (key, measured) for key, measured, name in _named(blobs)}
            for name in blobs.names():
                try:
                    if name not in named:
                        raise BrokenSealError("its name is not that of weights")
                    content = blobs.read(name)
                    if content is not None:
                        _require_whole(content, *named[name])
                except (BrokenSealError, OSError) as error:
                    blobs.require_readable(name)
                    found += blobs.put_aside(name, problem_of(error), self._aside)
        return found

    def _create(self, blobs: Blobs, key: str, measured: str, content: bytes) -> None:
        """Equal runs have equal weights: of two writers, either will do."""
        name = f"{key}.{measured}{_SUFFIX}"
        while not blobs.create(name, content):
            try:
                there = blobs.read(name)
                if there is not None:
                    _require_whole(there, key, measured)
                    return
            except (BrokenSealError, OSError) as error:
                blobs.require_readable(name)
                blobs.put_aside(name, problem_of(error), self._aside)


def _named(blobs: Blobs) -> Iterator[tuple[str, str, str]]:
    """(key, digest of what was measured, name) of each that is named as weights are."""
    for name in blobs.names():
        key, _, rest = name.partition(".")
        digest = rest.removesuffix(_SUFFIX)
        if is_key(key) and rest.endswith(_SUFFIX) and len(digest) == _DIGITS:
            yield key, digest, name


def _require_whole(content: bytes, key: str, measured: str) -> None:
    ours = (file := _File.of(content)).ours
    if ours.get("format") != _FORMAT:
        raise BrokenSealError(f"its format is {ours.get('format')!r}, not {_FORMAT!r}")
    if (ours.get("key"), ours.get("measured")) != (key, measured):
        raise BrokenSealError("its weights are those of another run")
    if ours.get("sha256") != file.digest():
        raise BrokenSealError("its content does not match its checksum")


@dataclass(frozen=True)
class _File:
    """A file of safetensors: the length of the header, the header in JSON, the numbers.

    Source: https://github.com/huggingface/safetensors#format.

    Attributes:
        header: name → type, shape and place of a tensor; without the metadata.
        ours: what the metadata say.
        numbers: of all tensors.
    """

    header: Mapping[str, Any]
    ours: Mapping[str, Any]
    numbers: memoryview

    @classmethod
    def of(cls, content: bytes) -> "_File":
        """
        Raises:
            BrokenSealError: if it is no such file, or has no metadata of ours.
        """
        try:
            (length,) = struct.unpack_from("<Q", content)
            if length > min(len(content) - 8, _LARGEST_HEADER):
                raise ValueError("it is cut off")
            header = json.loads(content[8 : 8 + length])
            ours = json.loads(header.pop("__metadata__")[_OURS])
            if not isinstance(ours, dict):
                raise ValueError("its metadata are none")
        except (ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
            said = f"{type(error).__name__}: {error}"
            raise BrokenSealError(f"it holds no weights with a checksum ({said})") from None
        return cls(header, ours, memoryview(content)[8 + length :])

    def digest(self) -> str:
        """SHA-256 of all but itself."""
        said = {name: value for name, value in self.ours.items() if name != "sha256"}
        found = hashlib.sha256(canonical([said, self.header]).encode() + b"\n")
        found.update(self.numbers)
        return found.hexdigest()
