"""From a specification to data in memory."""

from widthwise.data.dataset import Dataset
from widthwise.data.registry import entry
from widthwise.data.spec import DataSpec
from widthwise.errors import InputError


def load(spec: DataSpec) -> Dataset:
    """Read or generate a data set, choose the examples and preprocess them.

    Raises:
        InputError: if the specification or a file is wrong.
        DataNotFoundError: if the data are not on this machine; says where they were sought.

    >>> load(DataSpec(num_train=100, num_test=1000))
    Dataset('fashion-mnist-mini', input_shape=(28, 28), num_classes=10, num_train=100,
            num_test=1000, num_validation=0)
    """
    row = entry(spec.name)
    if spec.path is not None and not row.takes_path:
        raise InputError(
            f"data set {spec.name!r} does not lie on disk and takes no path, got {spec.path!r}; "
            "leave path out, or name what lies there (npz, idx, hf-parquet, ...)"
        )
    if spec.path is None and row.needs_path:
        raise InputError(
            f"data set {spec.name!r} needs the path of your files, got none; give path"
        )
    raw = row.load(spec)
    return Dataset.from_arrays(
        raw.train_inputs,
        raw.train_labels,
        raw.test_inputs,
        raw.test_labels,
        validation_inputs=raw.validation_inputs,
        validation_labels=raw.validation_labels,
        name=spec.name,
        num_classes=raw.num_classes,
        num_train=spec.num_train,
        num_test=spec.num_test,
        num_validation=spec.num_validation,
        seed=spec.seed,
        preprocessing=spec.preprocessing,
    )
