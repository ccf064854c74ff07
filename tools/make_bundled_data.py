"""Make the bundled Fashion-MNIST subset from the full set.

    python tools/make_bundled_data.py [FOLDER_WITH_THE_FOUR_IDX_FILES]

Takes the first images of each class, in the original order, from the training and from the test
set. Writes xz-compressed IDX files and prints the SHA-256 of their decompressed content, which
src/widthwise/data/bundled_set.py holds. The folder defaults to that of Debian's package
dataset-fashion-mnist. Running it twice writes the same bytes with the same version of liblzma.
"""

import hashlib
import lzma
import sys
from pathlib import Path

import numpy as np

from widthwise.data.arrays import RawData
from widthwise.data.readers.idx import format_idx
from widthwise.data.sources import FASHION_MNIST, IDX_STEMS, read_idx_set

TRAIN_PER_CLASS = 500
TEST_PER_CLASS = 800
TARGET = Path(__file__).resolve().parents[1] / "src" / "widthwise" / "data" / "bundled"
# Images are bytes without alignment; position bits of the coder would only dilute its statistics.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lp": 0, "pb": 0}]


def first_of_each_class(labels: np.ndarray, num_per_class: int) -> np.ndarray:
    """Sorted row numbers of the first examples of each class."""
    rows = [np.flatnonzero(labels == label)[:num_per_class] for label in np.unique(labels)]
    if any(len(r) < num_per_class for r in rows):
        raise ValueError(f"a class has fewer than {num_per_class} examples")
    return np.sort(np.concatenate(rows))


def subset(raw: RawData) -> dict[str, np.ndarray]:
    """The arrays to bundle, by the name of their file."""
    train = first_of_each_class(raw.train_labels, TRAIN_PER_CLASS)
    test = first_of_each_class(raw.test_labels, TEST_PER_CLASS)
    arrays = (
        raw.train_inputs[train],
        raw.train_labels[train],
        raw.test_inputs[test],
        raw.test_labels[test],
    )
    return dict(zip(IDX_STEMS, arrays, strict=True))


def main(folder: Path) -> None:
    for stem, array in subset(read_idx_set(folder, FASHION_MNIST)).items():
        content = format_idx(array)
        packed = lzma.compress(content, format=lzma.FORMAT_XZ, filters=FILTERS)
        (TARGET / f"{stem}.xz").write_bytes(packed)
        print(f"{stem}: {len(packed)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist"))
