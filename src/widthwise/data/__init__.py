"""Data sets: bundled, generated, read from disk, or made from arrays; one in-memory form."""

from widthwise.data.dataset import Dataset
from widthwise.data.preprocessing import Preprocessing
from widthwise.data.registry import DatasetInfo, DataSpec, available, load

__all__ = ["DataSpec", "Dataset", "DatasetInfo", "Preprocessing", "available", "load"]
