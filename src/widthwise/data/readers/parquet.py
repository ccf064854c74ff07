"""Image data sets in the parquet layout of Hugging Face."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from widthwise.data.arrays import RawData
from widthwise.data.readers.files import check_unpacked_size
from widthwise.data.readers.images import decode_embedded
from widthwise.errors import DataNotFoundError, InputError

if TYPE_CHECKING:
    import polars as pl

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")
# Where a download of a whole repository puts the files.
SUBFOLDERS = ("", "data", "plain_text", "mnist", "fashion_mnist", "cifar10", "cifar100")
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.parquet$")

Examples = tuple[NDArray[np.uint8], NDArray[np.int64]]


def find_parquet_folder(path: Path) -> Path | None:
    """The folder with train*.parquet and test*.parquet, at the path or where downloads put it."""
    folders = [path / sub for sub in SUBFOLDERS]
    return next((f for f in folders if _shards(f, "train") and _shards(f, "test")), None)


def read_parquet_folder(path: Path) -> RawData:
    """Read train*.parquet, test*.parquet and, if there are any, validation*.parquet.

    Raises:
        DataNotFoundError: if the training or the test files are missing.
        InputError: if a file is damaged, a shard is missing or an image cannot be decoded.
    """
    folder = find_parquet_folder(path)
    if folder is None:
        raise DataNotFoundError(
            f"{path} must hold train*.parquet and test*.parquet (or data/ below it), "
            "but it does not; check the path"
        )
    train, test = (read_parquet(_shards(folder, part)) for part in ("train", "test"))
    own = _shards(folder, "validation")
    validation = read_parquet(own) if own else (None, None)
    return RawData(
        train_inputs=train[0],
        train_labels=train[1],
        test_inputs=test[0],
        test_labels=test[1],
        validation_inputs=validation[0],
        validation_labels=validation[1],
    )


def read_parquet(files: Sequence[Path]) -> Examples:
    """Images as unsigned bytes, (N, H, W) if grayscale or (N, 3, H, W), and labels."""
    _check_shards_complete(files)
    blocks = [_read_file(file) for file in files]
    shapes = {images.shape[1:] for images, _ in blocks}
    if len(shapes) > 1:
        raise InputError(f"images must all have one shape, got {sorted(shapes)}; resize them")
    images, labels = zip(*blocks, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _shards(folder: Path, part: str) -> list[Path]:
    return sorted(folder.glob(f"{part}*.parquet"))


def _check_shards_complete(files: Sequence[Path]) -> None:
    numbered = [match for file in files if (match := _SHARD.search(file.name))]
    for match in numbered:
        announced = int(match.group(2))
        if len(numbered) != announced:
            raise InputError(
                f"{files[0].parent} must hold all {announced} parts that the file names announce, "
                f"got {len(numbered)}; fetch the missing ones"
            )


def _read_file(file: Path) -> Examples:
    import polars as pl  # slow to import

    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{file} must be a complete parquet file, but it is truncated or damaged ({error}); "
            "fetch it again"
        ) from error
    image_column = _column(frame, IMAGE_COLUMNS, file)
    labels = frame[_column(frame, LABEL_COLUMNS, file)]
    if labels.null_count() or not labels.dtype.is_integer():
        raise InputError(
            f"{file}: labels must be integers without gaps, got {labels.dtype} with "
            f"{labels.null_count()} missing; drop unlabeled examples"
        )
    structure = frame[image_column].dtype
    if not isinstance(structure, pl.Struct) or "bytes" not in {f.name for f in structure.fields}:
        raise InputError(
            f"{file}: column {image_column!r} must be a struct with a field 'bytes', "
            f"got {structure}; save the data set with its images embedded"
        )
    encoded = frame[image_column].struct.field("bytes").to_list()
    if encoded:
        # The first says what to expect of all: those of another shape are refused anyway.
        size = decode_embedded(encoded[0], f"{file}: image 0").nbytes * len(encoded)
        check_unpacked_size(size, sum(len(b or b"") for b in encoded), source=str(file))
    images = [decode_embedded(b, f"{file}: image {i}") for i, b in enumerate(encoded)]
    shapes = {image.shape for image in images}
    if len(shapes) != 1:
        raise InputError(
            f"{file} must hold images of one shape, got {sorted(shapes) or 'no images'}; "
            "resize them"
        )
    return np.stack(images), labels.to_numpy().astype(np.int64)


def _column(frame: "pl.DataFrame", names: tuple[str, ...], file: Path) -> str:
    for name in names:
        if name in frame.columns:
            return name
    raise InputError(
        f"{file} must have a column {' or '.join(names)}, got {', '.join(frame.columns)}; "
        "rename the column"
    )
