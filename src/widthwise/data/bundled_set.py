"""Small sets that need no download: the bundled Fashion-MNIST subset (see bundled/NOTICE), and
scikit-learn's digits.
"""

from importlib import resources

from widthwise.data.arrays import RawData
from widthwise.data.readers.files import decompress
from widthwise.data.readers.idx import parse_idx
from widthwise.data.sources import verify
from widthwise.errors import DataNotFoundError

NUM_TRAIN = 5000
NUM_TEST = 8000
# scikit-learn's digits have no official split: the last 500 in its order are the test set.
NUM_TEST_DIGITS = 500

# SHA-256 of the decompressed files, printed by tools/make_bundled_data.py.
_SHA256 = {
    "train-images-idx3-ubyte": "444ed5f7ce17397f236f5eba17dd507d3f6912f04edd3e4f1701cdf82f2cc0c5",
    "train-labels-idx1-ubyte": "35d691216f65485d010cc635af5574a9dc04aa5060de9be64ab6e5cb5ead38e9",
    "t10k-images-idx3-ubyte": "dcf2ec6a6ac0448b459f6452c7d66f4d31750705cda18c9aa6f8ff3d32c0cc3b",
    "t10k-labels-idx1-ubyte": "e65bd62913a3152491532348249e1f60b51df1c5ef570062f4c510e8da92ffaa",
}


def read_bundled() -> RawData:
    """Read and verify the bundled subset; images of shape (N, 28, 28), unsigned bytes.

    Nothing can be written to the arrays.
    """
    folder = resources.files("widthwise.data") / "bundled"
    arrays = []
    for stem, sha256 in _SHA256.items():
        source = f"the bundled {stem}.xz"
        content = decompress((folder / f"{stem}.xz").read_bytes(), source=source)
        verify(content, sha256, source=source)
        arrays.append(parse_idx(content, source=source))
        arrays[-1].setflags(write=False)
    return RawData(
        train_inputs=arrays[0],
        train_labels=arrays[1],
        test_inputs=arrays[2],
        test_labels=arrays[3],
        num_classes=10,
    )


def read_digits() -> RawData:
    """Scikit-learn's images of shape (N, 8, 8), values 0 to 16.

    Raises:
        DataNotFoundError: if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataNotFoundError(
            f"data set 'digits' needs scikit-learn, which cannot be imported ({error}); "
            "pip install scikit-learn"
        ) from error
    digits = load_digits()
    return RawData(
        train_inputs=digits.images[:-NUM_TEST_DIGITS],
        train_labels=digits.target[:-NUM_TEST_DIGITS],
        test_inputs=digits.images[-NUM_TEST_DIGITS:],
        test_labels=digits.target[-NUM_TEST_DIGITS:],
        num_classes=10,
    )
