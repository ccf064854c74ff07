"""What happens to SGD's best hyper-parameters when a network gets wider, and what to do about it.

The public names; ``import widthwise as ww``. Formulas and statistics load at once, whatever needs
PyTorch when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from widthwise.analysis import Law, Optimum, fit_law, locate_optimum
from widthwise.errors import DataNotFoundError, FitError, InputError, StudyError
from widthwise.theory.noise import noise_scale, normalized_noise_scale

if TYPE_CHECKING:
    from widthwise import data, families
    from widthwise.adviser import AdviceRefusedError, Plan, widen
    from widthwise.conversion import convert, mup_module, mup_parameter_groups
    from widthwise.data import Dataset
    from widthwise.engines import pack
    from widthwise.inspection import Inspection, Widening, compare, inspect
    from widthwise.probes import (
        StabilityLaw,
        StableLearningRate,
        fit_stability_law,
        max_stable_learning_rate,
        top_hessian_eigenvalue,
    )
    from widthwise.probes.gradient_noise import GradientNoiseScale, gradient_noise_scale
    from widthwise.study import Study, StudySpec
    from widthwise.study.calibration import Calibration, TunedSetting, calibrate

# Module → the public names that are loaded from it when they are first used.
_LAZY = {
    "widthwise.adviser": ("AdviceRefusedError", "Plan", "widen"),
    "widthwise.study.calibration": ("Calibration", "TunedSetting", "calibrate"),
    "widthwise.conversion": ("convert", "mup_module", "mup_parameter_groups"),
    "widthwise.data": ("Dataset",),
    "widthwise.probes.gradient_noise": ("GradientNoiseScale", "gradient_noise_scale"),
    "widthwise.inspection": ("Inspection", "Widening", "compare", "inspect"),
    "widthwise.engines": ("pack",),
    "widthwise.probes": (
        "StabilityLaw",
        "StableLearningRate",
        "fit_stability_law",
        "max_stable_learning_rate",
        "top_hessian_eigenvalue",
    ),
    "widthwise.study": ("Study", "StudySpec"),
}
_MODULES = ("data", "families")
_HOME = {name: module for module, names in _LAZY.items() for name in names}

__version__ = "0.2.0.dev0"
__all__ = [
    "AdviceRefusedError",
    "Calibration",
    "DataNotFoundError",
    "Dataset",
    "FitError",
    "GradientNoiseScale",
    "InputError",
    "Inspection",
    "Law",
    "Optimum",
    "Plan",
    "StabilityLaw",
    "StableLearningRate",
    "Study",
    "StudyError",
    "StudySpec",
    "TunedSetting",
    "Widening",
    "calibrate",
    "compare",
    "convert",
    "data",
    "families",
    "fit_law",
    "fit_stability_law",
    "gradient_noise_scale",
    "inspect",
    "locate_optimum",
    "max_stable_learning_rate",
    "mup_module",
    "mup_parameter_groups",
    "noise_scale",
    "normalized_noise_scale",
    "pack",
    "top_hessian_eigenvalue",
    "widen",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"widthwise.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'widthwise' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
