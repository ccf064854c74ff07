"""One network under several names: exact conversion for SGD, and training in µP."""

from widthwise.conversion.convert import Conversion, ConvertedTensor, convert
from widthwise.conversion.mup import (
    MupFamily,
    mup_factors,
    mup_family,
    mup_module,
    mup_parameter_groups,
    one_rate_mup,
)
from widthwise.families.layers import BiasScaledConv2d, BiasScaledLinear

__all__ = [
    "BiasScaledConv2d",
    "BiasScaledLinear",
    "Conversion",
    "ConvertedTensor",
    "MupFamily",
    "convert",
    "mup_factors",
    "mup_family",
    "mup_module",
    "mup_parameter_groups",
    "one_rate_mup",
]
