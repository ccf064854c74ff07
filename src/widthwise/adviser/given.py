"""What the adviser is given: the network, what is known of its stability, how it trains.

Facts are said by the user or read off the modules; what is missing is asked for by its field's
name.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from widthwise.adviser.ceiling import Interval, StableLaw, StableRate
from widthwise.errors import InputError, perhaps, real_number
from widthwise.theory.parameterization import width_rule

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
# Beyond any network; within, powers of it are numbers.
_LARGEST_FACTOR = 1e9
_READ_OFF = ("widening_factor", "parameterization", "normalization", "convolutional", "residual")


@runtime_checkable
class GradientNoise(Protocol):
    """A measured tr(Σ)/|G|², such as widthwise.probes.gradient_noise.GradientNoiseScale."""

    @property
    def value(self) -> float: ...
    @property
    def interval(self) -> Interval: ...


@runtime_checkable
class Family(Protocol):
    """A width family, such as those of widthwise.families."""

    @property
    def parameterization(self) -> str: ...
    def init_variance(self, widening_factor: float) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Network:
    """The networks, as far as the rule needs them. What is left out is read off `modules`, or
    taken for granted aloud.

    Attributes:
        modules: (base, target), ``torch.nn.Module`` s as initialized: the factor, the
            parameterization, normalization, convolutions, residual sums and what did not widen
            are read off them.
        normalization: "none", "batch", "layer", "group", "instance", "rms", "mixed" or "other".
        convolutional, residual: whether the network has convolutions, residual sums.
        depth_changed: whether the number of layers differs as well.
        init_variance: family-level σ_init² of the base, as a study's results have it at widening
            factor 1. Without it ḡ is given as a ratio only.
        build: "module:function" of the network, to be named in the commands that are suggested.
    """

    modules: tuple[Any, Any] | None = None
    normalization: str | None = None
    convolutional: bool | None = None
    residual: bool | None = None
    depth_changed: bool = False
    init_variance: float | None = None
    build: str | None = None

    def __post_init__(self) -> None:
        if self.normalization is not None and self.normalization not in NORMALIZATIONS:
            raise InputError(
                f"normalization must be one of {', '.join(NORMALIZATIONS)}, got "
                f"{self.normalization!r}{perhaps(self.normalization, NORMALIZATIONS)}",
                fields=("normalization",),
            )
        if self.build is not None and not isinstance(self.build, str):
            raise InputError(
                f'build must be "module:function", got {self.build!r}', fields=("build",)
            )
        if self.init_variance is not None:
            _require_positive("init_variance", self.init_variance)
        if self.modules is not None and not (
            isinstance(self.modules, tuple | list) and len(self.modules) == 2
        ):
            raise InputError(
                "network must be two modules, (base, target), a Network or a width family, got "
                f"{type(self.modules).__name__}",
                fields=("network",),
            )
        if self.modules is not None and any(module is None for module in self.modules):
            raise InputError(
                "base and target are compared with each other: give both modules, or neither and "
                "widening_factor",
                fields=("base", "target", "widening_factor"),
            )


@dataclass(frozen=True, kw_only=True)
class Stability:
    """What is known of the largest stable learning rate ε_max.

    Attributes:
        max_stable_learning_rate: ε_max at the tuned momentum: a number, or a measured value,
            which knows its widening factor, momentum and batch size. Smaller batches bear less;
            what was measured at batch size 1 is safe for every B.
        max_stable_at: the widening factor at which a bare number holds; 1 is the base.
        max_stable_batch_size: the B at which a bare number, or a law, was measured; None takes
            the base's.
        stability_exponent: q in ε_max ∝ w^−q, a number or a measured law.
    """

    max_stable_learning_rate: float | StableRate | None = None
    max_stable_at: float = 1.0
    max_stable_batch_size: int | None = None
    stability_exponent: float | StableLaw | None = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the network is trained. The defaults are the paper's setting.

    Attributes:
        num_train: N, examples in the training set.
        epochs: passes through them.
        optimizer: anything but "sgd" is refused.
        schedule: of the learning rate; anything but "constant" lowers the evidence.
        weight_decay: λ of ``torch.optim.SGD``.
        max_batch_size: the largest B that fits, if limited.
        gradient_noise: a measured tr(Σ)/|G|², shown beside ḡ under its own name.
    """

    num_train: int | None = None
    epochs: float | None = None
    optimizer: str = "sgd"
    schedule: str = "constant"
    weight_decay: float = 0.0
    max_batch_size: int | None = None
    gradient_noise: GradientNoise | None = None

    def __post_init__(self) -> None:
        for name in ("optimizer", "schedule"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InputError(f"{name} must be named, got {value!r}", fields=(name,))
        if not self.optimizer:
            raise InputError(
                "optimizer must be named, got an empty name; try 'sgd'", fields=("optimizer",)
            )
        decay = real_number("weight_decay", self.weight_decay)
        if not (math.isfinite(decay) and decay >= 0.0):
            raise InputError(
                f"weight_decay must lie in [0, ∞), got {self.weight_decay!r}",
                fields=("weight_decay",),
            )
        if self.epochs is not None:
            _require_positive("epochs", self.epochs)
        for name in ("num_train", "max_batch_size"):
            value = getattr(self, name)
            if value is not None and not _is_count(real_number(name, value)):
                raise InputError(
                    f"{name} must be a whole number of at least 1, got {value!r}", fields=(name,)
                )
        if self.gradient_noise is not None and not isinstance(self.gradient_noise, GradientNoise):
            raise InputError(
                "gradient_noise must be a measured tr(Σ)/|G|², with value and interval, got "
                f"{self.gradient_noise!r}",
                fields=("gradient_noise",),
            )
        object.__setattr__(self, "optimizer", self.optimizer.lower())
        object.__setattr__(self, "schedule", self.schedule.lower())
        object.__setattr__(self, "weight_decay", decay)

    def batch_limit(self, batch_size: int) -> int | None:
        """The largest B allowed: what fits, and the training set.

        Raises:
            InputError: if the tuned batch is larger than the training set.
        """
        if self.num_train is not None and batch_size > self.num_train:
            raise InputError(
                f"batch_size must not exceed num_train={self.num_train}, got {batch_size}",
                fields=("batch_size", "num_train"),
            )
        given = [int(n) for n in (self.num_train, self.max_batch_size) if n is not None]
        return min(given, default=None)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of base and target once everything was read.

    Attributes:
        widening_factor: w.
        parameterization: a key of :data:`widthwise.theory.parameterization.PARAMETERIZATIONS`.
        normalization, convolutional, residual: None if not known.
        depth_changed: whether the number of layers changed.
        init_variance: family-level σ_init² of the base; None if not known.
        build: "module:function".
        widened, not_widened: parameters, where modules were given.
    """

    widening_factor: float
    parameterization: str
    normalization: str | None
    convolutional: bool | None
    residual: bool | None
    depth_changed: bool
    init_variance: float | None
    build: str | None
    widened: tuple[str, ...] = ()
    not_widened: tuple[str, ...] = ()


def known_networks(
    network: Network | Family | tuple[Any, Any] | None,
    widening_factor: float | None,
    parameterization: str | None,
) -> Known:
    """Given facts, completed by and checked against the modules or the family.

    Args:
        network: facts, a width family, or (base, target) modules; None knows nothing.
        widening_factor, parameterization: as given; None if they are to be read off.

    Raises:
        InputError: if a fact is wrong, contradicts the modules, or is missing.
    """
    if widening_factor is not None:
        _require_factor(widening_factor)
    if parameterization is not None:
        width_rule(parameterization)
    if isinstance(network, Family):
        _require_agreement("parameterization", parameterization, network.parameterization)
        parameterization = network.parameterization
        network = Network(init_variance=network.init_variance(1.0))
    elif not isinstance(network, Network):
        network = Network(modules=network)
    given: dict[str, Any] = {
        "widening_factor": widening_factor,
        "parameterization": parameterization,
        "normalization": network.normalization,
        "convolutional": network.convolutional,
        "residual": network.residual,
    }
    questions: tuple[str, ...] = ()
    depth_changed = network.depth_changed
    widened: tuple[str, ...] = ()
    not_widened: tuple[str, ...] = ()
    if network.modules is not None:
        from widthwise.inspection import compare  # needs PyTorch

        found = compare(*network.modules)
        read_off = {name: getattr(found, name) for name in _READ_OFF}
        for name, value in read_off.items():
            _require_agreement(name, given[name], value)
        # What was read off is the more exact.
        given |= {name: value for name, value in read_off.items() if value is not None}
        questions, widened, not_widened = found.questions, found.widened, found.not_widened
        depth_changed = depth_changed or found.depth_changed
    for name in ("widening_factor", "parameterization"):
        if given[name] is None:
            _ask(name, questions, read=network.modules is not None)
    return Known(
        **{**given, "widening_factor": float(given["widening_factor"])},
        depth_changed=depth_changed,
        init_variance=network.init_variance,
        build=network.build,
        widened=tuple(widened),
        not_widened=tuple(not_widened),
    )


# Which value a single fact of earlier releases belongs to.
_FORMER: Mapping[str, str] = {
    **dict.fromkeys(("normalization", "convolutional", "residual", "depth_changed"), "network"),
    "build": "network",
    **dict.fromkeys(Stability.__dataclass_fields__, "stability"),
    **dict.fromkeys(Training.__dataclass_fields__, "training"),
}


def with_former(former: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """The values network, stability and training, with single facts of earlier releases put into
    them, which warns.

    Args:
        former: single facts by name; ``base`` and ``target`` among them are modules.
        given: the values as given; None where they were not.

    Raises:
        TypeError: if a name is none of theirs.
        InputError: if a fact belongs to a value that was given as well.
    """
    if not former:
        return given
    groups: dict[str, dict[str, Any]] = {}
    if "base" in former or "target" in former:
        groups["network"] = {"modules": (former.get("base"), former.get("target"))}
    for name, value in former.items():
        if name not in ("base", "target"):
            if name not in _FORMER:
                raise TypeError(f"widen() got an unexpected keyword argument {name!r}")
            groups.setdefault(_FORMER[name], {})[name] = value
    for group, facts in groups.items():
        if given.get(group) is not None:
            raise InputError(
                f"{', '.join(facts)} belong into {group}, which was given as well; give them there"
            )
    warnings.warn(
        f"single facts ({', '.join(former)}) go with release 0.3: put them into "
        f"{', '.join(groups)}, as in widen(…, training=Training(epochs=90))",
        DeprecationWarning,
        stacklevel=3,
    )
    kinds = {"network": Network, "stability": Stability, "training": Training}
    return given | {group: kinds[group](**facts) for group, facts in groups.items()}


_QUESTIONS = {
    "widening_factor": "How many times as wide does it become? Give widening_factor",
    "parameterization": "How do the initial weights scale with width? Give parameterization: "
    "standard (Kaiming, Xavier: variance ∝ 1/fan-in), default (PyTorch's own initialization), ntk "
    "(variance independent of width, forward pass divided by √fan-in) or mup",
}


def _ask(name: str, questions: tuple[str, ...], *, read: bool) -> None:
    if read:
        said = [q if q.endswith(("?", ".")) else f"{q}." for q in questions]
        why = "".join(f" {q[0].upper()}{q[1:]}" for q in said)
        raise InputError(
            f"It could not be read off the modules.{why} {_QUESTIONS[name]}.",
            fields=tuple(_QUESTIONS),
        )
    raise InputError(
        f"{_QUESTIONS[name]}; or both networks, base and target.", fields=(name, "base", "target")
    )


def _require_factor(value: float) -> None:
    number = real_number("widening_factor", value)
    if not (math.isfinite(number) and number > 0.0):
        rule = "be positive and finite"
    elif not 1.0 / _LARGEST_FACTOR <= number <= _LARGEST_FACTOR:
        rule = f"lie in [{1.0 / _LARGEST_FACTOR:g}, {_LARGEST_FACTOR:g}]"
    else:
        return
    raise InputError(
        f"widening_factor must {rule}, got {value!r}; 4 means four times as wide",
        fields=("widening_factor",),
    )


def _require_positive(name: str, value: float) -> None:
    number = real_number(name, value)
    if not (math.isfinite(number) and number > 0.0):
        raise InputError(f"{name} must be positive, got {value!r}", fields=(name,))


def _is_count(number: float) -> bool:
    return number >= 1.0 and number % 1.0 == 0.0


def _require_agreement(name: str, given: Any, read_off: Any) -> None:
    if given is None or read_off is None or given == read_off:
        return
    if name == "widening_factor" and math.isclose(given, read_off, rel_tol=_FACTOR_TOLERANCE):
        return
    if name == "parameterization" and {given, read_off} == _ALIKE:
        return
    shown = f"{read_off:g}" if isinstance(read_off, float) else repr(read_off)
    raise InputError(
        f"{name} contradicts the modules: given {given!r}, read off {shown}; leave it out, or give "
        "the modules that you mean",
        fields=(name,),
    )
