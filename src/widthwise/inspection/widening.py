"""Two networks of one family: what widened, by how much, and under which parameterization."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, overload

from torch import nn

from widthwise.inspection.inspection import CONFIDENCE, Inspection, inspect_network
from widthwise.inspection.layers import convolves, normalization_of
from widthwise.inspection.residual import has_residual_sums
from widthwise.inspection.rows import ParameterRow
from widthwise.inspection.scaling import counterpart, read_parameterization
from widthwise.text import plain, table

_SAME = 1e-9
_YES_OR_NO = {True: "yes", False: "no", None: "unclear"}


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The shapes of one parameter in both networks.

    Attributes:
        path: in the base network.
        base_shape, target_shape: of the same number of dimensions.
        fan_in, fan_out: target over base; None for parameters without (see ``ParameterRow``).
            Of a transposed convolution they are what its outputs sum over and its inputs spread to.
        input_axis: the axis of the weight that counts the layer's inputs: 1, but 0 for transposed
            convolutions.
    """

    path: str
    base_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    fan_in: float | None
    fan_out: float | None
    input_axis: int = 1

    @property
    def ratios(self) -> tuple[float, ...]:
        """Target over base, dimension by dimension."""
        return tuple(b / a for a, b in zip(self.base_shape, self.target_shape, strict=True))

    @property
    def widened(self) -> bool:
        return self.base_shape != self.target_shape


@dataclass(frozen=True, kw_only=True)
class Widening:
    """What happened between a base network and a wider one.

    Attributes:
        widening_factor: the common factor of all fan-ins that grew; 1 if all shapes are equal;
            None if they differ or nothing but other dimensions grew (then ``questions`` asks).
        factors: (factor, number of weights), most frequent first.
        parameterization: "standard", "default", "ntk" or "mup", as read off both networks' initial
            weights and multipliers; None if unknown or mixed.
        parameterization_reason: what decided, or what was missing.
        growth: the shapes of every parameter that both have.
        widened: paths of the parameters of which any dimension grew.
        not_widened: what stayed, with the reason where it is known: inputs, classes, whole
            parameters.
        depth_changed: whether either network has weights that the other lacks.
        only_in_base, only_in_target: paths.
        normalization: "none", "batch", "layer", "group", "instance", "rms", "local response", or
            "mixed".
        convolutional: whether there are convolutions with overlapping windows.
        residual: whether either network has residual sums, see
            :func:`widthwise.inspection.residual.has_residual_sums`; None if it cannot be told.
        questions: what could not be told, each naming the argument of :func:`widthwise.widen` that
            answers it.
        base, target: the two inspections.
    """

    widening_factor: float | None
    factors: tuple[tuple[float, int], ...]
    parameterization: str | None
    parameterization_reason: str
    growth: tuple[Growth, ...]
    widened: tuple[str, ...]
    not_widened: tuple[str, ...]
    depth_changed: bool
    only_in_base: tuple[str, ...]
    only_in_target: tuple[str, ...]
    normalization: str
    convolutional: bool
    residual: bool | None
    questions: tuple[str, ...]
    base: Inspection
    target: Inspection

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        content: dict[str, Any] = plain(self, without=("growth", "base", "target"), infinite=True)
        return content | {
            "growth": [
                plain(growth, without=("input_axis",), infinite=True)
                | {"ratios": list(growth.ratios)}
                for growth in self.growth
            ],
            "base": self.base.to_dict(),
            "target": self.target.to_dict(),
        }

    def __str__(self) -> str:
        header = ["parameter", "base", "target", "fan-in", "std", "std (target)"]
        with_noise = self.base.batch_size is not None
        header += ["ḡ", "ḡ (target)"] * with_noise
        lines = []
        for growth in self.growth:
            base, target = self.base[growth.path], self.target[growth.path]
            cells = [growth.path, _shape(growth.base_shape), _shape(growth.target_shape)]
            cells += [_times(growth.fan_in), _number(base.std), _number(target.std)]
            if with_noise:
                cells += [_number(row.normalized_noise_scale) for row in (base, target)]
            lines.append([*cells, target.verdict])
        header.append("initialization (target)")
        factor = "unclear" if self.widening_factor is None else f"{self.widening_factor:g}"
        facts = [
            f"Widening factor: {factor}",
            f"Parameterization: {self.parameterization or 'unclear'} "
            f"({self.parameterization_reason})",
            f"Normalization: {self.normalization}; "
            f"convolutions: {'yes' if self.convolutional else 'no'}; "
            f"depth changed: {'yes' if self.depth_changed else 'no'}; "
            f"residual sums: {_YES_OR_NO[self.residual]}",
        ]
        if self.not_widened:
            facts.append("Not widened:\n" + "\n".join(f"  {text}" for text in self.not_widened))
        for where, paths in (("base", self.only_in_base), ("target", self.only_in_target)):
            if paths:
                facts.append(f"Only in the {where} network: {', '.join(paths)}")
        if self.questions:
            facts.append("Open:\n" + "\n".join(f"  {text}" for text in self.questions))
        return f"{table(header, lines)}\n\n" + "\n".join(facts)


