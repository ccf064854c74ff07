"""What is known about the two networks: given by the user, read off their modules, or asked for."""

import math
from dataclasses import dataclass
from typing import Any

from widthwise.adviser.rules import scaling_of
from widthwise.errors import InputError

# The name of each option on the command line.
OPTIONS = {
    "widening_factor": "--factor",
    "parameterization": "--parameterization",
    "normalization": "--normalization",
    "convolutional": "--convolutional / --no-convolutional",
    "residual": "--residual / --no-residual",
    "max_stable_learning_rate": "--max-stable-learning-rate",
    "stability_exponent": "--stability-exponent",
    "epochs": "--epochs",
    "num_train": "--num-train",
}
NORMALIZATIONS = (
    "none",
    "batch",
    "layer",
    "group",
    "instance",
    "rms",
    "local response",
    "mixed",
    "other",
)
# Both scale as 1/fan-in: calling one the other contradicts nothing.
_ALIKE = frozenset({"standard", "default"})
_FACTOR_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The base and the target network, as far as the rule needs them.

    Attributes:
        widening_factor: w.
        parameterization: a key of :data:`widthwise.adviser.rules.SCALINGS`.
        normalization, convolutional, residual: None if not known.
        depth_changed: whether the number of layers changed.
        widened, not_widened: parameters, where modules were given.
        read_off: which facts were read off the modules.
    """

    widening_factor: float
    parameterization: str
    normalization: str | None
    convolutional: bool | None
    residual: bool | None
    depth_changed: bool
    widened: tuple[str, ...] = ()
    not_widened: tuple[str, ...] = ()
    read_off: tuple[str, ...] = ()


def networks(
    *,
    widening_factor: float | None,
    parameterization: str | None,
    normalization: str | None,
    convolutional: bool | None,
    residual: bool | None,
    depth_changed: bool,
    comparison: Any = None,
) -> Networks:
    """Given facts, completed by and checked against a comparison of the modules.

    Args:
        comparison: what :func:`widthwise.inspection.compare` returns; None without modules.

    Raises:
        InputError: if a fact is wrong, contradicts the modules, or is missing.
    """
    if widening_factor is not None:
        _require_factor(widening_factor)
    if parameterization is not None:
        scaling_of(parameterization)
    if normalization is not None and normalization not in NORMALIZATIONS:
        raise InputError(
            f"normalization must be one of {', '.join(NORMALIZATIONS)}, got {normalization!r}"
        )
    if comparison is not None:
        _require_agreement("widening_factor", widening_factor, comparison.widening_factor)
        _require_agreement("parameterization", parameterization, comparison.parameterization)
        _require_agreement("normalization", normalization, comparison.normalization)
        _require_agreement("convolutional", convolutional, comparison.convolutional)
        read_off = tuple(
            name
            for name in ("widening_factor", "parameterization", "normalization", "convolutional")
            if getattr(comparison, name) is not None
        )
        questions = tuple(comparison.questions)
    else:
        read_off, questions = (), ()
    return Networks(
        widening_factor=float(_answer("widening_factor", widening_factor, comparison, questions)),
        parameterization=str(_answer("parameterization", parameterization, comparison, questions)),
        normalization=_first(getattr(comparison, "normalization", None), normalization),
        convolutional=_first(getattr(comparison, "convolutional", None), convolutional),
        residual=residual,
        depth_changed=depth_changed or bool(getattr(comparison, "depth_changed", False)),
        widened=tuple(str(name) for name in getattr(comparison, "widened", ())),
        not_widened=tuple(str(name) for name in getattr(comparison, "not_widened", ())),
        read_off=read_off,
    )


def option(name: str) -> str:
    """An argument under both its names, for questions.

    >>> option("widening_factor")
    'widening_factor (--factor)'
    """
    return f"{name} ({OPTIONS[name]})"


_QUESTIONS = {
    "widening_factor": "How many times wider is the target than the base? Give {option}, or both "
    "networks as base and target (--base, --target).",
    "parameterization": "How do the initial weights scale with width? Give {option}: standard "
    "(Kaiming, Xavier: variance ∝ 1/fan-in), default (PyTorch's own initialization), ntk "
    "(variance independent of width, forward pass divided by √fan-in) or mup; or both networks as "
    "base and target (--base, --target).",
}


def _answer(name: str, given: Any, comparison: Any, questions: tuple[str, ...]) -> Any:
    """What was read off (it is the more exact), else what was given, else a question.

    A contradiction has been excluded before.
    """
    value = _first(getattr(comparison, name, None), given)
    if value is None:
        asked = " ".join(questions)
        could_not = f"It could not be read off the modules. {asked} " if comparison else ""
        raise InputError(f"{could_not}{_QUESTIONS[name].format(option=option(name))}")
    return value


def _first(read_off: Any, given: Any) -> Any:
    return given if read_off is None else read_off


def _require_factor(value: float) -> None:
    if isinstance(value, bool) or not (math.isfinite(value) and value > 0.0):
        raise InputError(
            f"widening_factor must be positive and finite, got {value!r}; 4 means four times as "
            "wide"
        )


def _require_agreement(name: str, given: Any, read_off: Any) -> None:
    if given is None or read_off is None or given == read_off:
        return
    if name == "widening_factor" and math.isclose(given, read_off, rel_tol=_FACTOR_TOLERANCE):
        return
    if name == "parameterization" and {given, read_off} == _ALIKE:
        return
    shown = f"{read_off:g}" if isinstance(read_off, float) else repr(read_off)
    raise InputError(
        f"{option(name)} contradicts the modules: given {given!r}, read off {shown}; leave it "
        "out, or give the modules that you mean"
    )
