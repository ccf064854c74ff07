"""Width families: networks that differ only in width."""

from widthwise.families.base import WidthFamily
from widthwise.families.mlp import MLPFamily, mlp
from widthwise.families.user import UserFamily, reference_to, user_family

__all__ = ["MLPFamily", "UserFamily", "WidthFamily", "mlp", "reference_to", "user_family"]
