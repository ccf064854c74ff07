"""What a layer says about its parameters: roles, fans, forward multipliers. Plain values only.

No package but PyTorch is imported: other packages' layers are known by what they offer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from widthwise.errors import InputError
from widthwise.families.layers import (
    BiasScaledConv2d,
    BiasScaledLinear,
    ScaledConv2d,
    ScaledLinear,
    multipliers_of,
)
from widthwise.inspection.schemes import Fans, Role

_SCALED = (ScaledLinear, ScaledConv2d, BiasScaledLinear, BiasScaledConv2d)

# Part of the name of a class, its own or a base's → what it normalizes over.
_NORMALIZATIONS: dict[str, str] = {
    "BatchNorm": "batch",
    "GroupNorm": "group",
    "InstanceNorm": "instance",
    "RMSNorm": "rms",
    "LayerNorm": "layer",
    "LocalResponseNorm": "local response",
}

# Names under which a layer may hold its weight: plainly, torch.nn.utils.weight_norm,
# torch.nn.utils.parametrizations (weight_norm; spectral_norm and orthogonal).
_WEIGHT_NAMES = (
    "weight",
    "weight_v",
    "parametrizations.weight.original1",
    "parametrizations.weight.original",
)


@dataclass(frozen=True, kw_only=True)
class WidthTag:
    """What the mup package attached to a parameter (its ``infshape``), as plain numbers.

    Attributes:
        base_shape: the shape at the base width.
        num_width_dims: how many dimensions grow with the width.
        fan_in_multiplier: fan-in over base fan-in.
    """

    base_shape: tuple[int, ...]
    num_width_dims: int
    fan_in_multiplier: float


@dataclass(frozen=True, kw_only=True)
class Use:
    """One place where a module holds a parameter; a shared parameter has several."""

    path: str
    owner: nn.Module
    name: str
    parameter: nn.Parameter


def uses(module: nn.Module) -> Iterator[Use]:
    """Every place in the order of registration; shared parameters and modules as often as used."""
    seen: set[str] = set()
    for prefix, owner in module.named_modules(remove_duplicate=False):
        for name, parameter in owner._parameters.items():
            path = f"{prefix}.{name}" if prefix else name
            if parameter is not None and path not in seen:
                seen.add(path)
                yield Use(path=path, owner=owner, name=name, parameter=parameter)


def normalization_of(layer: nn.Module) -> str | None:
    """The kind of normalization this layer does; None if it is another layer."""
    for base in type(layer).__mro__:
        for part, kind in _NORMALIZATIONS.items():
            if part.lower() in base.__name__.lower():
                return kind
    return None


def convolves(layer: nn.Module) -> bool:
    """Whether the layer is a convolution whose windows overlap (cutting into patches is not)."""
    if not isinstance(layer, _ConvNd):
        return False
    sides = zip(layer.kernel_size, layer.stride, strict=True)
    return any(size > stride for size, stride in sides)


def transposed(layer: nn.Module) -> bool:
    return isinstance(layer, _ConvTransposeNd)


def role_of(use: Use) -> Role:
    """What the parameter is for."""
    if isinstance(use.owner, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if normalization_of(use.owner) is not None:
        return "normalization"
    if use.parameter.dim() <= 1:
        return "bias" if "bias" in use.name else "other"
    if _parametrized(use.owner) or "weight" in use.name:
        return "weight"
    return "other"


def fans_of(use: Use, role: Role) -> Fans:
    """The fans of a parameter; a bias has those of its layer's weight."""
    if role == "bias":
        weight = weight_of(use.owner, use.name)
        return Fans() if weight is None else _fans(use.owner, weight.shape)
    # torch.nn.init's convention needs two dimensions; position tables and class tokens have no
    # fan-in at all.
    if use.parameter.dim() < 2 or role in ("other", "normalization"):
        return Fans()
    return _fans(use.owner, use.parameter.shape)


def weight_of(owner: nn.Module, bias_name: str = "bias") -> Tensor | None:
    """The weight beside a bias. Never computed (a parametrization may count its calls)."""
    same_place = bias_name.replace("bias", "weight")
    for path in (same_place, *_WEIGHT_NAMES):
        *prefix, name = path.split(".")
        holder: nn.Module | None = owner
        for part in prefix:
            holder = None if holder is None else holder._modules.get(part)
        weight = None if holder is None else holder._parameters.get(name)
        if weight is not None and weight.dim() >= 2:
            return weight
    return None


def multiplier_of(use: Use, role: Role) -> float:
    """The fixed factor c with which this weight or bias enters, y = c·W x + c'·b; 1 where none is
    seen.

    Seen: those of Widthwise's layers and of the mup package's MuReadout. A factor that another
    module's ``forward`` applies cannot be seen.

    Raises:
        InputError: for the mup package's readout without base shapes, which has no factor yet.
    """
    if role == "weight" and (ratio := _readout_ratio(use)) is not None:
        return ratio
    if role not in ("weight", "bias") or not isinstance(use.owner, _SCALED):
        return 1.0
    multipliers = multipliers_of(use.owner)
    return float(multipliers.weight if role == "weight" else multipliers.bias)


def width_tag(parameter: Tensor) -> WidthTag | None:
    """The mup package's tag of this parameter, if it has one."""
    dims = getattr(parameter, "infshape", None)
    if dims is None:
        return None
    base = tuple(int(dim.dim if dim.base_dim is None else dim.base_dim) for dim in dims)
    ratios = [float(dim.width_mult()) for dim in dims]
    return WidthTag(
        base_shape=base,
        num_width_dims=sum(dim.base_dim is not None for dim in dims),
        fan_in_multiplier=ratios[1] if len(ratios) > 1 else 1.0,
    )


def base_fans_of(use: Use, role: Role) -> Fans:
    """The fans at the mup package's base shape; for a bias, those of its weight's."""
    tagged: Tensor | None = weight_of(use.owner, use.name) if role == "bias" else use.parameter
    tag = None if tagged is None else width_tag(tagged)
    if tag is None or len(tag.base_shape) < 2 or role in ("other", "normalization"):
        return Fans()
    return _fans(use.owner, torch.Size(tag.base_shape))


def _fans(owner: nn.Module, shape: torch.Size) -> Fans:
    field = math.prod(shape[2:])
    fan_in, fan_out, default_fan = shape[1] * field, shape[0] * field, shape[1] * field
    if isinstance(owner, nn.RNNBase | nn.RNNCellBase):
        default_fan = owner.hidden_size
    elif isinstance(owner, nn.Bilinear):
        default_fan = shape[1]
    groups = owner.groups if isinstance(owner, _ConvNd) else 1
    if min(fan_in, fan_out) < 1:
        return Fans()
    return Fans(fan_in=fan_in, fan_out=fan_out, default_fan=default_fan, groups=groups)


def _parametrized(owner: nn.Module) -> bool:
    return isinstance(owner, nn.utils.parametrize.ParametrizationList)


def _readout_ratio(use: Use) -> float | None:
    """output_mult / width_mult() of the mup package's MuReadout; None for other layers."""
    width_mult = getattr(use.owner, "width_mult", None)
    factor = getattr(use.owner, "output_mult", None)
    if not callable(width_mult) or not isinstance(factor, int | float):
        return None
    if width_tag(use.parameter) is None:
        raise InputError(
            f"{use.path}: a readout of the mup package has no multiplier before its base shapes "
            "are set; call mup.set_base_shapes(model, base) first"
        )
    return float(factor) / float(width_mult())
