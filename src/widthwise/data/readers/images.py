"""Images, one by one: of 8 bits, grayscale or color, and none that fills the machine."""

import io
import math
import sys
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from widthwise.errors import DataNotFoundError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Of one image: 4,700 × 4,700 pixels in color.
_MAX_VALUES = 1 << 26
# No others: Pillow hands some formats, such as EPS, to other programs.
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF")


def decode_embedded(encoded: bytes | None, what: str) -> NDArray[np.uint8]:
    """An encoded image as :func:`decode`."""
    if encoded is None:
        raise InputError(f"{what} must be embedded, got a path only; save the images as bytes")
    return decode(io.BytesIO(encoded), what)


def decode(file: IO[bytes] | Path, what: str) -> NDArray[np.uint8]:
    """Pixels of shape (height, width) if the image is grayscale, else (3, height, width).

    Args:
        file: holds the image.
        what: names it.

    Raises:
        InputError: if it is damaged, too large, of another depth, or no image.
        DataNotFoundError: if Pillow is not installed.
    """
    try:
        from PIL import Image  # only here: the other readers do without it
    except ImportError as error:
        raise DataNotFoundError(
            f"{what} needs Pillow to be read, which cannot be imported ({error}); "
            "pip install pillow"
        ) from error

    bomb = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                return pixels(image, what)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, *bomb) as error:
        raise InputError(
            f"{what} must be an image, but it cannot be decoded ({error}); fetch the file again, "
            "or leave it out"
        ) from error


def is_image(value: object) -> bool:
    """Whether it is an image of Pillow."""
    loaded = sys.modules.get("PIL.Image")
    return loaded is not None and isinstance(value, loaded.Image)


def pixels(image: "Image", what: str) -> NDArray[Any]:
    """Of an image of Pillow, as :func:`decode`; its size is checked before it is decoded."""
    values = math.prod(image.size) * len(image.getbands())
    if values > _MAX_VALUES:
        raise InputError(
            f"{what} must hold at most {_MAX_VALUES:,} values, got {image.size[0]} × "
            f"{image.size[1]} pixels; resize the images"
        )
    if image.mode not in ("L", "RGB"):
        raise InputError(
            f"{what} must be 8-bit grayscale or RGB, got mode {image.mode}; convert it"
        )
    found = np.asarray(image)
    return found if image.mode == "L" else np.moveaxis(found, -1, 0)
