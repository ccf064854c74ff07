"""µP for SGD without the mup package: what it prescribes for a module, given its base network.

Source: Yang et al. (2022), Tensor Programs V, arXiv:2203.03466; the conventions (base shapes,
MuReadout, MuSGD) are those of the package mup 1.0, whose MuSGD is the tests' oracle.
"""

import math
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from widthwise.conversion.convert import convert, set_multipliers
from widthwise.conversion.functional import refuse_functional_use
from widthwise.conversion.shapes import Base, Widened, widened_by
from widthwise.errors import InputError
from widthwise.families import WidthFamily
from widthwise.families.layers import multipliers_of, scalable_layers
from widthwise.theory.parameterization import Multipliers, MupFactors, mup_factors_of

_MATRIX, _VECTOR, _FIXED = range(3)  # the order of MuSGD's groups


def mup_parameter_groups(
    module: nn.Module,
    base: Base,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> list[dict[str, Any]]:
    """The groups of ``torch.optim.SGD`` that µP prescribes, equal to those of mup's MuSGD.

    Rates: ε × fan-out factor / fan-in factor for tensors that widened along both first axes,
    ε × the factor for those that widened along one (input weights, readout weights, biases, norms),
    ε for the others; weight decay is divided by the same factor. Groups are in MuSGD's order, empty
    ones left out. µP is these rates *together with* its initialization and the readout's
    multiplier: see :func:`mup_module`.

    Args:
        module: the wide network.
        base: the network at which ε was tuned, or the shapes of its parameters by name.
        learning_rate: ε > 0, tuned at the base.
        momentum: in [0, 1).
        weight_decay: λ ≥ 0, coupled as in ``torch.optim.SGD``.

    Raises:
        InputError: if the module is not the base network at another width.

    >>> base, wide = nn.Linear(3, 8), nn.Linear(3, 32)
    >>> [group["lr"] for group in mup_parameter_groups(wide, base, learning_rate=0.1)]
    [0.4]
    """
    _check(learning_rate, momentum, weight_decay)
    widened = widened_by(module, base)
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        key = _kind(widened[name])
        if key not in groups:
            # Multiplied and divided as MuSGD does it, so that rates agree to the last bit.
            kind, factor = key
            groups[key] = {
                "params": [],
                "lr": learning_rate / factor if kind == _MATRIX else learning_rate * factor,
                "momentum": momentum,
                "weight_decay": weight_decay * factor if kind == _MATRIX else weight_decay / factor,
            }
        groups[key]["params"].append(parameter)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


def mup_factors(module: nn.Module, base: Base) -> dict[str, MupFactors]:
    """By parameter: forward multiplier, factor on the initial values, factor on the learning rate.

    Relative to an initialization with σ ∝ 1/√fan_in (standard, Kaiming, PyTorch's default): the
    weights of the readout are scaled up by √(fan-in factor), which makes their σ the base
    network's; so are biases drawn by PyTorch's default (those that start at 0 stay there).

    Raises:
        InputError: if the module is not the base network at another width.
    """
    widened = widened_by(module, base)
    factors = {name: MupFactors(learning_rate=_rate(entry)) for name, entry in widened.items()}
    for name, layer in module.named_modules():
        weight, bias = _names(name)
        if isinstance(layer, nn.Linear | _ConvNd) and weight in factors:
            entry = widened[weight]
            factors[weight] = mup_factors_of(entry.fan_in_factor, entry.fan_out_factor)
            if bias in factors:
                scale = entry.fan_in_factor**0.5
                factors[bias] = replace(factors[bias], init_scale=scale)
    return factors


def mup_module(module: nn.Module, base: Base) -> nn.Module:
    """A freshly initialized network, put into µP: train it with :func:`mup_parameter_groups`.

    Args:
        module: initialized with σ ∝ 1/√fan_in, layers without multipliers (standard
            parameterization, Kaiming, or PyTorch's default). It is copied, not changed.
        base: the network at which the learning rate was tuned, or its parameters' shapes by name.

    Raises:
        InputError: if the module is not the base network at another width, or has layers that
            cannot be given a multiplier, or that have one.

    >>> def build(width):
    ...     return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))
    >>> mup_module(build(32), build(8))[2]
    ScaledLinear(in_features=32, out_features=2, bias=True, multiplier=0.25)
    """
    copy = deepcopy(module)
    factors = mup_factors(copy, base)
    multipliers = {}
    for name, layer in scalable_layers(copy):
        if multipliers_of(layer) != Multipliers(1.0):
            raise InputError(
                f"µP starts from a network without forward multipliers, but layer "
                f"{name or 'module'!r} has {multipliers_of(layer).weight:g}; build the network in "
                'standard parameterization, or convert(…, "standard") first'
            )
        weight, _ = _names(name)
        if weight not in factors:
            raise InputError(
                f"µP gives every layer's weight factors of its own, but {weight!r} is another "
                "layer's as well; untie them"
            )
        multipliers[name] = Multipliers(factors[weight].multiplier)
    refuse_functional_use(
        copy, {_names(name)[0] for name, m in multipliers.items() if m != Multipliers(1.0)}
    )
    with torch.no_grad():
        for name, parameter in copy.named_parameters():
            parameter.mul_(factors[name].init_scale)
    return set_multipliers(copy, multipliers)


def one_rate_mup(module: nn.Module, base: Base) -> nn.Module:
    """µP with one learning rate for all parameters: the multipliers absorb µP's factors.

    Widened by r, relative to the standard network: input weights and their biases are divided by
    √r and enter with the multiplier √r; hidden weights are as they were, their biases enter with
    √r; the readout's weights are as they were and enter with 1/√r, its bias as it was. Trained by
    SGD at ε this follows :func:`mup_module` trained with :func:`mup_parameter_groups` at ε (weight
    decay too), so packs, which have one rate a replica, can train µP. Layers without bias are
    ScaledLinear and ScaledConv2d, the others have a multiplier of their own on the bias.

    Args:
        module, base: as for :func:`mup_module`.

    Raises:
        InputError: as :func:`mup_module`; or if parameters of norms or embeddings widened, which
            have no multiplier.

    >>> def build(width):
    ...     return nn.Sequential(nn.Linear(3, width, bias=False), nn.ReLU(), nn.Linear(width, 2))
    >>> one_rate_mup(build(32), build(8))
    Sequential(
      (0): ScaledLinear(in_features=3, out_features=32, bias=False, multiplier=2)
      (1): ReLU()
      (2): ScaledLinear(in_features=32, out_features=2, bias=True, multiplier=0.5)
    )
    """
    prescribed = mup_module(module, base)
    rates = {name: row.learning_rate for name, row in mup_factors(module, base).items()}
    conversion = convert(prescribed, "mup-one-rate", learning_rate=rates, base=base)
    for name, rate in conversion.learning_rates.items():
        if not math.isclose(rate, 1.0, rel_tol=1e-12):
            raise InputError(
                f"µP with one learning rate needs a multiplier on every widened parameter, which "
                f"{name!r} cannot have (it wants {rate:g} times the rate); use mup_module with "
                "mup_parameter_groups"
            )
    return conversion.module


@dataclass(frozen=True, kw_only=True)
class MupFamily:
    """A family in µP with one learning rate, relative to its own network at ``base_factor``.

    At the base factor it is the standard family itself. σ_init² of hidden layers falls as in the
    standard family, hence so does the family-level σ_init².

    Attributes:
        standard: the family in standard parameterization; without norms' parameters.
        base_factor: widening factor at which the learning rate was tuned.
    """

    standard: WidthFamily
    base_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.standard.parameterization != "standard":
            raise InputError(
                "µP is built from a family in standard parameterization, got "
                f'{self.standard.parameterization!r}; build it with parameterization="standard"'
            )

    @property
    def name(self) -> str:
        return f"{self.standard.name}-mup"

    @property
    def parameterization(self) -> str:
        """ "standard": how the family-level σ_init² depends on width."""
        return self.standard.parameterization

    def init_variance(self, widening_factor: float) -> float:
        """The standard family's."""
        return self.standard.init_variance(widening_factor)

    def build(self, widening_factor: float, seed: int = 0) -> nn.Module:
        """The network at this width; the draws are the standard family's.

        Raises:
            InputError: as :func:`one_rate_mup`.
        """
        base = self.standard.build(self.base_factor, seed)
        return one_rate_mup(self.standard.build(widening_factor, seed), base)


def mup_family(standard: WidthFamily, base_factor: float = 1.0) -> MupFamily:
    """A family in µP with one learning rate; the arguments are :class:`MupFamily`'s.

    >>> from widthwise import families
    >>> family = mup_family(families.mlp((2, 2), 3, base_width=8, bias=False))
    >>> family.build(4)[3]
    ScaledLinear(in_features=32, out_features=3, bias=False, multiplier=0.5)
    """
    return MupFamily(standard=standard, base_factor=base_factor)


def _rate(entry: Widened) -> float:
    kind, factor = _kind(entry)
    return 1.0 / factor if kind == _MATRIX else factor


def _names(layer: str) -> tuple[str, str]:
    return (f"{layer}.weight", f"{layer}.bias") if layer else ("weight", "bias")


def _kind(entry: Widened) -> tuple[int, float]:
    """Which of MuSGD's groups, and the number by which it tells them apart."""
    factors = entry.factors
    if len(factors) == 2:
        return _MATRIX, entry.fan_in_factor / entry.fan_out_factor
    return (_VECTOR, factors[0]) if factors else (_FIXED, 1.0)


def _check(learning_rate: float, momentum: float, weight_decay: float) -> None:
    if not 0.0 < learning_rate < math.inf:
        raise InputError(f"learning_rate must lie in (0, ∞), got {learning_rate}")
    if not 0.0 <= momentum < 1.0:
        raise InputError(f"momentum must lie in [0, 1), got {momentum}")
    if not 0.0 <= weight_decay < math.inf:
        raise InputError(f"weight_decay must lie in [0, ∞), got {weight_decay}")
