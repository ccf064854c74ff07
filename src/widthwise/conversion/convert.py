"""Rewrites a module in another form, so that SGD takes it along the same path."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from widthwise.conversion.functional import refuse_functional_use
from widthwise.conversion.shapes import Base, widened_by
from widthwise.errors import InputError
from widthwise.families.layers import (
    Layer,
    fan_in_of,
    multipliers_of,
    scalable_layers,
    with_multipliers,
)
from widthwise.theory.parameterization import LayerWidths, Multipliers, TensorForm, form_multipliers

_NEED_BASE = ("mup", "mup-one-rate")


@dataclass(frozen=True, kw_only=True)
class ConvertedTensor:
    """One parameter before and after.

    Attributes:
        name: of the parameter; the same in both modules.
        before: its multiplier, learning rate and weight decay; init_scale is 1.
        after: the same in the new form; init_scale is what its values were multiplied by.
    """

    name: str
    before: TensorForm
    after: TensorForm


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The same trajectory under another name.

    Attributes:
        form: a key of :data:`widthwise.theory.parameterization.FORMS`.
        module: the new module; parameters have the names and shapes they had.
        tensors: every parameter, in the module's order.
    """

    form: str
    module: nn.Module
    tensors: tuple[ConvertedTensor, ...]

    @property
    def learning_rates(self) -> dict[str, float]:
        """By parameter name; what ``convert`` takes to convert again."""
        return {tensor.name: tensor.after.learning_rate for tensor in self.tensors}

    @property
    def weight_decays(self) -> dict[str, float]:
        """By parameter name; what ``convert`` takes to convert again."""
        return {tensor.name: tensor.after.weight_decay for tensor in self.tensors}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """For ``torch.optim.SGD``: a group for each pair of learning rate and weight decay.
        Momentum is what it was before; frozen parameters are left out.
        """
        parameters = dict(self.module.named_parameters())
        groups: dict[tuple[float, float], dict[str, Any]] = {}
        for tensor in self.tensors:
            if parameters[tensor.name].requires_grad:
                rate, decay = tensor.after.learning_rate, tensor.after.weight_decay
                group = groups.setdefault(
                    (rate, decay), {"params": [], "lr": rate, "weight_decay": decay}
                )
                group["params"].append(parameters[tensor.name])
        return list(groups.values())


def convert(
    module: nn.Module,
    form: str,
    *,
    learning_rate: float | Mapping[str, float],
    weight_decay: float | Mapping[str, float] = 0.0,
    base: Base | None = None,
) -> Conversion:
    """Rewrite a module in another form: equal outputs now and after every step of SGD.

    The form in which the module is now is read off its layers: Linear and Conv2d have the
    multiplier 1, ScaledLinear and ScaledConv2d their own. Forward multipliers change, values are
    rescaled, and every parameter gets the learning rate and weight decay that keep the path
    (:class:`~widthwise.theory.parameterization.TensorForm`). Biases keep their multiplier and rate
    in all forms but "mup-one-rate"; embeddings and the parameters of norms keep theirs in all.
    The module is copied, not changed.

    Exact up to rounding for ``torch.optim.SGD`` with its momentum, dampening and Nesterov as they
    were, *from an empty optimizer*: a momentum buffer filled before is to be multiplied by
    after.multiplier/before.multiplier. Not so for Adam, or with the gradient clipped by its norm.

    This keeps what the network does and changes what it is called. For the rates that µP
    *prescribes*, see :func:`widthwise.conversion.mup_parameter_groups`.

    Args:
        module: layers with weights are Linear, Conv2d, ScaledLinear, ScaledConv2d.
        form: a key of :data:`widthwise.theory.parameterization.FORMS`: "standard", "ntk", "mup" or
            "mup-one-rate" (µP's multipliers chosen so that its rates become one).
        learning_rate: with which ``module`` is trained: one, or one a parameter by name.
        weight_decay: likewise.
        base: for the µP forms, the base network or the shapes of its parameters by name.

    Raises:
        InputError: if a layer cannot be converted, a forward uses a layer's parameters itself, two
            layers share a tensor that would have to be scaled differently, a rate is missing, or a
            µP form has no base.

    >>> network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> ntk = convert(network, "ntk", learning_rate=0.1)
    >>> ntk.module[0]
    ScaledLinear(in_features=4, out_features=16, bias=True, multiplier=0.5)
    >>> ntk.learning_rates
    {'0.weight': 0.4, '0.bias': 0.1, '2.weight': 1.6, '2.bias': 0.1}
    """
    copy = deepcopy(module)
    layers = dict(scalable_layers(copy))
    targets = _target_multipliers(copy, layers, form, base)
    before = _forms_before(copy, layers, learning_rate, weight_decay)
    wanted = _by_parameter(copy, layers, targets)
    tensors = tuple(
        ConvertedTensor(
            name=name, before=tensor, after=tensor.with_multiplier(wanted.get(name, 1.0))
        )
        for name, tensor in before.items()
    )
    changed = {t.name for t in tensors if t.before.multiplier != t.after.multiplier}
    refuse_functional_use(copy, changed)
    parameters = dict(copy.named_parameters())
    with torch.no_grad():
        for tensor in tensors:
            parameters[tensor.name].mul_(tensor.after.init_scale)
    return Conversion(form=form, module=set_multipliers(copy, targets), tensors=tensors)