@overload
def inspect(
    module: nn.Module,
    target: None = None,
    *,
    learning_rate: float | None = ...,
    batch_size: int | None = ...,
    momentum: float = ...,
    confidence: float = ...,
) -> Inspection: ...


@overload
def inspect(
    module: nn.Module,
    target: nn.Module,
    *,
    learning_rate: float | None = ...,
    batch_size: int | None = ...,
    momentum: float = ...,
    confidence: float = ...,
) -> Widening: ...


def inspect(
    module: nn.Module,
    target: nn.Module | None = None,
    *,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    momentum: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Inspection | Widening:
    """Measures the initial weights of a network and says which known schemes they match.

    For networks that have not been trained. A module is read, never changed. With a wider target,
    also what widened between the two and under which parameterization.

    Args:
        module: any module whose parameters hold values; a compiled one is looked into.
        target: a wider network of the same family.
        learning_rate: ε, for the effective rates; with ``batch_size`` also for layer-level ḡ.
        batch_size, momentum: B and m of SGD.
        confidence: in (0, 1); with this probability, a parameter, the scheme that drew it is among
            its matches (if the table knows it).

    Raises:
        InputError: if a parameter holds no values (lazy, or on the meta device), or a
            hyper-parameter is out of range.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layer = torch.nn.Linear(200, 50)
    >>> print(inspect(layer)["weight"].verdict)
    pytorch_default
    >>> inspect(layer, torch.nn.Linear(800, 50)).widening_factor
    4.0
    """
    if target is None:
        return inspect_network(
            module,
            learning_rate=learning_rate,
            batch_size=batch_size,
            momentum=momentum,
            confidence=confidence,
        )
    return compare(
        module,
        target,
        learning_rate=learning_rate,
        batch_size=batch_size,
        momentum=momentum,
        confidence=confidence,
    )


def compare(
    base: nn.Module,
    target: nn.Module,
    *,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    momentum: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Widening:
    """Compares two untrained networks of one family, parameter by parameter (by path).

    Args:
        base, target: the tuned network and the wider one; neither is changed.
        learning_rate, batch_size, momentum, confidence: as for
            :func:`widthwise.inspection.inspect`.

    Raises:
        InputError: as :func:`widthwise.inspection.inspect`.

    >>> from torch import nn
    >>> def build(w):
    ...     return nn.Sequential(nn.Linear(20, 64 * w), nn.ReLU(), nn.Linear(64 * w, 10))
    >>> widening = compare(build(1), build(4))
    >>> widening.widening_factor, widening.not_widened[0]
    (4.0, '0.weight: inputs, 20 in both')
    """
    inspected = [
        inspect_network(
            module,
            learning_rate=learning_rate,
            batch_size=batch_size,
            momentum=momentum,
            confidence=confidence,
        )
        for module in (base, target)
    ]
    first, second = inspected
    growth = _growth(first, second)
    only_in_base, only_in_target = _missing(first, second), _missing(second, first)
    factors = _factors(growth, first)
    reading = read_parameterization(first, second)
    factor = _common_factor(factors, growth)
    normalization = _normalization(base, target)
    depth_changed = bool(only_in_base or only_in_target)
    questions = _questions(factor, factors, reading.parameterization, reading.reason)
    if depth_changed:
        paths = (*only_in_base, *only_in_target)
        questions += (
            f"{len(paths)} parameter(s) are in one network only ({', '.join(paths[:3])}): is depth "
            "meant to change? The rule is known for width alone; build the target with the depth "
            "of the base",
        )
    return Widening(
        widening_factor=factor,
        factors=factors,
        parameterization=reading.parameterization,
        parameterization_reason=reading.reason,
        growth=growth,
        widened=tuple(item.path for item in growth if item.widened),
        not_widened=tuple(text for item in growth for text in _stayed(item, first[item.path])),
        depth_changed=depth_changed,
        only_in_base=only_in_base,
        only_in_target=only_in_target,
        normalization=normalization,
        convolutional=any(map(convolves, (*base.modules(), *target.modules()))),
        residual=_residual(base, target),
        questions=questions,
        base=first,
        target=second,
    )


def _growth(base: Inspection, target: Inspection) -> tuple[Growth, ...]:
    pairs = ((row, counterpart(row, target)) for row in base.rows)
    return tuple(
        Growth(
            path=row.path,
            base_shape=row.shape,
            target_shape=other.shape,
            fan_in=_ratio(row.summands, other.summands),
            fan_out=_ratio(*((r.fan_in if r.transposed else r.fan_out) for r in (row, other))),
            input_axis=0 if row.transposed else 1,
        )
        for row, other in pairs
        if other is not None and len(other.shape) == len(row.shape)
    )


def _missing(here: Inspection, there: Inspection) -> tuple[str, ...]:
    def known(row: ParameterRow) -> bool:
        other = counterpart(row, there)
        return other is not None and len(other.shape) == len(row.shape)

    return tuple(row.path for row in here.rows if not known(row))


def _factors(growth: tuple[Growth, ...], base: Inspection) -> tuple[tuple[float, int], ...]:
    """Fan-in ratios of the weights whose fan-in changed, with their numbers."""
    ratios = [
        item.fan_in
        for item in growth
        if base[item.path].role == "weight"
        if item.fan_in is not None and abs(item.fan_in - 1.0) > _SAME
    ]
    return tuple(Counter(ratios).most_common())


def _common_factor(
    factors: tuple[tuple[float, int], ...], growth: tuple[Growth, ...]
) -> float | None:
    if len(factors) == 1:
        return factors[0][0]
    return 1.0 if not factors and not any(item.widened for item in growth) else None


def _stayed(item: Growth, base: ParameterRow) -> tuple[str, ...]:
    """What of this parameter did not widen; biases and other vectors follow their layers."""
    if base.fan_in is None or base.role != "weight":
        return () if item.widened else (f"{item.path}: {_shape(item.base_shape)} in both",)
    if not item.widened:
        return (f"{item.path}: {_shape(item.base_shape)} in both",)
    # By dimension, not by fan: a field of view belongs to neither.
    into, out_of = item.input_axis, 1 - item.input_axis
    outputs, inputs = item.ratios[out_of] != 1.0, item.ratios[into] != 1.0
    if outputs and not inputs:
        grouped = into == 1 and item.base_shape[1] == 1
        what = "inputs of a group" if grouped else "inputs"
        return (f"{item.path}: {what}, {item.base_shape[into]} in both",)
    if inputs and not outputs:
        grouped = into == 0 and base.groups > 1
        what = "outputs of a group" if grouped else "outputs (classes)"
        return (f"{item.path}: {what}, {item.base_shape[out_of]} in both",)
    return ()


def _questions(
    factor: float | None,
    factors: tuple[tuple[float, int], ...],
    parameterization: str | None,
    reason: str,
) -> tuple[str, ...]:
    questions = []
    if factor is None and factors:
        found = ", ".join(f"{ratio:g} ({count} weights)" for ratio, count in factors)
        questions.append(
            f"fan-ins grew by different factors: {found}; which is meant? Widen all layers "
            "alike, or give the plan widening_factor"
        )
    elif factor is None:
        questions.append(
            "shapes differ, but no weight's fan-in widened; is this the wider network? If it "
            "is, give the plan widening_factor"
        )
    elif factor < 1.0:
        questions.append(
            f"the target is narrower (factor {factor:g}); were base and target exchanged?"
        )
    if parameterization is None and factor != 1.0:
        questions.append(
            f"the parameterization could not be read off the weights: {reason}. "
            "Give the plan parameterization: standard, default, ntk or mup"
        )
    return tuple(questions)


def _normalization(*networks: nn.Module) -> str:
    kinds = {normalization_of(layer) for network in networks for layer in network.modules()}
    kinds.discard(None)
    if len(kinds) > 1:
        return "mixed"
    return kinds.pop() or "none" if kinds else "none"


def _residual(*networks: nn.Module) -> bool | None:
    found = {has_residual_sums(network) for network in networks}
    return True if True in found else (None if None in found else False)


def _ratio(base: float | None, target: float | None) -> float | None:
    return None if base is None or target is None else target / base


def _times(ratio: float | None) -> str:
    return "—" if ratio is None else f"×{ratio:g}"


def _number(value: float | None) -> str:
    return "—" if value is None or math.isnan(value) else f"{value:.4g}"


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
