"""What happens to SGD's best hyper-parameters when a network gets wider, and what to do about it.

The public names; ``import widthwise as ww``. Each is loaded when it is first used.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from widthwise import deprecated

if TYPE_CHECKING:
    from widthwise import data, families
    from widthwise.adviser import (
        AdviceRefusedError,
        Network,
        Plan,
        Setting,
        Stability,
        Training,
        widen,
    )
    from widthwise.analysis import Law, Optimum, fit_law, locate_optimum
    from widthwise.conversion import convert, mup_module, mup_parameter_groups
    from widthwise.data import Dataset
    from widthwise.engines import pack
    from widthwise.errors import DataNotFoundError, FitError, InputError, StudyError
    from widthwise.inspection import Inspection, Widening, inspect
    from widthwise.probes import (
        StabilityLaw,
        StableLearningRate,
        fit_stability_law,
        max_stable_learning_rate,
        top_hessian_eigenvalue,
    )
    from widthwise.probes.gradient_noise import GradientNoiseScale, gradient_noise_scale
    from widthwise.sgd.recipe import Recipe
    from widthwise.study import Study, StudySpec
    from widthwise.study.calibration import Calibration, calibrate
    from widthwise.study.comparing import compare
    from widthwise.sweeps import SweepAnalysis, analyze
    from widthwise.theory.noise import (
        batch_size_for,
        learning_rate_for,
        noise_scale,
        normalized_noise_scale,
    )

# Module → the public names that are loaded from it when they are first used.
_NAMES = {
    "widthwise.adviser": (
        "AdviceRefusedError",
        "Network",
        "Plan",
        "Setting",
        "Stability",
        "Training",
        "widen",
    ),
    "widthwise.analysis": ("Law", "Optimum", "fit_law", "locate_optimum"),
    "widthwise.conversion": ("convert", "mup_module", "mup_parameter_groups"),
    "widthwise.data": ("Dataset",),
    "widthwise.engines": ("pack",),
    "widthwise.errors": ("DataNotFoundError", "FitError", "InputError", "StudyError"),
    "widthwise.inspection": ("Inspection", "Widening", "inspect"),
    "widthwise.probes": (
        "StabilityLaw",
        "StableLearningRate",
        "fit_stability_law",
        "max_stable_learning_rate",
        "top_hessian_eigenvalue",
    ),
    "widthwise.probes.gradient_noise": ("GradientNoiseScale", "gradient_noise_scale"),
    "widthwise.sgd.recipe": ("Recipe",),
    "widthwise.study": ("Study", "StudySpec"),
    "widthwise.study.calibration": ("Calibration", "calibrate"),
    "widthwise.study.comparing": ("compare",),
    "widthwise.sweeps": ("SweepAnalysis", "analyze"),
    "widthwise.theory.noise": (
        "batch_size_for",
        "learning_rate_for",
        "noise_scale",
        "normalized_noise_scale",
    ),
}
_MODULES = ("data", "families")
_HOME = {name: module for module, names in _NAMES.items() for name in names}

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
    "Network",
    "Optimum",
    "Plan",
    "Recipe",
    "Setting",
    "Stability",
    "StabilityLaw",
    "StableLearningRate",
    "Study",
    "StudyError",
    "StudySpec",
    "SweepAnalysis",
    "Training",
    "Widening",
    "analyze",
    "batch_size_for",
    "calibrate",
    "compare",
    "convert",
    "data",
    "families",
    "fit_law",
    "fit_stability_law",
    "gradient_noise_scale",
    "inspect",
    "learning_rate_for",
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

deprecated.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    path = f"{__name__}.{name}"
    if deprecated.new_path(path) is not None:
        return deprecated.old_module(path)
    if not name.startswith("_") and importlib.util.find_spec(path) is not None:
        return importlib.import_module(path)
    return deprecated.old_name(__name__, name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
