"""Width families: networks that differ only in width."""

from widthwise.families.base import WidthFamily, check_logits
from widthwise.families.mlp import MLPFamily, mlp
from widthwise.families.user import (
    UserFamily,
    reference_to,
    refuse_while_importing,
    source_hash,
    user_family,
)

__all__ = [
    "MLPFamily",
    "UserFamily",
    "WidthFamily",
    "check_logits",
    "mlp",
    "reference_to",
    "refuse_while_importing",
    "source_hash",
    "user_family",
]
