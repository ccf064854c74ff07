"""Where and how a benchmark ran: what its page says at the top."""

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.cells import LEARNING_RATE
from benchmarks.ways import cores
from widthwise.engines.pooling import passes_of


def environment(script: str, argv: Sequence[str] | None, **others: Any) -> dict[str, Any]:
    """Label → value.

    Args:
        script: name of the module in ``benchmarks``.
        argv: its arguments; None: those of this process.
        others: further labels, spaces written as underscores.
    """
    # Folders outside the repository are the reader's business, not the page's.
    given = [
        Path(word).name if Path(word).is_absolute() else word
        for word in (sys.argv[1:] if argv is None else argv)
    ]
    return {
        "command": " ".join([f"python -m benchmarks.{script}", *given]),
        "CPU": _cpu_model(),
        "cores": len(cores()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "jax", "numpy", "widthwise")},
        "max-pooling": "PyTorch's" if passes_of(torch.float32) is None else "compiled, AVX2",
        **{label.replace("_", " "): value for label, value in others.items()},
        "learning rate": LEARNING_RATE,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        parts = [line.partition(":") for line in lines]
        fields = {name.strip(): value.strip() for name, _, value in parts}
        name = fields.get("model name", platform.processor())
        details = (fields.get(k, "?") for k in ("cpu family", "model", "cache size"))
        return "{} (family {}, model {}, cache {})".format(name, *details)
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
