"""The library as Python calls it: loading, choosing the instruction set, C's structures."""

import ctypes
import functools
import os
from dataclasses import dataclass
from typing import Any

import torch

from widthwise.engines.compiled.build import INSTRUCTION_SETS, LIBRARY, source_hash
from widthwise.engines.modules import NotPackableError

# Forces one instruction set, or with "none" PyTorch's operations.
VARIABLE = "WIDTHWISE_INSTRUCTION_SET"
_AVX2_BYTES = 32
_TYPES = {torch.float32: "float", torch.float64: "double"}
_BUILD = "python -m widthwise.engines.compiled.build"

# The enumerations of dense.h.
ACTIVATIONS = ("none", "relu", "tanh", "sigmoid", "silu", "gelu", "gelu-tanh")
LOSSES = ("cross-entropy", "mean-squared-error")


class Layer(ctypes.Structure):
    """``struct layer`` of dense.h."""

    _fields_ = (
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("activation", ctypes.c_int64),
        ("multiplier", ctypes.c_double),
        ("weight", ctypes.c_void_p),
        ("velocity", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("bias_velocity", ctypes.c_void_p),
    )


class Network(ctypes.Structure):
    """``struct network`` of dense.h."""

    _fields_ = (
        ("num_layers", ctypes.c_int64),
        ("layers", ctypes.POINTER(Layer)),
        ("loss", ctypes.c_int64),
        ("label_smoothing", ctypes.c_double),
        ("learning_rate", ctypes.c_double),
        ("momentum", ctypes.c_double),
        ("weight_decay", ctypes.c_double),
        ("nesterov", ctypes.c_int64),
    )


class Images(ctypes.Structure):
    """``struct images`` of pooling.h."""

    _fields_ = (
        ("batch", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("channels", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Functions:
    """The library's functions of dense networks for one type, see dense.h.

    Attributes:
        instruction_set: that they use.
        train, logits, evaluate: ``widthwise_train``, ``widthwise_logits``,
            ``widthwise_evaluate``.
    """

    instruction_set: str
    train: Any
    logits: Any
    evaluate: Any


def functions(dtype: torch.dtype) -> Functions:
    """The functions that serve this processor, for float32 or float64.

    Raises:
        NotPackableError: if there are none: no library, a stale one, a processor without FMA, or
            the environment variable says so.
    """
    chosen = instruction_set()
    train, logits, evaluate = _variants(dtype, chosen, "train", "logits", "evaluate")
    network, address, size = ctypes.POINTER(Network), ctypes.c_void_p, ctypes.c_int64
    train.argtypes = (network, *[address] * 3, *[size] * 3, address, address, size)
    logits.argtypes = (network, address, size, address)
    evaluate.argtypes = (network, address, address, size, address, address)
    return Functions(chosen, train, logits, evaluate)


@dataclass(frozen=True)
class PoolingFunctions:
    """The library's passes of max-pooling for one type, see pooling.h.

    Attributes:
        min_channels: that an image must have, to fill a vector.
        forward, backward: ``widthwise_pool``, ``widthwise_pool_backward``.
    """

    min_channels: int
    forward: Any
    backward: Any


def pooling_functions(dtype: torch.dtype) -> PoolingFunctions:
    """The same of max-pooling, which uses AVX2 wherever there is compiled code.

    Raises:
        NotPackableError: as :func:`functions`.
    """
    instruction_set()
    forward, backward = _variants(dtype, "avx2", "pool", "pool_backward")
    images, address = ctypes.POINTER(Images), ctypes.c_void_p
    forward.argtypes = (images, address, address, ctypes.c_int64, address, address)
    backward.argtypes = (images, *[address] * 4)
    forward.restype = backward.restype = None
    return PoolingFunctions(_AVX2_BYTES // dtype.itemsize, forward, backward)


def _variants(dtype: torch.dtype, instructions: str, *names: str) -> list[Any]:
    """These functions of the library, for this type and instruction set."""
    if dtype not in _TYPES:
        raise NotPackableError(f"there is no compiled code for {dtype}")
    variant = f"{_TYPES[dtype]}_{instructions}"
    return [getattr(_library(), f"widthwise_{name}_{variant}") for name in names]


def instruction_set() -> str:
    """The best one that this processor has, or the one that the environment variable names.

    Raises:
        NotPackableError: as :func:`functions`.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked == "none":
        raise NotPackableError(f"{VARIABLE}=none")
    if asked and asked not in INSTRUCTION_SETS:
        names = ", ".join(["none", *INSTRUCTION_SETS])
        raise NotPackableError(f"{VARIABLE} must be one of {names}, got {asked!r}")
    library = _library()
    for name in [asked] if asked else reversed(INSTRUCTION_SETS):
        if getattr(library, f"widthwise_can_run_{name}")():
            return name
    raise NotPackableError(f"the processor has no {asked or 'AVX2 with FMA'}")


def lacking() -> str | None:
    """Why there is no compiled code here, in one line; None if there is, or none is wanted."""
    if os.environ.get(VARIABLE) == "none":
        return None
    try:
        instruction_set()
    except NotPackableError as error:
        return str(error)
    return None


@functools.cache
def _library() -> ctypes.CDLL:
    if not LIBRARY.exists():
        raise NotPackableError(f"there is no compiled library; with a C compiler: {_BUILD}")
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise NotPackableError(f"the compiled library does not load: {error}") from error
    library.widthwise_source_hash.restype = ctypes.c_char_p
    if library.widthwise_source_hash() != source_hash().encode():
        raise NotPackableError(f"the compiled library is of another source; renew it: {_BUILD}")
    return library
