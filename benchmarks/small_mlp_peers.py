"""Small MLPs at small batch sizes, where studies live: Widthwise, JAX in three forms, and loops.

Run from the repository root, on a machine with nothing else to do:

    python -m benchmarks.small_mlp_peers --output docs/benchmarks/small_mlp_peers.md

Needs JAX (``pip install 'widthwise[benchmarks]'``). Takes about ten minutes, with ``--quick``
three.
"""

import sys
from collections.abc import Sequence

from benchmarks.cells import SMALL_MLP_CELLS
from benchmarks.comparison import Comparison
from benchmarks.ways import small_mlp_ways

COMPARISON = Comparison(
    script="small_mlp_peers",
    title="Training 32 small MLPs: Widthwise and JAX",
    cells=SMALL_MLP_CELLS,
    ways=small_mlp_ways,
)


def main(argv: Sequence[str] | None = None) -> int:
    return COMPARISON.main(argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
