"""Builds the C library. The standard library is all that this needs: the package's own build runs
it before there is a package (``hatch_build.py``), developers by hand, after changing the source::

    python -m widthwise.engines.compiled.build
"""

import hashlib
import itertools
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path(__file__).parent
LIBRARY = SOURCES / "libwidthwise.so"

# Every variant is the same source; they differ in type and in what the compiler may use.
TYPES = {"float": [], "double": ["-DREAL_IS_DOUBLE"]}
INSTRUCTION_SETS = {"avx2": ["-mavx2", "-mfma"], "avx512": ["-mavx512f", "-mavx2", "-mfma"]}
_PARTS = {"dense.c": ("avx2", "avx512"), "pooling.c": ("avx2",)}
# No contraction: which products are fused with a sum is written in the source, so that every
# compiler and every tile gives the same bits.
_FLAGS = ["-std=gnu11", "-O3", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra"]
_TIMEOUT = 600.0  # seconds


class BuildError(Exception):
    """The library cannot be built here; says why in one line."""


def source_hash() -> str:
    """Of the source as it lies here; the library carries that of its own."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def build(target: Path = LIBRARY) -> Path:
    """Compile with ``$CC`` (or ``cc``) and ``$CFLAGS``; the library replaces an old one at once.

    Raises:
        BuildError: without a compiler, if it fails, or if the processor is of another kind.
    """
    if platform.machine().lower() not in ("x86_64", "amd64") or os.name != "posix":
        raise BuildError(f"its vectors are those of x86-64, not of {platform.machine()}")
    compiler = shlex.split(os.environ.get("CC") or "cc")
    flags = [*_FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch:
        commands, objects = [], []
        parts = [(part, name) for part, names in _PARTS.items() for name in names]
        for (part, name), kind in itertools.product(parts, TYPES):
            objects.append(f"{scratch}/{part}_{kind}_{name}.o")
            variant = [*INSTRUCTION_SETS[name], *TYPES[kind], f"-DVARIANT={kind}_{name}"]
            files = ["-c", str(SOURCES / part), "-o", objects[-1]]
            commands.append([*compiler, *flags, *variant, *files])
        _run_together(commands)
        stamp = f'-DSOURCE_HASH="{source_hash()}"'
        library = f"{scratch}/library.so"
        dispatch = str(SOURCES / "dispatch.c")
        _run_together([[*compiler, *flags, stamp, "-shared", dispatch, *objects, "-o", library]])
        Path(library).replace(target)
    return target


def _run_together(commands: Sequence[Sequence[str]]) -> None:
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            running.append(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            )
        for command, process in zip(commands, running, strict=True):
            _, errors = process.communicate(timeout=_TIMEOUT)
            if process.returncode:
                lines = errors.decode(errors="replace").strip().splitlines() or ["no message"]
                raise BuildError(f"{command[0]} failed: {lines[0]}")
    except OSError as error:
        raise BuildError(f"there is no C compiler: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"the compiler took more than {_TIMEOUT:.0f} seconds") from error
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.communicate()


if __name__ == "__main__":
    try:
        print(build())
    except BuildError as problem:
        sys.exit(f"The compiled engine's library was not built: {problem}")
