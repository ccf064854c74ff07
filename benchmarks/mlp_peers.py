"""Thirty-two MLPs trained by Widthwise, by ordinary loops, by torch.func and by JAX, side by side.

Run from the repository root, on a machine with nothing else to do:

    python -m benchmarks.mlp_peers --output docs/benchmarks/mlp_peers.md

JAX is optional (``pip install 'widthwise[benchmarks]'``). Takes about six minutes, with
``--quick`` one.
"""

import sys
from collections.abc import Sequence

from benchmarks.cells import MLP_CELLS
from benchmarks.comparison import Comparison
from benchmarks.ways import mlp_ways

COMPARISON = Comparison(
    script="mlp_peers",
    title="Training 32 MLPs: Widthwise and its peers",
    cells=MLP_CELLS,
    ways=mlp_ways,
)


def main(argv: Sequence[str] | None = None) -> int:
    return COMPARISON.main(argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
