"""What this machine computes with: its devices, and in which precision they can multiply."""

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, get_args

import torch

from widthwise.errors import InputError
from widthwise.sgd.recipe import Precision

BF16Unit = Literal["amx", "avx512"]

_CPUINFO = Path("/proc/cpuinfo")
# Processor feature → the name Linux gives it, for a torch that cannot be asked.
_FLAGS: dict[BF16Unit, str] = {"amx": "amx_bf16", "avx512": "avx512_bf16"}
_QUESTIONS: dict[BF16Unit, str] = {
    "amx": "_is_amx_tile_supported",
    "avx512": "_is_avx512_bf16_supported",
}
# The first CUDA compute capability (Ampere) whose units multiply TF32 and bfloat16.
_AMPERE = (8, 0)


def resolve_device(name: str) -> torch.device:
    """The device a name stands for.

    Args:
        name: "auto" (the CPU, also where there is a CUDA device: no engine has been tried on one
            yet), "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: if the name is none of these, or there is no such device.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is None:
        raise InputError(f'device must be "auto", "cpu", "cuda" or "cuda:N", got {name!r}')
    if name in ("auto", "cpu"):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(
            f"device {name!r} needs a CUDA device, but PyTorch {torch.__version__} finds none "
            'here; take "cpu" or "auto"'
        )
    index = int(name.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise InputError(
            f"device must be one of the {torch.cuda.device_count()} CUDA devices here, counted "
            f'from 0, got {name!r}; take "cuda"'
        )
    return torch.device("cuda", index)


def idle_card_note(name: str) -> str | None:
    """What to say where a device of this name leaves a CUDA device idle; None for nothing."""
    if name != "auto" or not torch.cuda.is_available():
        return None
    return (
        "a CUDA device is here, but nothing of Widthwise has been tried on one yet: "
        'hardware.device = "auto" takes the CPU, "cuda" the card'
    )


def card_memory(device: torch.device) -> int | None:
    """Bytes of memory of a CUDA device, used or not; None for a CPU.

    >>> card_memory(torch.device("cpu"))
    """
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)


def require_precision(precision: Precision, device: torch.device) -> None:
    """Make sure that a device can multiply in a precision.

    "tf32" needs CUDA of compute capability 8.0 or higher; "bf16" the same, or a CPU with AMX-BF16
    or AVX512-BF16; "float32" works everywhere.

    Raises:
        InputError: with what is here instead.
    """
    if precision not in get_args(Precision):
        raise InputError(
            f"precision must be one of {', '.join(get_args(Precision))}, got {precision!r}"
        )
    if precision == "float32":
        return
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < _AMPERE:
            raise InputError(
                f'precision "{precision}" needs a CUDA device of compute capability 8.0 or '
                f"higher, got {capability[0]}.{capability[1]} "
                f'({torch.cuda.get_device_name(device)}); take "float32"'
            )
    elif precision == "tf32":
        raise InputError(
            f'precision "tf32" needs a CUDA device, got device "{device}"; take "float32" or "bf16"'
        )
    elif not bf16_units():
        raise InputError(
            'precision "bf16" needs a CPU with AMX-BF16 or AVX512-BF16, got '
            f'{_processor_name()}, which has neither; take "float32"'
        )


def precision_note(precision: Precision, device: torch.device) -> str | None:
    """What a user should know about a precision that works here, in one line; None if nothing."""
    if precision == "bf16" and device.type == "cpu" and "amx" not in bf16_units():
        return (
            "bf16 on a CPU without AMX: float32 products have been measured to be faster there, "
            'so precision = "float32" is likely to finish sooner'
        )
    return None


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Within it, float32 products and convolutions are computed in TF32 if the precision is "tf32",
    and in full float32 otherwise; PyTorch's settings are put back afterwards.

    They are settings of the whole process, and PyTorch's own default for convolutions on CUDA is
    TF32. (Products in bfloat16 are up to the packs: evaluation is in float32.)

    Raises:
        InputError: if the device cannot multiply in that precision.
    """
    require_precision(precision, device)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    reduced = precision == "tf32"
    torch.set_float32_matmul_precision("high" if reduced else "highest")
    torch.backends.cudnn.allow_tf32 = reduced
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def rounded_products() -> Iterator[None]:
    """Within it, a CPU with AMX rounds the operands of float32 matrix products to bfloat16; sums
    and results are float32. Other CPUs compute as ever: see :func:`rounds_products`. So does any
    with products of at most 4,096 multiplications, all matrices of a batch together.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def rounds_products() -> bool:
    """Whether :func:`rounded_products` does anything here, seen by trying."""
    barely_more_than_one = torch.full((1, 64, 64), 1.0 + 2.0**-12)
    with rounded_products():
        product = torch.bmm(barely_more_than_one, barely_more_than_one)
    return bool((product == 64.0).all())


@cache
def bf16_units() -> tuple[BF16Unit, ...]:
    """Which units of this CPU multiply bfloat16 numbers, the fastest first."""
    return tuple(unit for unit in get_args(BF16Unit) if _has(unit))


@cache
def installed_versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of Python and of what computes the results."""
    versions = [("python", platform.python_version())]
    for name in ("widthwise", "torch", "numpy", "scipy", "polars"):
        with suppress(PackageNotFoundError):
            versions.append((name, version(name)))
    return tuple(versions)


def describe_processor() -> tuple[str, str]:
    """(name, instruction set that PyTorch uses) of the processor."""
    return _processor_name(), torch.backends.cpu.get_cpu_capability()


def describe_hardware() -> str:
    """Processor, its vector and bfloat16 units, and the CUDA devices, in one line."""
    units = bf16_units()
    bf16 = " and ".join(f"{unit.upper()}-BF16" for unit in units) or "no bf16 units"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"CPU {_processor_name()} ({capability}, {bf16}); {_cuda_devices()}"


def _cuda_devices() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device"
    described = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        described.append(
            f"cuda:{index} {properties.name} (capability {properties.major}.{properties.minor}, "
            f"{properties.total_memory / 1e9:.0f} GB)"
        )
    return ", ".join(described)


def _has(unit: BF16Unit) -> bool:
    ask = getattr(torch.cpu, _QUESTIONS[unit], None)  # private, and absent in older PyTorch
    if ask is not None:
        return bool(ask())
    return _FLAGS[unit] in _cpuinfo("flags").split()


def _processor_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """What Linux says of the first core; empty on other systems."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""
