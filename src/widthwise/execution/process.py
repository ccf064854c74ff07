"""Settings of a process that does nothing but train."""

import ctypes
import platform

import torch

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1  # bytes


def prepare_process(threads: int = 1) -> None:
    """For training packs: one thread, no denormal numbers, memory that is kept for the next step.

    Memory: glibc gives large blocks back to the system as soon as they are free, and every step
    pays for having their pages brought in again, which costs more than a convolution's arithmetic.
    Elsewhere than with glibc that setting is left alone.

    Args:
        threads: of PyTorch.
    """
    torch.set_num_threads(threads)
    # Gradients that underflow would otherwise be hundreds of times slower to multiply.
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
