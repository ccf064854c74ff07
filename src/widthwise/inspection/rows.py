"""What is known of one parameter, and of all of a network together."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from widthwise.inspection.recognition import Recognition, is_ntk
from widthwise.inspection.schemes import DEFAULT, SCALED, Role, scheme_of
from widthwise.text import plain


@dataclass(frozen=True, kw_only=True)
class ParameterRow:
    """One parameter of a network; plain values, nothing that refers to the network.

    Attributes:
        path: its first name in the module; ``names``: all of them, if it is shared.
        layer: class of the layer that holds it first.
        role: "weight", "bias", "embedding", "normalization" or "other" (position tables, …).
        shape, dtype, num_elements: as stored.
        fan_in, fan_out: PyTorch's convention, see :class:`widthwise.inspection.schemes.Fans`; a
            bias has its weight's; None where there is none.
        transposed: whether the layer is a transposed convolution.
        groups: of a convolution; 1 for other layers.
        std, mean: measured, over all values (divisor n); NaN if they cannot be measured.
        std_error: standard error of ``std`` for independent values.
        multiplier: c with which it enters, y = c·W x + c'·b; 1 where the layer shows none. What a
            module's own ``forward`` multiplies by cannot be seen.
        mup_dims: dimensions that the mup package's tag says grow with the width; None without tag.
        recognition: the schemes it matches.
        effective_learning_rate: c²·ε, the rate of the same layer in standard form, y = W' x with
            W' = c·W; None without a learning rate.
        normalized_noise_scale: layer-level ḡ = ε/(B(1−m)) / σ² with σ = ``std``, for weights. In
            standard form the rate is c²ε and the variance c²σ², so c cancels. None without
            hyper-parameters, for σ = 0, and for parameters other than weights.
            Park et al. (2019), arXiv:1905.03776, equation 4.
        notes: what else there is to know, for people.
    """

    path: str
    names: tuple[str, ...]
    layer: str
    role: Role
    shape: tuple[int, ...]
    dtype: str
    num_elements: int
    fan_in: int | None
    fan_out: int | None
    transposed: bool
    groups: int
    std: float
    mean: float
    std_error: float
    multiplier: float
    mup_dims: int | None
    recognition: Recognition
    effective_learning_rate: float | None
    normalized_noise_scale: float | None
    notes: tuple[str, ...]

    @property
    def matches(self) -> tuple[str, ...]:
        return self.recognition.matches

    @property
    def summands(self) -> float | None:
        """How many inputs, times the receptive field, an output sums over: the fan-in, but for
        transposed convolutions, whose fan-in by PyTorch's convention counts outputs."""
        if not self.transposed:
            return self.fan_in
        return None if self.fan_out is None else self.fan_out / self.groups

    @property
    def is_ntk(self) -> bool:
        """Whether the layer multiplies by 1/√fan_in."""
        return is_ntk(self.multiplier, self.fan_in)

    @property
    def expected_std(self) -> float | None:
        """The standard deviation of the first scheme that matches."""
        stds = dict(self.recognition.scheme_stds)
        return next((stds[name] for name in self.matches if name in stds), None)

    @property
    def verdict(self) -> str:
        """What was recognized, in words: a scheme's name, or why there is none."""
        found = self.recognition
        names, detail = _listed(found.matches), found.detail
        texts = {
            "matched": f"{names} ({detail})" if detail else names,
            "constant": f"{names} {detail}".strip(),
            "ambiguous": f"ambiguous: {names}",
            "undecided": f"undecided ({detail}): {names}" if names else f"undecided: {detail}",
            "unknown": f"unknown ({detail})" if detail else "unknown",
            "not judged": f"not judged: {detail}",
        }
        return texts[found.status]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values; ``scheme_stds`` is a dictionary."""
        content: dict[str, Any] = plain(
            self, without=("transposed", "groups", "recognition"), infinite=True
        )
        return content | {
            "status": self.recognition.status,
            "matches": list(self.matches),
            "expected_std": self.expected_std,
            "verdict": self.verdict,
            "scheme_stds": dict(self.recognition.scheme_stds),
        }


def parameterization_of(rows: Iterable[ParameterRow]) -> str | None:
    """The parameterization of one network alone; None if its weights do not agree on one.

    "mup": it carries the mup package's tags. "ntk": every weight has a multiplier of 1/√fan_in.
    "default": every weight can be PyTorch's default, and one cannot be anything else. "standard":
    every weight can be a scheme whose variance is a gain over a fan, and one cannot be anything
    else. Where a weight has another multiplier c, as in the µP forms of
    :func:`widthwise.conversion.convert`, c·W counts. Values too few to decide, and weights that
    start at 0, settle nothing. What scales with the width is better read off two widths:
    :func:`widthwise.inspection.compare`.
    """
    weights = [row for row in rows if row.role == "weight"]
    if any(row.mup_dims for row in weights):
        return "mup"
    drawn = [row for row in weights if row.recognition.status != "constant"]
    if any(row.is_ntk for row in drawn):
        # The multiplier of a single input is 1.
        return "ntk" if all(row.is_ntk or _one_input(row) for row in drawn) else None
    decided = [row for row in drawn if row.recognition.status in ("matched", "ambiguous")]
    if not decided:
        return None
    if all(DEFAULT in _matches(row) for row in drawn):
        return "default" if any(_matches(row) == (DEFAULT,) for row in decided) else None
    possible = all(any(_over_fans(row)) for row in drawn)
    return "standard" if possible and any(all(_over_fans(row)) for row in decided) else None


def _one_input(row: ParameterRow) -> bool:
    return row.fan_in == 1 and row.multiplier == 1.0


def _matches(row: ParameterRow) -> tuple[str, ...]:
    """The schemes that c·W matches."""
    if row.multiplier == 1.0:
        return row.matches
    return tuple(name.removeprefix(SCALED) for name in row.matches if name.startswith(SCALED))


def _over_fans(row: ParameterRow) -> list[bool]:
    """Of each scheme that c·W matches, whether its variance is a gain over a fan."""
    schemes = [scheme_of(name) for name in _matches(row)]
    return [scheme is not None and scheme.per != "one" for scheme in schemes] or [False]


def _listed(names: tuple[str, ...], limit: int = 4) -> str:
    if len(names) > limit:
        return f"{', '.join(names[:limit])} or {len(names) - limit} others"
    return " or ".join(names)
