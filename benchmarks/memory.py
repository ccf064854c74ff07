"""How much memory this process holds, and held at most: of the machine, or on a card."""

import ctypes
import gc
import platform
import resource
import sys
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # see proc(5)


def settle(device: str = "cpu") -> int:
    """Give back what is free, begin to look for the peak anew; bytes resident now.

    On a card, bytes are those that PyTorch has given out there. Elsewhere, without Linux's
    ``/proc`` the peak cannot be reset and the current size not be read: then this is the peak so
    far, and only what exceeds it will be seen.
    """
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text(_RESET_PEAK)
        return _status("VmRSS")
    except OSError:
        return _maximum()


def peak(device: str = "cpu") -> int:
    """Most bytes that were held since :func:`settle`."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM") if _STATUS.exists() else _maximum()


def _status(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_STATUS} has no {field}")


def _maximum() -> int:
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest
