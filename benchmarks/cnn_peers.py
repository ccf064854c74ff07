"""ConvNets trained by Widthwise, by ordinary loops, by torch.func and by JAX, side by side.

Run from the repository root, on a machine with nothing else to do:

    python -m benchmarks.cnn_peers --output docs/benchmarks/cnn_peers.md

JAX is optional (``pip install 'widthwise[benchmarks]'``). Takes about seven minutes, with
``--quick`` four (estimated).
"""

import sys
from collections.abc import Sequence

from benchmarks.cells import CNN_CELLS
from benchmarks.comparison import Comparison
from benchmarks.ways import cnn_ways

COMPARISON = Comparison(
    script="cnn_peers",
    title="Training ConvNets: Widthwise and its peers",
    cells=CNN_CELLS,
    ways=cnn_ways,
)


def main(argv: Sequence[str] | None = None) -> int:
    return COMPARISON.main(argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
