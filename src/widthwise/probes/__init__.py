"""The largest stable learning rate: measured a width, and as a power law of width."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widthwise.probes.hessian import top_hessian_eigenvalue
    from widthwise.probes.stability import max_stable_learning_rate
    from widthwise.probes.stability_law import StabilityLaw, fit_stability_law
    from widthwise.probes.stable_rate import StableLearningRate

# Loaded when first used: who reads what was measured needs no PyTorch.
_HOME = {
    "StabilityLaw": "stability_law",
    "StableLearningRate": "stable_rate",
    "fit_stability_law": "stability_law",
    "max_stable_learning_rate": "stability",
    "top_hessian_eigenvalue": "hessian",
}

__all__ = [
    "StabilityLaw",
    "StableLearningRate",
    "fit_stability_law",
    "max_stable_learning_rate",
    "top_hessian_eigenvalue",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
