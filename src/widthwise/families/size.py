"""Networks that would not fit are refused when they ask for memory, before it is taken."""

import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from widthwise.errors import InputError

# What layers make their weights with; eye(n, m) has its sizes in place of a shape.
_MAKE = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}


class TensorsBelow(TorchFunctionMode):
    """While it is entered, a new tensor of more bytes is refused.

    Args:
        num_bytes: most bytes of one tensor.
        refusal: what to say after "one tensor of shape (…) needs about 8000 MB, ", with the remedy.
    """

    def __init__(self, num_bytes: float, refusal: str) -> None:
        super().__init__()
        self._num_bytes, self._refusal = num_bytes, refusal

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        if func in _MAKE:
            shape = _shape(args, options)
            self._check(shape * 2 if func is torch.eye and len(shape) == 1 else shape, options)
        return func(*args, **options)

    def _check(self, shape: tuple[int, ...], options: dict[str, Any]) -> None:
        device = torch.device(options.get("device") or torch.get_default_device())
        itemsize = (options.get("dtype") or torch.get_default_dtype()).itemsize
        size = math.prod(shape) * itemsize
        if size > self._num_bytes and device.type != "meta":
            sizes = ", ".join(map(_brief, shape))
            needed = _brief(size // 10**6) if size >= 10**6 else f"{size / 1e6:.2g}"
            raise InputError(
                f"one tensor of shape ({sizes}) needs about {needed} MB, {self._refusal}"
            )


def _brief(count: int) -> str:
    return str(count) if count < 10**15 else f"about 10^{math.floor(math.log10(count))}"


def _shape(args: tuple[Any, ...], options: dict[str, Any]) -> tuple[int, ...]:
    given = options.get("size", args)
    flat = [n for part in given for n in (part if isinstance(part, tuple | list) else (part,))]
    return tuple(n for n in flat if isinstance(n, int) and not isinstance(n, bool))


def tensors_in_memory() -> TensorsBelow:
    """Refuses what this machine cannot hold."""
    return TensorsBelow(_machine_bytes(), "more than this machine has; build a narrower network")


def _machine_bytes() -> float:
    """Infinite where the machine does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):  # not on Windows
        return math.inf
