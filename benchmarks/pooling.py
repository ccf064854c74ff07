"""Max-pooling with bias and rectifier: the compiled pass beside PyTorch's operations.

Run from the repository root, on a machine with nothing else to do:

    python -m benchmarks.pooling --output docs/benchmarks/pooling.md

Needs the compiled library, as a C compiler builds it. Takes half a minute on one core.
"""

import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.comparison import parsed, parser_of, write
from benchmarks.environment import environment
from benchmarks.summary import Spread, paired_ratios
from benchmarks.tables import ratio, table
from widthwise.engines import pooling
from widthwise.execution.worker import prepare_process

# Batch, channels of all replicas, side: stages of the ConvNets of benchmarks.cnn_peers.
SHAPES = ((32, 32, 32), (32, 64, 16), (32, 128, 8), (32, 64, 32), (32, 128, 16), (32, 256, 8))
COMPILED, OPERATIONS = "compiled", "PyTorch's operations"
# Bytes that a pass has to move for a number before pooling, in float32: it, a quarter of the
# pooled numbers and a byte for the choice.
_BYTES = 4 + (4 + 1) / 4


def main(argv: Sequence[str] | None = None) -> int:
    args = parsed(parser_of("pooling", __doc__), argv)
    if pooling.passes_of(torch.float32) is None:
        print("error: this needs the compiled library; with a C compiler: "
              "python -m widthwise.engines.compiled.build", file=sys.stderr)  # fmt: skip
        return 2
    prepare_process()
    rows, record = [], []
    for shape in SHAPES:
        times = time_shape(shape, rounds=args.rounds, seconds=args.seconds / 10)
        rows.append(_row(shape, times))
        record.append({"shape": shape, "times": times})
    where = environment("pooling", argv, rounds=args.rounds)
    page = "\n\n".join(
        [
            "# Max-pooling, compiled",
            "Written by `" + where["command"] + "`; see [performance.md](../performance.md).",
            table(("", ""), [(name, str(value)) for name, value in where.items()]),
            "relu(max-pool(x) + bias) with windows of 2×2, channels-last, float32, one core; µs, "
            f"median of {args.rounds} rounds in which both take turns. Backward: for x and the "
            "bias. GB/s: the bytes that such a pass must move over the compiled one's time.",
            table(
                (
                    "batch, channels, side",
                    "forward: PyTorch's",
                    "compiled",
                    "times as fast",
                    "GB/s",
                    "backward: PyTorch's",
                    "compiled",
                    "times as fast",
                    "GB/s",
                ),
                rows,
            ),
        ]
    )
    write(args.output, page + "\n", {"environment": where, "unit": "µs", "shapes": record})
    return 0


def time_shape(
    shape: tuple[int, int, int], *, rounds: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Direction → way → µs in each round; in a round a way works for about so many seconds."""
    batch, channels, side = shape
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(batch, side, side, 1, channels, generator=generator).permute(0, 3, 4, 1, 2)
    half = torch.randn(batch, side // 2, side // 2, 1, channels, generator=generator)
    pull = half.permute(0, 3, 4, 1, 2)
    image.requires_grad_()
    bias = torch.zeros(1, channels, requires_grad=True)
    times: dict[str, dict[str, list[float]]] = {d: {} for d in ("forward", "backward")}
    for _ in range(rounds + 1):  # the first warms up
        for name in (COMPILED, OPERATIONS):
            spent = {"forward": [], "backward": []}  # type: dict[str, list[float]]
            with _without_passes(name == OPERATIONS):
                end = perf_counter() + seconds
                while not spent["backward"] or perf_counter() < end:
                    out = _timed(
                        lambda: pooling.max_pool(image, bias, rectify=True), spent, "forward"
                    )
                    _timed(
                        lambda out=out: torch.autograd.grad(out, (image, bias), pull),
                        spent,
                        "backward",
                    )
            for direction, each in spent.items():
                times[direction].setdefault(name, []).append(1e6 * median(each))
    return {d: {name: each[1:] for name, each in ways.items()} for d, ways in times.items()}


def _without_passes(without: bool) -> Any:
    """PyTorch's operations within, if so."""
    passes_of = pooling.passes_of
    return mock.patch.object(pooling, "passes_of", (lambda _: None) if without else passes_of)


def _timed(function: Callable[[], Any], spent: dict[str, list[float]], direction: str) -> Tensor:
    begun = perf_counter()
    result = function()
    spent[direction].append(perf_counter() - begun)
    return result  # type: ignore[no-any-return]


def _row(shape: tuple[int, int, int], times: dict[str, dict[str, list[float]]]) -> list[str]:
    batch, channels, side = shape
    cells = [f"{batch}, {channels}, {side}×{side}"]
    for ways in times.values():
        theirs, ours = (median(ways[name]) for name in (OPERATIONS, COMPILED))
        faster = Spread.of(paired_ratios(ways[OPERATIONS], ways[COMPILED]))
        moved = _BYTES * batch * channels * side**2
        cells += [
            f"{theirs:.0f}",
            f"{ours:.0f}",
            ratio(faster),
            f"{moved / ours / 1e3:.0f}",
        ]
    return cells


if __name__ == "__main__":
    sys.exit(main())
