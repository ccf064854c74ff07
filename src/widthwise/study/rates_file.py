"""The file that keeps largest stable learning rates, width by width."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widthwise.errors import InputError
from widthwise.files import make_directory, read_file, write_atomically
from widthwise.probes import StableLearningRate
from widthwise.runs.key import ARITHMETIC
from widthwise.study.spec import StudySpec

RATES_FILE = "stable-rates.json"
# No number in a file of rates comes near it.
_LARGEST = 2**63

# Widening factor → its rate, and the seconds that measuring it took.
Rates = dict[float, tuple[StableLearningRate, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredRates:
    """Largest stable learning rates, one a width.

    Attributes:
        rates: ascending in width.
        seconds: what measuring them took, over all sessions.
    """

    rates: tuple[StableLearningRate, ...]
    seconds: float

    @property
    def num_runs(self) -> int:
        return sum(rate.seeds * len(rate.learning_rates) for rate in self.rates)


def of_widths(kept: Rates, widths: Iterable[float]) -> MeasuredRates:
    """Of some of the widths that are kept."""
    chosen = [kept[width] for width in widths]
    return MeasuredRates(
        rates=tuple(rate for rate, _ in chosen), seconds=sum(seconds for _, seconds in chosen)
    )


def kept_rates(
    spec: StudySpec,
    path: Path,
    *,
    fingerprint: str | None = None,
    family: Mapping[str, Any] | None = None,
    first_seed: int = 0,
) -> MeasuredRates | None:
    """What the file holds; None if there is none.

    Args:
        spec: of a study: its data, networks and recipe.
        path: the file.
        fingerprint: of the data set, if the file knows it by its content.
        family: plain values that tell the networks from others; None takes what `spec` names.
        first_seed: of the runs at each learning rate.

    Raises:
        InputError: if it belongs to another specification, or is damaged.
    """
    kept = read_rates(path, identity_of(spec, fingerprint, family, first_seed))
    return of_widths(kept, sorted(kept)) if kept else None


def read_rates(path: Path, identity: Mapping[str, Any]) -> Rates:
    """What a file holds, which is of :func:`identity_of`; nothing if there is none.

    Raises:
        InputError: if it belongs to another specification, or is damaged.
    """
    try:
        written = read_file(path)
        if written is None:
            return {}
        content = json.loads(written)
        owner, rows = content["of"], [_parsed(row) for row in content["widths"]]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise InputError(f"{path} is damaged; remove it, and it is measured again") from error
    if owner != identity:
        raise InputError(
            f"{path} belongs to another specification; choose another directory, or remove it"
        )
    return {rate.widening_factor: (rate, seconds) for rate, seconds in rows}


def _parsed(row: Mapping[str, Any]) -> tuple[StableLearningRate, float]:
    """
    Raises:
        ValueError: if it is no measurement.
    """
    fields, seconds = row["rate"], row["seconds"]
    low, high = fields["interval"]
    rate = StableLearningRate(
        **{
            **fields,
            "interval": (low, np.inf if high is None else high),
            "learning_rates": tuple(fields["learning_rates"]),
            "shares": tuple(fields["shares"]),
            "samples": np.array(row["samples"], dtype=np.float64),
        }
    )
    whole = (rate.batch_size, rate.steps, rate.seeds)
    positive = (rate.value, rate.widening_factor, low, *rate.learning_rates)
    shares = (rate.confidence, rate.share, *rate.shares)
    others = [*([] if rate.curvature is None else [rate.curvature]), seconds]
    sound = (
        all(type(n) is int and 0 < n < _LARGEST for n in whole)
        and all(map(_is_number, (*positive, *shares, *others, rate.momentum)))
        and min(positive) > 0
        and 0 <= min(shares) <= max(shares) <= 1
        and 0 <= rate.momentum < 1
        and (high is None or (_is_number(high) and high >= low))
        and len(rate.learning_rates) == len(rate.shares) > 0
        and type(rate.nesterov) is bool
        and rate.samples.ndim == 1
        and (rate.censored or len(rate.samples) > 1)
        and bool(np.isfinite(rate.samples).all())
    )
    if not sound:
        raise ValueError("it is no measurement of a largest stable learning rate")
    return rate, seconds


def _is_number(value: Any) -> bool:
    return type(value) in (float, int) and abs(value) < _LARGEST


def write_rates(path: Path, identity: Mapping[str, Any], kept: Rates) -> None:
    """Replace what the file holds.

    Raises:
        InputError: if it cannot be written.
    """
    rows = []
    for _, (rate, seconds) in sorted(kept.items()):
        fields = rate.to_dict()
        for derived in ("censored", "curvature_bound"):
            del fields[derived]
        low, high = rate.interval
        fields["interval"] = [low, None if np.isinf(high) else high]
        samples = [] if rate.censored else np.round(rate.samples, 6).tolist()
        rows.append({"rate": fields, "samples": samples, "seconds": round(seconds, 3)})
    make_directory(path.parent)
    content = json.dumps({"of": identity, "widths": rows}, ensure_ascii=False)
    write_atomically(path, content.encode() + b"\n")


def identity_of(
    spec: StudySpec,
    fingerprint: str | None,
    family: Mapping[str, Any] | None,
    first_seed: int = 0,
) -> dict[str, Any]:
    """What rates depend on: not how long a study trains, nor where it searches, nor where files
    lie."""
    fields = spec.portable_fields()
    training = {
        key: value
        for key, value in fields["training"].items()
        if key not in ("steps", "epochs", "physical_time", "evaluations", "late_fraction")
    }
    return {
        "arithmetic": ARITHMETIC,
        "family": fields["family"] if family is None else dict(family),
        "data": fields["data"] if fingerprint is None else {"fingerprint": fingerprint},
        "training": training,
        **({"first_seed": first_seed} if first_seed else {}),
    }
