"""PyPI's torchvision, beside a CPU build of PyTorch too."""

import importlib
from types import ModuleType

import torch


def import_torchvision() -> ModuleType:
    """torchvision's compiled operators need the CUDA build of PyTorch. Without them its import
    stops at two of object detection; their signatures, without any kernel, satisfy it.

    Raises:
        ImportError: if it is not installed.
    """
    for name in (None, "nms", "qnms"):
        if name is not None:
            signature = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", signature)
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "nms does not exist" not in str(error):
                raise
    raise AssertionError("torchvision needs more operators than nms and qnms")
