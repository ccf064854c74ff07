"""What a network's parameters are: shapes, initial scales, the schemes they match."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from torch import nn
from torch.nn.parameter import is_lazy

from widthwise.deprecated import old_name
from widthwise.errors import InputError
from widthwise.inspection.layers import (
    Use,
    fans_of,
    multiplier_of,
    role_of,
    transposed,
    uses,
    width_tag,
)
from widthwise.inspection.recognition import Recognition, recognize
from widthwise.inspection.rows import ParameterRow, parameterization_of
from widthwise.inspection.values import statistics, why_not_measurable
from widthwise.text import plain, table
from widthwise.theory.noise import noise_scale, normalized_noise_scale

CONFIDENCE = 0.999


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The parameters of one network.

    Attributes:
        rows: one a parameter, in the order of registration.
        confidence: the probability, a parameter, with which a true scheme of the table is among
            the matches. Of K parameters about (1 − confidence)·K at most miss theirs by chance.
        learning_rate, batch_size, momentum: as given; None if not.
    """

    rows: tuple[ParameterRow, ...]
    confidence: float
    learning_rate: float | None = None
    batch_size: int | None = None
    momentum: float = 0.0

    def __getitem__(self, path: str) -> ParameterRow:
        """The row of a parameter, by any of its names."""
        for row in self.rows:
            if path in row.names:
                return row
        raise KeyError(path)

    @property
    def parameterization(self) -> str | None:
        """See :func:`widthwise.inspection.rows.parameterization_of`."""
        return parameterization_of(self.rows)

    @property
    def common_schemes(self) -> tuple[tuple[str, int, tuple[str, ...]], ...]:
        """For each class of layers with several weights: the schemes that fit all of them.

        (Class, number of weights, names.) What one layer leaves open, several may decide. Weights
        that start constant do not count; each row may miss its own by chance.
        """
        groups: dict[str, list[ParameterRow]] = {}
        for row in self.rows:
            if row.role == "weight" and row.recognition.status != "constant":
                groups.setdefault(row.layer, []).append(row)
        return tuple(
            (layer, len(rows), _shared_matches(rows))
            for layer, rows in groups.items()
            if len(rows) > 1
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """A dictionary a parameter."""
        return [row.to_dict() for row in self.rows]

    def to_frame(self) -> pl.DataFrame:
        """A row a parameter; a column "std of …" a scheme that could apply to any of them."""
        schemes = list(
            dict.fromkeys(n for row in self.rows for n, _ in row.recognition.scheme_stds)
        )
        records = []
        for content in self.to_rows():
            stds = content.pop("scheme_stds")
            records.append(content | {f"std of {name}": stds.get(name) for name in schemes})
        return pl.DataFrame(records, infer_schema_length=None)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values; the rows are called "parameters"."""
        content: dict[str, Any] = plain(self, without=("rows",), infinite=True)
        return content | {
            "parameterization": self.parameterization,
            "common_schemes": [
                {"layer": layer, "num_weights": count, "schemes": list(names)}
                for layer, count, names in self.common_schemes
            ],
            "parameters": self.to_rows(),
        }

    def __str__(self) -> str:
        if not self.rows:
            return "no parameters"
        with_rate, with_noise = self.learning_rate is not None, self.batch_size is not None
        header = ["parameter", "layer", "shape", "fan-in", "std", "expected", "c"]
        header += ["c²ε"] * with_rate + ["ḡ"] * with_noise + ["initialization"]
        lines = []
        for row in self.rows:
            cells = [
                ", ".join(row.names),
                row.layer,
                "×".join(map(str, row.shape)) or "scalar",
                "—" if row.fan_in is None else str(row.fan_in),
                _short(row.std),
                _short(row.expected_std),
                _short(row.multiplier),
            ]
            cells += [_short(row.effective_learning_rate)] * with_rate
            cells += [_short(row.normalized_noise_scale)] * with_noise
            lines.append([*cells, "; ".join((row.verdict, *row.notes))])
        known = self.parameterization or "not recognized as a whole"
        if known in ("default", "standard") and any(row.multiplier != 1.0 for row in self.rows):
            known += " for c·W; the multipliers c change the rates to c²ε"
        together = "".join(
            f"All {count} weights of {layer} layers fit: {' or '.join(names) or 'no one scheme'}.\n"
            for layer, count, names in self.common_schemes
        )
        return (
            f"{table(header, lines)}\n\n{together}"
            f"Parameterization: {known}. A scheme that was used is listed with probability "
            f"≥ {self.confidence:g} a parameter."
        )


def inspect_network(
    module: nn.Module,
    *,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    momentum: float = 0.0,
    confidence: float = CONFIDENCE,
) -> Inspection:
    """One network by itself; arguments as for :func:`widthwise.inspection.inspect`."""
    if not isinstance(module, nn.Module):
        raise InputError(f"inspect needs a torch.nn.Module, got {type(module).__name__}")
    if not 0.0 < confidence < 1.0:
        raise InputError(
            f"confidence must lie in (0, 1), got {confidence}; 0.999 is the default",
            fields=("confidence",),
        )
    _check_hyper_parameters(learning_rate, batch_size, momentum)
    module = getattr(module, "_orig_mod", module)  # torch.compile's wrapper
    places: dict[int, list[Use]] = {}
    for use in uses(module):
        places.setdefault(id(use.parameter), []).append(use)
    rows = tuple(
        _row(tuple(shared), learning_rate, batch_size, momentum, confidence)
        for shared in places.values()
    )
    return Inspection(
        rows=rows,
        confidence=confidence,
        learning_rate=learning_rate,
        batch_size=batch_size,
        momentum=momentum,
    )


def _row(
    shared: tuple[Use, ...],
    learning_rate: float | None,
    batch_size: int | None,
    momentum: float,
    confidence: float,
) -> ParameterRow:
    use, parameter = shared[0], shared[0].parameter
    _check_values(use)
    role = role_of(use)
    fans = fans_of(use, role)
    multiplier = multiplier_of(use, role)
    tag = width_tag(parameter)
    reason = why_not_measurable(parameter)
    std = mean = std_error = float("nan")
    if reason is not None:
        recognition = Recognition(status="not judged", detail=reason)
    else:
        measured = statistics(parameter)
        std, mean = measured.std, measured.mean
        # Variance of a sample variance: σ⁴ (kurtosis − 1)/n.
        std_error = (
            0.0
            if measured.constant
            else std * ((measured.kurtosis - 1.0) / (4.0 * parameter.numel())) ** 0.5
        )
        recognition = recognize(use, role, fans, multiplier, measured, confidence=confidence)
    noise = None
    if learning_rate is not None and batch_size is not None and role == "weight" and std > 0.0:
        noise = normalized_noise_scale(learning_rate, batch_size, momentum, init_variance=std**2)
    return ParameterRow(
        path=use.path,
        names=tuple(place.path for place in shared),
        layer=type(use.owner).__name__,
        role=role,
        shape=tuple(parameter.shape),
        dtype=str(parameter.dtype).removeprefix("torch."),
        num_elements=parameter.numel(),
        fan_in=None if fans.fan_in is None else int(fans.fan_in),
        fan_out=None if fans.fan_out is None else int(fans.fan_out),
        transposed=transposed(use.owner),
        groups=fans.groups,
        std=std,
        mean=mean,
        std_error=std_error,
        multiplier=multiplier,
        mup_dims=None if tag is None else tag.num_width_dims,
        recognition=recognition,
        effective_learning_rate=None if learning_rate is None else multiplier**2 * learning_rate,
        normalized_noise_scale=noise,
        notes=_notes(shared, multiplier),
    )


def _notes(shared: tuple[Use, ...], multiplier: float) -> tuple[str, ...]:
    """Uses of a shared parameter that differ in their multiplier."""
    notes = []
    for use in shared[1:]:
        other = multiplier_of(use, role_of(use))
        if other != multiplier:
            notes.append(f"as {use.path} with c = {other:.4g}")
    return tuple(notes)


def _check_values(use: Use) -> None:
    if is_lazy(use.parameter):
        raise InputError(
            f"{use.path} is lazy and has no shape yet; run one batch through the module first"
        )
    if use.parameter.is_meta:
        raise InputError(
            f"{use.path} is on the meta device and has no values; build the module on the CPU, or "
            "call to_empty() and initialize it"
        )


def _check_hyper_parameters(
    learning_rate: float | None, batch_size: int | None, momentum: float
) -> None:
    if batch_size is not None and learning_rate is None:
        raise InputError(
            f"batch_size={batch_size} alone gives no noise scale; give learning_rate as well",
            fields=("batch_size", "learning_rate"),
        )
    noise_scale(
        1.0 if learning_rate is None else learning_rate,
        1 if batch_size is None else batch_size,
        momentum,
    )


def _shared_matches(rows: list[ParameterRow]) -> tuple[str, ...]:
    return tuple(name for name in rows[0].matches if all(name in row.matches for row in rows))


def _short(value: float | None) -> str:
    if value is None or value != value:
        return "—"
    return f"{value:.4g}"


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        return old_name(__name__, name)
