"""What happens to SGD's best hyper-parameters when a network gets wider, and what to do about it.

The public names; ``import widthwise as ww``. Formulas and statistics load at once, whatever needs
PyTorch when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from widthwise.analysis import Law, Optimum, fit_law, locate_optimum
from widthwise.errors import DataNotFoundError, FitError, InputError, StudyError
from widthwise.noise import noise_scale, normalized_noise_scale

if TYPE_CHECKING:
    from widthwise import data, families
    from widthwise.data import Dataset
    from widthwise.packing import pack
    from widthwise.study import Study, StudySpec

_LAZY = {
    "Dataset": ("widthwise.data", "Dataset"),
    "Study": ("widthwise.study", "Study"),
    "StudySpec": ("widthwise.study", "StudySpec"),
    "data": ("widthwise.data", None),
    "families": ("widthwise.families", None),
    "pack": ("widthwise.packing", "pack"),
}

__version__ = "0.1.0"
__all__ = [
    "DataNotFoundError",
    "Dataset",
    "FitError",
    "InputError",
    "Law",
    "Optimum",
    "Study",
    "StudyError",
    "StudySpec",
    "data",
    "families",
    "fit_law",
    "locate_optimum",
    "noise_scale",
    "normalized_noise_scale",
    "pack",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'widthwise' has no attribute {name!r}")
    module_name, attribute = _LAZY[name]
    module = importlib.import_module(module_name)
    return module if attribute is None else getattr(module, attribute)
