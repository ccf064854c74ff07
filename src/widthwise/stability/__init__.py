"""The largest stable learning rate: measured a width, and as a power law of width."""

from widthwise.stability.hessian import top_hessian_eigenvalue
from widthwise.stability.law import StabilityLaw, fit_stability_law
from widthwise.stability.probe import max_stable_learning_rate
from widthwise.stability.result import StableLearningRate

__all__ = [
    "StabilityLaw",
    "StableLearningRate",
    "fit_stability_law",
    "max_stable_learning_rate",
    "top_hessian_eigenvalue",
]
