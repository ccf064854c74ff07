"""Width families: networks that differ only in width."""

from typing import TYPE_CHECKING, Any

from widthwise.deprecated import old_name
from widthwise.families.base import WidthFamily, check_logits
from widthwise.families.cnn import CNNFamily, cnn
from widthwise.families.code import FamilyCode, code_changes, family_code
from widthwise.families.ghost_norm import (
    GhostBatchNorm1d,
    GhostBatchNorm2d,
    with_ghost_batch_norm,
)
from widthwise.families.layers import ScaledConv2d, ScaledLinear
from widthwise.families.mlp import MLPFamily, mlp
from widthwise.families.user import (
    UserFamily,
    reference_to,
    refuse_while_importing,
    user_family,
)
from widthwise.families.wide_resnet import WideResNetFamily, wide_resnet

__all__ = [
    "CNNFamily",
    "FamilyCode",
    "GhostBatchNorm1d",
    "GhostBatchNorm2d",
    "MLPFamily",
    "ScaledConv2d",
    "ScaledLinear",
    "UserFamily",
    "WideResNetFamily",
    "WidthFamily",
    "check_logits",
    "cnn",
    "code_changes",
    "family_code",
    "mlp",
    "reference_to",
    "refuse_while_importing",
    "user_family",
    "wide_resnet",
    "with_ghost_batch_norm",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_name(__name__, name)