def set_multipliers(module: nn.Module, multipliers: Mapping[str, Multipliers]) -> nn.Module:
    """Give the layers of these names other multipliers, in place; values stay.

    Returns:
        The module, or its replacement if the module itself is such a layer.
    """
    layers = dict(module.named_modules())
    twins: dict[nn.Module, nn.Module] = {}
    for name, wanted in multipliers.items():
        layer = layers[name]
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        if multipliers_of(layer) != wanted:
            twins[layer] = with_multipliers(layer, wanted)
    for parent in layers.values():
        # A layer that is used in two places has two entries.
        for child_name, child in list(parent._modules.items()):
            if child in twins:
                parent._modules[child_name] = twins[child]
    return twins.get(module, module)


def _target_multipliers(
    module: nn.Module, layers: Mapping[str, Layer], form: str, base: Base | None
) -> dict[str, Multipliers]:
    if form in _NEED_BASE and base is None:
        raise InputError(
            f"the form {form!r} is relative to a base network, got none; pass base=, the same "
            "network at the width at which it was tuned"
        )
    widened = {} if base is None else widened_by(module, base)
    targets = {}
    for name, layer in layers.items():
        factors = widened.get(_parameter(name, "weight"))
        widths = LayerWidths(
            fan_in=fan_in_of(layer),
            fan_in_factor=factors.fan_in_factor if factors else 1.0,
            fan_out_factor=factors.fan_out_factor if factors else 1.0,
        )
        targets[name] = form_multipliers(form, widths)
    return targets


def _forms_before(
    module: nn.Module,
    layers: Mapping[str, Layer],
    learning_rate: float | Mapping[str, float],
    weight_decay: float | Mapping[str, float],
) -> dict[str, TensorForm]:
    now = _by_parameter(module, layers, {n: multipliers_of(layer) for n, layer in layers.items()})
    return {
        name: TensorForm(
            multiplier=now.get(name, 1.0),
            init_scale=1.0,
            learning_rate=_of(learning_rate, name, "learning_rate"),
            weight_decay=_of(weight_decay, name, "weight_decay"),
        )
        for name, _ in module.named_parameters()
    }


def _by_parameter(
    module: nn.Module, layers: Mapping[str, Layer], multipliers: Mapping[str, Multipliers]
) -> dict[str, float]:
    """Parameter → its multiplier. A tensor has one, in however many layers it is."""
    found: dict[int, float] = {}
    for name, layer in layers.items():
        entries = ((layer.weight, multipliers[name].weight), (layer.bias, multipliers[name].bias))
        for tensor, multiplier in entries:
            if tensor is not None and found.setdefault(id(tensor), multiplier) != multiplier:
                raise InputError(
                    f"layer {name!r} shares a tensor with another layer, which must have the same "
                    f"multiplier, got {multiplier:g} and {found[id(tensor)]:g}; untie them"
                )
    _check_not_tied_elsewhere(module, layers, found)
    return {n: found[id(p)] for n, p in module.named_parameters() if id(p) in found}


def _check_not_tied_elsewhere(
    module: nn.Module, layers: Mapping[str, Layer], found: Mapping[int, float]
) -> None:
    """An embedding that is some layer's weight as well cannot be rescaled."""
    for name, child in module.named_modules():
        if name not in layers:
            for parameter in child.parameters(recurse=False):
                if found.get(id(parameter), 1.0) != 1.0:
                    raise InputError(
                        f"{type(child).__name__} {name!r} shares a tensor with a layer that has "
                        "the multiplier "
                        f"{found[id(parameter)]:g}, which it cannot have; untie them"
                    )


def _of(value: float | Mapping[str, float], name: str, what: str) -> float:
    if not isinstance(value, Mapping):
        return float(value)
    if name not in value:
        raise InputError(f"{what} must name every parameter, got none for {name!r}; add it")
    return float(value[name])


def _parameter(layer: str, kind: str) -> str:
    return f"{layer}.{kind}" if layer else kind
