"""scikit-learn's handwritten digits, if scikit-learn is installed."""

from widthwise.data.raw import RawData
from widthwise.errors import DataNotFoundError

NUM_TEST = 500


def read_digits() -> RawData:
    """Images of shape (N, 8, 8), values 0 to 16.

    There is no official split: the last 500 images in scikit-learn's order are the test set.
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
        train_inputs=digits.images[:-NUM_TEST],
        train_labels=digits.target[:-NUM_TEST],
        test_inputs=digits.images[-NUM_TEST:],
        test_labels=digits.target[-NUM_TEST:],
        num_classes=10,
    )
